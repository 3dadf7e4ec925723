"""One pass of CLIP per frame, pooled under each mask."""

import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.dense_classifier import DenseClassifier, build_pooling
from tests.helpers.tiny_clip import ARCHITECTURE, tiny_clip

ENCODERS = {
    "transformer": {**ARCHITECTURE["vision_cfg"], "layers": 2},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "efficientnet": {"image_size": 64, "timm_model_name": "tf_efficientnet_lite0"},
    "convnext": {"image_size": 64, "timm_model_name": "convnext_atto", "timm_pool": ""},
}
NAMES = ("cat", "dog")


@pytest.fixture(params=ENCODERS)
def clip(request, tmp_path):
    return tiny_clip(tmp_path, vision_cfg=ENCODERS[request.param])


def random_inputs(clip, queries=3, frames=2):
    size = clip.image_size
    logits = 6 * F.interpolate(torch.randn(queries, frames, 4, 4), (size, size), mode="bilinear")
    return logits, torch.randint(0, 256, (frames, 3, size, size), dtype=torch.uint8)


@torch.no_grad()
def test_a_mask_of_the_whole_frame_gives_the_embedding_of_clip(clip):
    _, frames = random_inputs(clip)
    images = frames.float() / 255
    pool = build_pooling(clip.model.visual)
    tokens = pool.tokens((images - clip.mean) / clip.std)
    coverage = torch.ones(2, 1, len(tokens.map[0]))
    ours = F.normalize(pool.embed(tokens, coverage)[:, 0], dim=-1)
    torch.testing.assert_close(ours, clip.encode_images(images), atol=1e-5, rtol=1e-4)


def test_logits_are_scaled_cosines_averaged_over_visible_frames(clip):
    logits, frames = random_inputs(clip, queries=1)
    text = clip.encode_text(NAMES)
    dense = DenseClassifier(clip=clip, cover=False)
    whole = torch.full_like(logits, 30.0)
    found, visible = dense(whole, frames, text)
    expected = 100 * (clip.encode_images(frames.float() / 255) @ text.t()).mean(0, keepdim=True)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    whole[:, 1] = -30
    found, visible = dense(whole, frames, text)
    expected = 100 * clip.encode_images(frames[:1].float() / 255) @ text.t()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert visible.tolist() == [True]


@torch.no_grad()
def test_positions_outside_a_mask_do_not_affect_the_last_attention(clip):
    pool = build_pooling(clip.model.visual)
    tokens = pool.tokens(torch.randn(1, 3, 64, 96))
    coverage = torch.zeros(1, 1, len(tokens.map[0]))
    coverage[..., :2] = 1
    changed = tokens._replace(map=tokens.map.clone())
    changed.map[:, 2:] += torch.randn_like(changed.map[:, 2:])
    expected = pool.embed(tokens, coverage)
    torch.testing.assert_close(pool.embed(changed, coverage), expected, atol=1e-3, rtol=1e-3)
    changed.map[:, :2] += torch.randn_like(changed.map[:, :2])
    assert not torch.allclose(pool.embed(changed, coverage), expected, atol=1e-3)


@pytest.mark.parametrize("cover", [True, False])
@pytest.mark.parametrize("size", [0, 40])
def test_any_frame_size_tiny_masks_and_no_masks_work(clip, cover, size):
    dense = DenseClassifier(clip=clip, short_side=size, cover=cover)
    text = clip.encode_text(NAMES)
    frames = torch.randint(0, 256, (2, 3, 50, 90), dtype=torch.uint8)
    logits = torch.full((3, 2, 64, 96), -40.0)
    logits[0, 0, 10, 10] = 9
    logits[1, :, 20:40, 20:80] = 9
    logits[2, :, 55:, 91:] = 9  # only in the padding
    found, visible = dense(logits, frames, text)
    assert torch.isfinite(found).all() and visible.tolist() == [True, True, False]
    found, visible = dense(logits[:0], frames, text)
    assert found.shape == (0, 2) and visible.shape == (0,)


@pytest.mark.parametrize("cover", [True, False])
def test_a_mask_depends_on_the_others_only_by_the_cover(clip, cover):
    logits, frames = random_inputs(clip)
    text = clip.encode_text(NAMES)
    dense = DenseClassifier(clip=clip, cover=cover)
    together, _ = dense(logits, frames, text)
    one, _ = dense(logits[1:2], frames, text)
    assert torch.allclose(together[1:2], one, atol=1e-3, rtol=1e-3) != cover


def test_other_encoders_and_negative_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'dense' cannot use a Linear"):
        build_pooling(torch.nn.Linear(1, 1))
    attention = {**ENCODERS["efficientnet"], "timm_pool": "abs_attn", "timm_proj": ""}
    with pytest.raises(ValueError, match="'dense' cannot use a TimmModel of this form"):
        build_pooling(tiny_clip(tmp_path, vision_cfg=attention).model.visual)
    clip = tiny_clip(tmp_path)
    clip.model.visual.pool_type = "avg"
    with pytest.raises(ValueError, match="expected a CLIP with a ResNet, a ConvNeXt or"):
        build_pooling(clip.model.visual)
    with pytest.raises(ValueError, match="DENSE_SIZE is -1"):
        DenseClassifier(clip=clip, short_side=-1)
