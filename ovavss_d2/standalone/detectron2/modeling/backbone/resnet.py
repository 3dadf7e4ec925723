"""ResNet (He et al., 2016) with Detectron2's names for parameters and stages.

Shape letters: N images, C channels, H, W pixels. Stages are "stem" (stride 4), "res2" (4) to "res5"
(32), and "linear" for a classifier's logits.
"""

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY
from torch import nn
from torch.nn import functional as F

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

ResNetBlockBase = CNNBlockBase  # an older name

_BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_LAST_STAGE = 5  # stages are counted from 1 (the stem)


def _convolution(in_channels, out_channels, kernel_size, norm, **kwargs):
    """A bias-free, "same"-padded convolution with a norm."""
    dilation = kwargs.get("dilation", 1)
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=dilation * (kernel_size // 2),
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )


def _initialise(*convolutions):
    """Draw weights as He et al. (2015) do."""
    for layer in convolutions:
        if layer is not None:
            weight_init.c2_msra_fill(layer)


class BasicStem(CNNBlockBase):
    """What comes before the residual stages: 7 x 7 convolution, ReLU and max-pool, stride 4."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm="BN"):
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _convolution(in_channels, out_channels, 7, norm, stride=2)
        _initialise(self.conv1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', H / 4, W / 4)."""
        x = F.relu_(self.conv1(x))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class _ResidualBlock(CNNBlockBase):
    """Adds the input, projected where channels or size change, to the outcome of `_residual`."""

    def __init__(self, in_channels, out_channels, stride, norm):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = _convolution(in_channels, out_channels, 1, norm, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu_(self._residual(x) + shortcut)


class BasicBlock(_ResidualBlock):
    """Two 3 x 3 convolutions: the block of ResNet-18 and -34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm="BN"):
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = _convolution(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _convolution(out_channels, out_channels, 3, norm)
        _initialise(self.conv1, self.conv2, self.shortcut)

    def _residual(self, x):
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(_ResidualBlock):
    """1 x 1, 3 x 3 and 1 x 1 convolutions: the block of ResNet-50, -101 and -152."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm="BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ):
        """
        Args:
            bottleneck_channels: of the 3 x 3 convolution.
            num_groups: of the 3 x 3 convolution.
            norm: as `get_norm` takes it.
            stride_in_1x1: the stride is the first convolution's (as in the first models by MSRA),
                not the 3 x 3 one's.
            dilation: of the 3 x 3 convolution.
        """
        super().__init__(in_channels, out_channels, stride, norm)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        inner = bottleneck_channels
        self.conv1 = _convolution(in_channels, inner, 1, norm, stride=first)
        self.conv2 = _convolution(
            inner, inner, 3, norm, stride=second, groups=num_groups, dilation=dilation
        )
        self.conv3 = _convolution(inner, out_channels, 1, norm)
        _initialise(self.conv1, self.conv2, self.conv3, self.shortcut)

    def _residual(self, x):
        x = F.relu_(self.conv1(x))
        x = F.relu_(self.conv2(x))
        return self.conv3(x)


