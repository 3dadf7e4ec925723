"""Mask decoder: its attention, its attention masks, and any T and B."""

import pytest
import torch

from ovavss_d2.modeling.mask_decoder import AudioConditionedMaskDecoder
from ovavss_d2.modeling.ops.accelerate import accelerate
from ovavss_d2.modeling.ops.attention import Attention, FastAttention
from tests.helpers.small import small_config

SIZES = [(2, 3), (4, 6), (8, 12)]
PARTS = ("pred_logits", "pred_masks", "pred_queries")


def make_inputs(frames=5, width=32):
    """Mask features, maps and audio of two clips."""
    n = 2 * frames
    mask_features = torch.randn(n, 24, 16, 24)
    multi_scale = [torch.randn(n, width, *size) for size in SIZES]
    return mask_features, multi_scale, torch.randn(n, 16)


def make_decoder(**changes):
    return AudioConditionedMaskDecoder(small_config(**changes)).eval()


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("kind", [Attention, FastAttention])
def test_attention_equals_torchs_with_the_same_parameters(kind, learns):
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours = kind(dim=16, num_heads=4)
    ours.load_state_dict(theirs.state_dict())
    query, key, value = torch.randn(2, 3, 16), torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    allowed = torch.rand(2, 3, 7) > 0.5
    allowed[..., 0] = True
    for mask in (None, allowed):
        blocked = None if mask is None else ~mask[:, None].expand(2, 4, 3, 7).flatten(0, 1)
        expected = theirs(query, key, value, attn_mask=blocked)[0]
        with torch.set_grad_enabled(learns):
            torch.testing.assert_close(ours(query, key, value, mask), expected)


@pytest.mark.parametrize(("frames", "width"), [(1, 32), (3, 32), (5, 64), (8, 32)])
def test_a_clip_may_have_any_length_and_the_pixel_decoder_any_width(frames, width):
    decoder = make_decoder(SEM_SEG_HEAD__CONVS_DIM=width)
    outputs = decoder(*make_inputs(frames, width), num_clips=2)
    assert outputs["pred_logits"].shape == (2, 6, 2)
    assert outputs["pred_masks"].shape == (2, 6, frames, 16, 24)
    assert outputs["pred_queries"].shape == (2, 6, 32)


def test_there_is_a_prediction_before_each_layer():
    outputs = make_decoder()(*make_inputs(), num_clips=2)
    assert len(outputs["aux_outputs"]) == 3
    for prediction in outputs["aux_outputs"]:
        assert sorted(prediction) == sorted(PARTS)
    assert not torch.equal(outputs["aux_outputs"][0]["pred_masks"], outputs["pred_masks"])


@pytest.mark.parametrize("mixed", [False, True])
def test_masks_are_products_of_queries_and_features_also_in_their_gradient(mixed):
    decoder, (mask_features, *inputs) = make_decoder(), make_inputs()
    accelerate(decoder)
    mask_features.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        outputs = decoder(mask_features, *inputs, num_clips=2)
        features = mask_features.unflatten(0, (2, -1)).transpose(1, 2)
        embeddings = decoder.mask_embed(outputs["pred_queries"])
        plain = torch.einsum("bqc,bcthw->bqthw", embeddings, features)
    if not mixed:
        torch.testing.assert_close(outputs["pred_masks"], plain, rtol=1e-4, atol=1e-4)
    sources = (mask_features, *decoder.mask_embed.parameters())
    found, expected = (
        torch.autograd.grad(masks[:, [0, 3]].float().square().sum(), sources, retain_graph=True)
        for masks in (outputs["pred_masks"], plain)
    )
    for one, other in zip(found, expected, strict=True):
        tolerance = 0.05 * other.abs().max().item() if mixed else 1e-4
        torch.testing.assert_close(one, other, atol=tolerance, rtol=1e-4)


def test_queries_depend_on_the_audio():
    decoder, (mask_features, multi_scale, audio) = make_decoder(), make_inputs()
    first, second = (
        decoder(mask_features, multi_scale, x, num_clips=2)["aux_outputs"][0]["pred_logits"]
        for x in (audio, audio.flip(1))
    )
    assert not torch.allclose(first, second)


def test_without_audio_queries_the_audio_has_no_effect_and_no_parameters():
    decoder = make_decoder(MASK_FORMER__AUDIO_QUERIES=False)
    mask_features, multi_scale, audio = make_inputs()
    first = decoder(mask_features, multi_scale, audio, num_clips=2)
    second = decoder(mask_features, multi_scale, torch.zeros_like(audio), num_clips=2)
    assert torch.equal(first["pred_masks"], second["pred_masks"])
    names = [name for name, _ in decoder.named_parameters()]
    assert not [name for name in names if "audio" in name or "v2a" in name or "a2a" in name]


def test_without_time_encoding_equal_frames_are_in_equal_places():
    decoder = make_decoder(MASK_FORMER__TIME_ENCODING=False)
    maps = torch.randn(1, 32, 3, 4).expand(2, -1, -1, -1)
    first, second = decoder._memory(0, maps, num_clips=1)[0].unflatten(1, (2, -1)).unbind(1)
    assert torch.equal(first, second)
    decoder.time_encoding = True
    first, second = decoder._memory(0, maps, num_clips=1)[0].unflatten(1, (2, -1)).unbind(1)
    assert not torch.allclose(first, second)


def test_audio_positions_of_another_length_are_interpolated():
    decoder = make_decoder()
    learned, nine = decoder.audio_query_embed.weight, decoder._audio_position(9)
    torch.testing.assert_close(nine[::2], learned)
    torch.testing.assert_close(nine[1::2], (learned[1:] + learned[:-1]) / 2)
    assert torch.equal(decoder._audio_position(5), learned)


def test_queries_attend_inside_their_masks_over_the_whole_clip():
    masks = torch.full((1, 3, 2, 4, 4), -5.0)
    masks[0, 0, 1, :2, :2] = 5.0  # query 0: a corner of the second frame
    masks[0, 1] = 5.0  # query 1: everything
    allowed = AudioConditionedMaskDecoder._allowed(masks, (2, 2)).view(3, 2, 2, 2)
    expected = torch.zeros(2, 2, 2, dtype=torch.bool)
    expected[1, 0, 0] = True
    assert torch.equal(allowed[0], expected)
    assert allowed[1].all()
    assert allowed[2].all()  # blocked everywhere: attends everywhere


def test_heads_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match="32 channels"):
        make_decoder(MASK_FORMER__NHEADS=5)
