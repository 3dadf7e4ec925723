"""Registries, builders, and the convolution with norm and activation."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    Backbone,
    build_backbone,
    build_model,
    build_sem_seg_head,
)
from torch import nn

from tests.helpers.runtime import standalone_only


@BACKBONE_REGISTRY.register()
class StandaloneTestBackbone(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.input_shape = input_shape
        self._out_features = ["a"]
        self._out_feature_channels = {"a": 3}
        self._out_feature_strides = {"a": 2}

    def forward(self, x):
        return {"a": x}


@BACKBONE_REGISTRY.register()
def standalone_test_no_backbone(cfg, input_shape):
    return 3


@META_ARCH_REGISTRY.register()
class StandaloneTestModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.head = build_sem_seg_head(cfg, {"a": ShapeSpec(3)})


@SEM_SEG_HEADS_REGISTRY.register()
class StandaloneTestHead(nn.Module):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.layer = nn.Linear(input_shape["a"].channels, 2)


def test_parts_are_built_by_name(cfg):
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "StandaloneTestModel"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "StandaloneTestHead"
    assert build_model(cfg).head.layer.in_features == 3
    cfg.MODEL.META_ARCHITECTURE = "NoSuchModel"
    with pytest.raises(KeyError, match="NoSuchModel"):
        build_model(cfg)


@standalone_only
@pytest.mark.parametrize("build", [build_backbone, build_model])
def test_standalone_names_in_the_default_config_say_to_install_detectron2(build):
    with pytest.raises(KeyError, match="install Detectron2"):
        build(get_cfg())


def test_backbone_returns_its_output_shape(cfg):
    cfg.MODEL.BACKBONE.NAME = "StandaloneTestBackbone"
    backbone = build_backbone(cfg)
    assert backbone.input_shape == ShapeSpec(channels=3)
    assert backbone.output_shape() == {"a": ShapeSpec(channels=3, stride=2)}
    assert (backbone.size_divisibility, backbone.padding_constraints) == (0, {})
    cfg.MODEL.BACKBONE.NAME = "standalone_test_no_backbone"
    with pytest.raises(AssertionError):
        build_backbone(cfg)


def test_convolution_applies_norm_then_activation_and_takes_empty_batches():
    layer = Conv2d(3, 4, 3, padding=1, bias=False, norm=nn.GroupNorm(2, 4), activation=torch.relu)
    x = torch.randn(2, 3, 6, 6)
    plain = nn.functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x), layer.norm(plain).relu())
    assert layer(x[:0]).shape == (0, 4, 6, 6)
    assert list(layer.state_dict()) == ["weight", "norm.weight", "norm.bias"]
