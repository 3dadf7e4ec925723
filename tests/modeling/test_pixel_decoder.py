"""Pixel decoder: any number of levels and any strides, with and without fusion."""

import pytest
import torch
from detectron2.layers import ShapeSpec

from ovavss_d2.modeling.pixel_decoder import AudioConditionedPixelDecoder
from ovavss_d2.modeling.position_encoding import encoding_2d, encoding_3d
from tests.helpers.small import small_config

STRIDES = {"res2": 2, "res3": 4, "res4": 8, "res5": 16}


def make_decoder(names=("res2", "res3", "res4", "res5"), **changes):
    cfg = small_config(SEM_SEG_HEAD__IN_FEATURES=list(names), **changes)
    shapes = {name: ShapeSpec(channels=6 + s, stride=s) for name, s in STRIDES.items()}
    return AudioConditionedPixelDecoder(cfg, shapes).eval()


def make_inputs(n=3, height=32, width=48):
    features = {
        name: torch.randn(n, 6 + stride, height // stride, width // stride)
        for name, stride in STRIDES.items()
    }
    return features, torch.randn(n, 16)


@pytest.mark.parametrize("names", [tuple(STRIDES), ("res2", "res4", "res5"), ("res3", "res5")])
def test_every_map_but_the_finest_is_a_level_coarsest_first(names):
    features, audio = make_inputs()
    mask_features, multi_scale, fused = make_decoder(names)(features, audio)
    assert mask_features.shape == (3, 24, *features[names[0]].shape[-2:])
    assert [x.shape for x in multi_scale] == [
        (3, 32, *features[name].shape[-2:]) for name in reversed(names[1:])
    ]
    assert fused.shape == audio.shape


def test_with_fusion_the_audio_changes_the_maps():
    decoder, (features, audio) = make_decoder(), make_inputs()
    outputs, other = decoder(features, audio)[0], decoder(features, audio.flip(1))[0]
    assert (outputs - other).abs().max() > 1e-4


def test_without_fusion_the_audio_is_unchanged():
    decoder, (features, audio) = make_decoder(FUSION__ENABLED=False), make_inputs()
    mask_features, _, fused = decoder(features, audio)
    assert torch.equal(fused, audio)
    assert torch.equal(mask_features, decoder(features, torch.zeros_like(audio))[0])
    assert not [name for name, _ in decoder.named_parameters() if "fusion" in name]


def test_every_parameter_gets_a_gradient():
    decoder, (features, audio) = make_decoder().train(), make_inputs()
    for p in decoder.transformer.layers[0].self_attn.parameters():  # the start of some is zero
        torch.nn.init.normal_(p, std=0.1)
    mask_features, multi_scale, fused = decoder(features, audio)
    weighted = [x * torch.randn_like(x) for x in (mask_features, *multi_scale, fused)]
    sum(x.sum() for x in weighted).backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]


def test_channels_that_norm_groups_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match="CONVS_DIM is 40"):
        make_decoder(SEM_SEG_HEAD__CONVS_DIM=40)


def test_positions_have_the_rows_in_the_first_half_and_the_columns_in_the_second():
    code = encoding_2d(3, 5, 8).view(3, 5, 8)
    assert torch.equal(code[:, 0, :4], code[:, 4, :4])
    assert torch.equal(code[0, :, 4:], code[2, :, 4:])
    assert not torch.equal(code[0, :, :4], code[2, :, :4])
    positions = torch.arange(1, 4) / (3 + 1e-6) * 2 * torch.pi
    torch.testing.assert_close(code[:, 0, 0], positions.sin())
    torch.testing.assert_close(code[:, 0, 1], positions.cos())
    torch.testing.assert_close(code[:, 0, 2], (positions / 100).sin())


def test_positions_in_time_are_added_to_those_in_the_plane():
    encoding = encoding_3d(4, 2, 3, 8).view(4, 6, 8)
    difference = encoding - encoding_2d(2, 3, 8)
    torch.testing.assert_close(difference, difference[:, :1].expand(4, 6, 8))
    assert not torch.allclose(difference[0], difference[1])


def test_mixed_precision_keeps_positions_and_fusion_in_single_precision():
    decoder, (features, audio) = make_decoder(), make_inputs()
    torch.nn.init.normal_(decoder.transformer.layers[0].self_attn.sampling_offsets.weight, std=0.1)
    exact = decoder(features, audio)
    kinds = {}
    for name in ("fusion", "layers.0.self_attn.sampling_offsets", "layers.0.linear1"):
        decoder.transformer.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kinds.update({name: out})
        )
    with torch.autocast("cpu", torch.bfloat16):
        mixed = decoder({name: x.bfloat16() for name, x in features.items()}, audio.bfloat16())
    fused, offsets, hidden = kinds.values()
    assert [x.dtype for x in (*fused, offsets)] == 3 * [torch.float32]
    assert hidden.dtype == torch.bfloat16
    for ours, theirs in zip((mixed[0], *mixed[1]), (exact[0], *exact[1]), strict=True):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 0.02
