"""The CLIP stand-in: its crops, masks, loss and files."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch

from ovavss_d2.modeling.clip import FrozenClip, build_clip
from ovavss_d2.modeling.text_classifier import CropClassifier
from ovavss_d2.toy import clip_model
from ovavss_d2.toy.masks import background_masks, rough_masks
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_NAMES

SHORT = replace(clip_model.TOY_CLIP, steps=2, scenes=6)


@pytest.fixture(scope="module")
def scenes():
    return clip_model.draw_scenes(TOY, np.random.default_rng(0), 30, range(1, 31))


def perfect_masks(scenes):
    index, classes = scenes.objects.unbind(1)
    return (scenes.ids[index] == classes[:, None, None]).float()


def test_scenes_have_all_classes_including_novel_ones(scenes):
    assert scenes.objects[:, 1].unique().numel() > 25
    assert perfect_masks(scenes).flatten(1).any(1).all()


def test_rough_masks_overlap_the_object_and_are_never_empty(scenes):
    masks = perfect_masks(scenes)
    rough = rough_masks(masks)
    assert rough.shape == masks.shape
    assert rough.min() >= 0 and rough.max() <= 1
    binary = (rough > 0.5).float()
    assert binary.flatten(1).any(1).all()
    overlap = (binary * masks).sum((1, 2)) / torch.maximum(binary, masks).sum((1, 2))
    assert 0.6 < overlap.mean() < 0.95
    assert (overlap == 1).float().mean() < 0.5


def test_background_masks_touch_no_object(scenes):
    index = scenes.objects[:, 0]
    moved, usable = background_masks(perfect_masks(scenes), scenes.ids[index] == 0)
    assert usable.float().mean() > 0.7
    assert (moved * (scenes.ids[index] > 0)).sum() == 0


def test_crops_equal_the_classifiers(scenes):
    received = []

    class Spy:
        image_size = 64

        def encode_images(self, crops):
            received.append(crops)
            return crops.new_zeros(len(crops), 2)

    masks = rough_masks(perfect_masks(scenes))[:1]
    logits = torch.special.logit(masks, eps=1e-6)[:, None]  # one query in one frame
    frame = scenes.frames[scenes.objects[0, 0]][None]
    CropClassifier(clip=Spy(), batch_size=8).similarities(logits, frame, torch.zeros(3, 2))
    crops = clip_model.crop_squares(frame, masks, torch.tensor([False]))
    assert torch.allclose(crops, received[0], atol=1e-4)


def logits_for(classes, score=8.0):
    """Logits that fit the captions, with 10 background names and 3 distractors."""
    logits = torch.zeros(len(classes), 41 + 10 + 3)
    for row, class_id in zip(logits, classes, strict=True):
        if class_id:
            row[[class_id - 1, 30 + (class_id - 1) % 5, 35 + (class_id - 1) // 5]] = 2 * score
        row[41:51] = score
    return logits


def test_the_loss_is_smaller_for_correct_captions():
    classes = torch.tensor([1, 17, 0, 30])
    captions = clip_model.Captions(TOY)
    right = clip_model.contrastive_loss(logits_for([1, 17, 0, 30]), classes, captions)
    for wrong in ([2, 17, 0, 30], [1, 17, 4, 30], [0, 17, 0, 30]):
        assert clip_model.contrastive_loss(logits_for(wrong), classes, captions) > right + 1
    assert right < 4


def test_texts_are_told_apart_before_any_image_is_seen():
    torch.manual_seed(0)
    model = clip_model._build(SHORT)
    tokenizer = open_clip.SimpleTokenizer(context_length=clip_model.CONTEXT_LENGTH)
    texts = tokenizer([f"a photo of a {name}." for name in TOY_NAMES])

    def largest_cosine():
        text = torch.nn.functional.normalize(model.encode_text(texts), dim=-1)
        return (text @ text.t()).fill_diagonal_(-1).max().item()

    before = largest_cosine()
    clip_model._fit_texts(model, TOY_NAMES, 60)
    assert largest_cosine() < before - 0.1


def test_files_load_through_our_code_and_open_clips_factory_and_are_kept(tmp_path):
    clip_model.train_clip(tmp_path, TOY, SHORT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy_clip.json", "toy_clip.pt"]
    weights = torch.load(tmp_path / "toy_clip.pt", weights_only=True)
    assert weights["logit_scale"].exp().item() == pytest.approx(100, rel=1e-4)
    model, tokenizer = build_clip(str(tmp_path / "toy_clip.json"))
    model.load_state_dict(weights)
    clip = FrozenClip(model=model, tokenizer=tokenizer)
    assert clip.encode_text(TOY_NAMES).shape == (30, 64)
    assert clip.encode_images(torch.rand(2, 3, 64, 64)).shape == (2, 64)

    open_clip.add_model_config(tmp_path / "toy_clip.json")
    model = open_clip.create_model("toy_clip", pretrained=str(tmp_path / "toy_clip.pt"))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in weights.items())

    (tmp_path / "toy_clip.pt").write_text("existing")
    clip_model.train_clip(tmp_path, TOY, SHORT)
    assert (tmp_path / "toy_clip.pt").read_text() == "existing"