class ResNet(Backbone):
    """A stem and residual stages, some of whose outputs are handed out."""

    def __init__(
        self,
        stem: nn.Module,
        stages: list[list[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: list[str] | None = None,
        freeze_at: int = 0,
    ):
        """
        Args:
            stem: has `out_channels` and `stride`.
            stages: blocks of "res2", "res3" and so on; without a classifier, those after the last
                one in `out_features` are left out.
            num_classes: of a linear classifier on the last stage; None for none.
            out_features: names of the outputs, by default the last one.
            freeze_at: stages to freeze, see `freeze`.
        """
        super().__init__()
        self.stem = stem
        self.num_classes = num_classes
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        if out_features is not None and num_classes is None:
            stages = stages[: _stages_needed(out_features)]
        self.stage_names = tuple(f"res{number}" for number in range(2, 2 + len(stages)))
        self.stages = [
            self._add_stage(name, blocks)
            for name, blocks in zip(self.stage_names, stages, strict=True)
        ]
        last = self.stage_names[-1] if stages else "stem"
        if num_classes is not None:
            self.linear = nn.Linear(self._out_feature_channels[last], num_classes)
            nn.init.normal_(self.linear.weight, std=0.01)  # as Goyal et al. (2017) do
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            last = "linear"
        self._out_features = [last] if out_features is None else out_features
        self._check_out_features()
        self.freeze(freeze_at)

    def _add_stage(self, name, blocks):
        stage = nn.Sequential(*blocks)
        self.add_module(name, stage)
        previous = list(self._out_feature_strides.values())[-1]
        stride = previous
        for block in blocks:
            stride *= block.stride
        self._out_feature_strides[name] = stride
        self._out_feature_channels[name] = blocks[-1].out_channels
        return stage

    def _check_out_features(self):
        known = [name for name, _ in self.named_children()]
        for name in self._out_features:
            if name not in known:
                raise AssertionError(f"Available children: {', '.join(known)}")

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images (N, C, H, W) to feature maps by name; "linear" is (N, num_classes)."""
        if x.dim() != 4:
            raise AssertionError(
                f"ResNet takes an input of shape (N, C, H, W). Got {x.shape} instead!"
            )
        outputs = {"stem": self.stem(x)}
        x = outputs["stem"]
        for name, stage in zip(self.stage_names, self.stages, strict=True):
            x = outputs[name] = stage(x)
        if self.num_classes is not None:
            outputs["linear"] = self.linear(self.avgpool(x).flatten(1))
        return {name: value for name, value in outputs.items() if name in self._out_features}

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Freeze the first stages: 1 the stem, 2 the stem and "res2", and so on."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage.children():
                block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs,
    ) -> list[CNNBlockBase]:
        """Make the blocks of a stage.

        Args:
            block_class: of all blocks.
            num_blocks: their number.
            in_channels: of the first block; the others take `out_channels`.
            out_channels: of every block.
            **kwargs: arguments of the blocks. `NAME_per_block` is a list of values of the argument
                NAME, one for each block.
        """
        blocks = []
        for place in range(num_blocks):
            own = {}
            for name, value in kwargs.items():
                if not name.endswith("_per_block"):
                    own[name] = value
                    continue
                if len(value) != num_blocks:
                    raise AssertionError(
                        f"Argument '{name}' of make_stage should have the same length as "
                        f"num_blocks={num_blocks}."
                    )
                own[name.removesuffix("_per_block")] = value[place]
            blocks.append(block_class(in_channels, out_channels, **own))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs
    ) -> list[list[CNNBlockBase]]:
        """Make the stages of a ResNet of depth 18, 34, 50, 101 or 152.

        Args:
            depth: of the network; KeyError if it is another.
            block_class: by default the depth's own.
            **kwargs: arguments of the blocks other than stride and channels.
        """
        numbers = _BLOCKS_PER_STAGE[depth]
        is_basic = depth < 50
        if block_class is None:
            block_class = BasicBlock if is_basic else BottleneckBlock
        inputs = (64, 64, 128, 256) if is_basic else (64, 256, 512, 1024)
        outputs = (64, 128, 256, 512) if is_basic else (256, 512, 1024, 2048)
        stages = []
        for count, stride, entering, leaving in zip(
            numbers, (1, 2, 2, 2), inputs, outputs, strict=True
        ):
            if not is_basic:
                kwargs["bottleneck_channels"] = leaving // 4
            strides = [stride] + [1] * (count - 1)
            stage = ResNet.make_stage(
                block_class,
                count,
                in_channels=entering,
                out_channels=leaving,
                stride_per_block=strides,
                **kwargs,
            )
            stages.append(stage)
        return stages


def _stages_needed(out_features) -> int:
    """How many residual stages the outputs need."""
    numbers = {"stem": 1, **{f"res{number}": number for number in range(2, _LAST_STAGE + 1)}}
    return max(numbers.get(name, 1) for name in out_features) - 1


def make_stage(*args, **kwargs) -> list[CNNBlockBase]:
    """`ResNet.make_stage`, an older name."""
    return ResNet.make_stage(*args, **kwargs)


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet that `cfg.MODEL.RESNETS` and `cfg.MODEL.BACKBONE.FREEZE_AT` describe."""
    options = cfg.MODEL.RESNETS
    _check_options(options)
    stem = BasicStem(input_shape.channels, options.STEM_OUT_CHANNELS, norm=options.NORM)
    needed = _stages_needed(options.OUT_FEATURES)
    in_channels, out_channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    bottleneck_channels = options.NUM_GROUPS * options.WIDTH_PER_GROUP
    stages = []
    for place, count in enumerate(_BLOCKS_PER_STAGE[options.DEPTH][:needed]):
        dilation = options.RES5_DILATION if place + 2 == _LAST_STAGE else 1
        # A dilated last stage keeps the resolution.
        stride = 1 if place == 0 or dilation > 1 else 2
        arguments = {"stride_per_block": [stride] + [1] * (count - 1), "norm": options.NORM}
        block_class = BasicBlock
        if options.DEPTH >= 50:
            block_class = BottleneckBlock
            arguments |= {
                "bottleneck_channels": bottleneck_channels,
                "stride_in_1x1": options.STRIDE_IN_1X1,
                "dilation": dilation,
                "num_groups": options.NUM_GROUPS,
            }
        blocks = ResNet.make_stage(
            block_class, count, in_channels=in_channels, out_channels=out_channels, **arguments
        )
        stages.append(blocks)
        in_channels = out_channels
        out_channels, bottleneck_channels = 2 * out_channels, 2 * bottleneck_channels
    return ResNet(
        stem, stages, out_features=options.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT
    )


def _check_options(options):
    if options.RES5_DILATION not in (1, 2):
        raise AssertionError(f"res5_dilation cannot be {options.RES5_DILATION}.")
    if any(options.DEFORM_ON_PER_STAGE):
        raise NotImplementedError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: deformable convolutions need Detectron2 itself; "
            "install it, or turn them off"
        )
    if options.DEPTH in (18, 34):
        for key, needed in (("RES2_OUT_CHANNELS", 64), ("RES5_DILATION", 1), ("NUM_GROUPS", 1)):
            if options[key] != needed:
                raise AssertionError(f"Must set MODEL.RESNETS.{key} = {needed} for R18/R34")
