"""Backbones: any timm feature network under Detectron2's interface."""

import copy
import logging

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d

from ovavss_d2.modeling.backbone import TimmBackbone, build_timm_network, recompute_stages
from tests.helpers.small import small_config

SWIN = {
    "embed_dim": 16,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "img_size": 64,
}


def named_config(name, indices, options=None):
    cfg = small_config(TIMM__NAME=name, TIMM__OUT_INDICES=indices)
    cfg.MODEL.TIMM["KWARGS"] = options or {}
    return cfg


CONFIGS = {
    "resnet18": small_config(),
    "swin": named_config("swin_tiny_patch4_window7_224", [0, 1, 2, 3], SWIN),
    "test_resnet": named_config("test_resnet", [0, 1, 2, 3]),
    "test_convnext": named_config("test_convnext", [0, 1, 2, 3]),
    "test_efficientnet": named_config("test_efficientnet", [0, 2, 4]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_maps_have_the_shapes_of_output_shape(name):
    backbone = TimmBackbone(CONFIGS[name], None).eval()
    height, width = 2 * backbone.size_divisibility, 3 * backbone.size_divisibility
    maps = backbone(torch.randn(2, 3, height, width))
    assert (
        list(maps) == ["res2", "res3", "res4", "res5"][: len(CONFIGS[name].MODEL.TIMM.OUT_INDICES)]
    )
    for name, shape in backbone.output_shape().items():
        expected = (2, shape.channels, height // shape.stride, width // shape.stride)
        assert maps[name].shape == expected


def test_a_frozen_backbone_has_nothing_to_train_and_keeps_its_statistics():
    backbone = TimmBackbone(small_config(TIMM__FREEZE=True, TIMM__FREEZE_NORM=False), None).train()
    assert not any(p.requires_grad for p in backbone.parameters())
    before = copy.deepcopy(backbone.state_dict())
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert not any(x.requires_grad for x in maps.values())
    assert all(torch.equal(x, before[name]) for name, x in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "swin"])
def test_a_frame_does_not_depend_on_the_others(name):
    backbone = TimmBackbone(CONFIGS[name], None).eval()
    frames = torch.randn(3, 3, 64, 96)
    together = backbone(frames)
    for i, frame in enumerate(frames):
        for name, x in backbone(frame[None]).items():
            torch.testing.assert_close(x[0], together[name][i], rtol=1e-4, atol=1e-4)


def test_convolutions_are_in_channels_last_memory():
    maps = TimmBackbone(small_config(), None).eval()(torch.randn(2, 3, 64, 96))
    assert maps["res2"].is_contiguous(memory_format=torch.channels_last)


def test_frozen_norms_do_not_learn():
    backbone = TimmBackbone(small_config(), None).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64) + 3)
    assert all(torch.equal(x, before[name]) for name, x in backbone.state_dict().items())
    assert not [name for name, _ in backbone.named_parameters() if ".bn" in name]


def test_norms_learn_if_they_are_not_frozen():
    backbone = TimmBackbone(small_config(TIMM__FREEZE_NORM=False), None).train()
    before = backbone.net.bn1.running_mean.clone()
    backbone(torch.randn(2, 3, 64, 64) + 3)
    assert not torch.equal(before, backbone.net.bn1.running_mean)
    assert backbone.net.bn1.weight.requires_grad


def test_swin_outputs_are_normalized_over_channels():
    maps = TimmBackbone(CONFIGS["swin"], None).eval()(torch.randn(1, 3, 64, 64))
    for x in maps.values():
        assert x.mean(1).abs().max() < 1e-4


def _swin_block():
    """timm's second block and ours with the same weights."""
    name, options = "swin_tiny_patch4_window7_224", {"out_indices": (0, 1, 2, 3), **SWIN}
    options |= {"always_partition": True, "strict_img_size": False}
    timms = timm.create_model(name, features_only=True, **options).eval()
    ours = build_timm_network(name, [0, 1, 2, 3], 0.0, SWIN).eval()
    ours.load_state_dict(timms.state_dict())
    name = next(name for name, _ in timms.named_modules() if name.endswith("blocks.1"))
    return timms.get_submodule(name), ours.get_submodule(name)


def test_padding_before_the_shift_changes_nothing_on_whole_windows():
    timms, ours = _swin_block()
    x = torch.randn(2, 12, 8, 16)
    torch.testing.assert_close(ours(x), timms(x), rtol=1e-5, atol=1e-5)


def test_padding_before_the_shift_equals_a_block_that_gets_the_padded_map():
    _, block = _swin_block()
    x = torch.randn(1, 7, 9, 16)
    normed = torch.zeros(1, 8, 12, 16)
    normed[:, :7, :9] = block.norm1(x)
    expected = block._attn(normed)[:, :7, :9]
    torch.testing.assert_close(block._attn(block.norm1(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TIMM__NAME": "unknown_resnet"}, "unknown_resnet"),
        ({"TIMM__OUT_INDICES": [1, 2, 3, 9]}, "OUT_INDICES"),
        ({"TIMM__KWARGS": {"no_such_option": 1}}, "no_such_option"),
        ({"TIMM__KWARGS": {"checkpoint_path": "x.pth"}}, "KWARGS has checkpoint_path"),
    ],
)
def test_networks_that_timm_cannot_build_are_an_error_of_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        TimmBackbone(small_config(**changes), None)
    assert "\n" not in str(error.value)


def test_a_backbone_with_trained_batch_norms_is_not_checkpointed(caplog):
    net = build_timm_network("resnet18", [1, 2, 3, 4], 0.0, {})
    with caplog.at_level(logging.INFO):
        recompute_stages(net)
    assert not net.grad_checkpointing and "its batch norms are trained" in caplog.text
    recompute_stages(freeze_batch_norm_2d(net))
    assert net.grad_checkpointing
