"""Registries, builders and ResNet."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    Backbone,
    ResNet,
    build_backbone,
    build_model,
    build_sem_seg_head,
)
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import nn


def _resnet(freeze_at=2, **options):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    for key, value in options.items():
        cfg.MODEL.RESNETS[key] = value
    return build_backbone(cfg)


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


def test_parts_are_built_by_name():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "StandaloneTestModel"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "StandaloneTestHead"
    assert build_model(cfg).head.layer.in_features == 3
    cfg.MODEL.META_ARCHITECTURE = "NoSuchModel"
    with pytest.raises(KeyError, match="NoSuchModel"):
        build_model(cfg)


def test_backbone_tells_its_output_shape():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "StandaloneTestBackbone"
    backbone = build_backbone(cfg)
    assert backbone.input_shape == ShapeSpec(channels=3)
    assert backbone.output_shape() == {"a": ShapeSpec(channels=3, stride=2)}
    assert (backbone.size_divisibility, backbone.padding_constraints) == (0, {})
    cfg.MODEL.BACKBONE.NAME = "standalone_test_no_backbone"
    with pytest.raises(AssertionError):
        build_backbone(cfg)


def test_resnet_parameters_have_detectron2s_names():
    names = list(_resnet(OUT_FEATURES=["res2", "res5"]).state_dict())
    assert len(names) == 265
    assert names[:2] == ["stem.conv1.weight", "stem.conv1.norm.weight"]
    for name in (
        "res2.0.shortcut.norm.running_var",
        "res3.3.conv2.weight",
        "res5.2.conv3.norm.bias",
    ):
        assert name in names


@pytest.mark.parametrize(
    ("options", "tensors", "features"),
    [
        ({"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "OUT_FEATURES": ["res2", "res5"]}, 100,
         {"res2": (64, 4), "res5": (512, 32)}),
        ({"DEPTH": 50, "OUT_FEATURES": ["res4"]}, 215, {"res4": (1024, 16)}),
        ({"DEPTH": 101, "OUT_FEATURES": ["stem", "res3"]}, 120,
         {"stem": (64, 4), "res3": (512, 8)}),
        ({"NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8, "OUT_FEATURES": ["res3", "res5"],
          "RES5_DILATION": 2, "STRIDE_IN_1X1": False}, 265,
         {"res3": (512, 8), "res5": (2048, 16)}),
    ],
    ids=["18", "50", "101", "dilated ResNeXt"],
)  # fmt: skip
def test_resnet_variants_have_the_recorded_size_and_shapes(options, tensors, features):
    backbone = _resnet(**options)
    assert len(backbone.state_dict()) == tensors
    shapes = {k: (v.channels, v.stride) for k, v in backbone.output_shape().items()}
    assert shapes == features
    with torch.no_grad():
        outputs = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        name: (1, channels, 64 // stride, 96 // stride)
        for name, (channels, stride) in features.items()
    }


def test_resnet_output_is_the_recorded_one():
    backbone = _resnet(DEPTH=18, RES2_OUT_CHANNELS=64, OUT_FEATURES=["res2", "res5"])
    generator = torch.Generator().manual_seed(1)
    for name, value in sorted(backbone.state_dict().items()):
        if "norm" in name:
            value.copy_(torch.rand(value.shape, generator=generator) * 0.5 + 0.5)
        else:
            scale = (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=generator) * scale)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = backbone.eval()(images)
    # Means and deviations of Detectron2 0.6 with the same weights and images.
    assert outputs["res2"].mean().item() == pytest.approx(3.195338, rel=1e-5)
    assert outputs["res5"].std().item() == pytest.approx(8.40574, rel=1e-4)


@pytest.mark.parametrize(("stages", "trainable", "frozen"), [(0, 159, 0), (1, 156, 1), (3, 87, 24)])
def test_freezing_stops_training_from_the_stem_on(stages, trainable, frozen):
    backbone = _resnet(stages, NORM="BN", OUT_FEATURES=["res2", "res5"])
    assert sum(parameter.requires_grad for parameter in backbone.parameters()) == trainable
    kinds = [isinstance(module, FrozenBatchNorm2d) for module in backbone.modules()]
    assert sum(kinds) == frozen


def test_stages_take_lists_of_arguments_for_their_blocks():
    blocks = ResNet.make_stage(
        BottleneckBlock, 2, in_channels=64, out_channels=32, bottleneck_channels=8,
        stride_per_block=[2, 1],
    )  # fmt: skip
    assert [(b.in_channels, b.out_channels, b.stride) for b in blocks] == [(64, 32, 2), (32, 32, 1)]
    with pytest.raises(AssertionError):
        ResNet.make_stage(BasicBlock, 2, in_channels=64, out_channels=32, stride_per_block=[2])
    assert [len(stage) for stage in ResNet.make_default_stages(50)] == [3, 4, 6, 3]


def test_classifier_is_the_default_output():
    backbone = ResNet(BasicStem(), ResNet.make_default_stages(18), num_classes=7)
    assert backbone(torch.zeros(2, 3, 32, 32))["linear"].shape == (2, 7)


@pytest.mark.parametrize(
    "options",
    [{"DEPTH": 18}, {"RES5_DILATION": 3}, {"OUT_FEATURES": ["nothing"]}],
    ids=["channels of ResNet-18", "dilation", "unknown feature"],
)
def test_impossible_resnets_are_refused(options):
    with pytest.raises(AssertionError):
        _resnet(**options)


def test_segmentation_is_cut_and_resized():
    logits = torch.rand(3, 8, 10)
    resized = sem_seg_postprocess(logits, (7, 9), 14, 20)
    expected = nn.functional.interpolate(logits[None, :, :7, :9], (14, 20), mode="bilinear")[0]
    torch.testing.assert_close(resized, expected)
