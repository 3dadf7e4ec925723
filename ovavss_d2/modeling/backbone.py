"""Backbones: any timm model with `features_only`, as a Detectron2 backbone.

Shape letters: see `modeling/__init__.py`.
"""

import logging
from collections.abc import Sequence

import timm
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.layers import freeze_batch_norm_2d
from timm.models import FeatureInfo
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.errors import BUILD_ERRORS, one_line, shortened
from ovavss_d2.modeling.ops.replace import replace_modules

logger = logging.getLogger(__name__)

FIRST_STAGE = 2  # the first feature is called res2


@BACKBONE_REGISTRY.register()
class TimmBackbone(Backbone):
    """The maps of a timm network under the names res2 to res5.

    Transformers with channels-last maps (the Swin family) return them without a norm, so each map
    passes a LayerNorm, as in Mask2Former.
    """

    @configurable
    def __init__(self, *, net: nn.Module, channels_last: bool):
        """
        Args:
            net: a timm model made with `features_only=True`.
            channels_last: its maps are (N, h, w, C).
        """
        super().__init__()
        self.net = net
        self.channels_last = channels_last
        info: FeatureInfo = net.feature_info  # type: ignore[assignment]  # timm says nn.Module
        channels, strides = info.channels(), info.reduction()
        self._shapes = {
            f"res{FIRST_STAGE + i}": ShapeSpec(channels=c, stride=s)
            for i, (c, s) in enumerate(zip(channels, strides, strict=True))
        }
        self.norms = nn.ModuleDict()
        if channels_last:
            self.norms.update({name: nn.LayerNorm(s.channels) for name, s in self._shapes.items()})

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec | None = None) -> dict[str, object]:
        keys = cfg.MODEL.TIMM
        net = build_timm_network(keys.NAME, keys.OUT_INDICES, keys.DROP_PATH, dict(keys.KWARGS))
        if keys.FREEZE or keys.FREEZE_NORM:
            net = freeze_batch_norm_2d(net)
        net.requires_grad_(not keys.FREEZE)
        if cfg.MODEL.CHECKPOINTING:
            recompute_stages(net)
        channels_last = str(getattr(net, "output_fmt", "")).endswith("NHWC")
        return {"net": net, "channels_last": channels_last}

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride: sides that are multiples of it give maps without a remainder."""
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """
        Args:
            frames: (N, 3, H, W), normalized and padded.

        Returns:
            {"res2": (N, C, h, w), ...}, finest first.
        """
        frames = frames.contiguous(memory_format=torch.channels_last)  # convolutions are faster
        maps = dict(zip(self._shapes, self.net(frames), strict=True))
        if self.channels_last:
            maps = {name: self.norms[name](x).permute(0, 3, 1, 2) for name, x in maps.items()}
        return maps


def build_timm_network(
    name: str, out_indices: Sequence[int], drop_path: float, options: dict
) -> nn.Module:
    """A timm feature network with random weights.

    Args:
        name: timm's model name.
        out_indices: indices of its features.
        drop_path: stochastic depth rate; 0: timm's default for the model.
        options: further arguments of `timm.create_model`.

    Raises:
        ValueError: timm does not have the model, or the model does not have the features.
    """
    if not timm.is_model(name):
        raise ValueError(
            f"MODEL.TIMM.NAME is '{name}', which timm {timm.__version__} does not know"
        )
    if loading := sorted({"checkpoint_path", "pretrained_cfg"} & options.keys()):
        raise ValueError(
            f"MODEL.TIMM.KWARGS has {loading[0]}, expected arguments of the network; weights are "
            "loaded with MODEL.WEIGHTS"
        )
    if name.startswith("swin_"):  # whole windows at every map size, as in the published Swin
        options = {"always_partition": True, "strict_img_size": False, **options}
    if drop_path > 0:
        options = {"drop_path_rate": drop_path, **options}
    try:
        net = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(out_indices), **options
        )
    except BUILD_ERRORS as error:
        raise ValueError(
            f"timm cannot build '{name}' with MODEL.TIMM.OUT_INDICES {list(out_indices)} "
            f"and MODEL.TIMM.KWARGS {options}: {shortened(one_line(error))}"
        ) from error
    replace_modules(net, {SwinTransformerBlock: PadFirstBlock})
    return net


def recompute_stages(net: nn.Module) -> None:
    """Turn on a timm network's gradient checkpointing, or log why not.

    Trained batch norms would count each clip twice, so a network with them is not changed.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        logger.info("No MODEL.CHECKPOINTING of the backbone: its batch norms are trained.")
    elif switch := getattr(net, "set_grad_checkpointing", None):
        switch(True)
    else:
        name = type(net).__name__
        logger.info("No MODEL.CHECKPOINTING of the backbone: %s does not support it.", name)


class PadFirstBlock(SwinTransformerBlock):
    """timm's Swin block with the map padded to whole windows *before* the cyclic shift.

    timm shifts first, which gives other features from the same weights if a map is not a whole
    number of windows. Mask2Former's checkpoints were trained with padding first.
    """

    def _attn(self, x: Tensor) -> Tensor:
        """Shifted-window attention (N, h, w, C) -> (N, h, w, C)."""
        (height, width), (rows, columns) = x.shape[1:3], self.window_size
        padded = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        return super()._attn(padded)[:, :height, :width]
