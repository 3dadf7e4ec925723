"""Backbones: any timm model with `features_only`, as a Detectron2 backbone.

Shape letters: N frames (B * T), H W pixels, C channels of a stage, h w places of its map,
s places along a window.
"""

import logging

import timm
import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.layers import freeze_batch_norm_2d
from timm.models import FeatureInfo
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.modeling.ops.folded_norm import fold_frozen_norms

logger = logging.getLogger(__name__)

FIRST_STAGE = 2  # the first feature is called res2


@BACKBONE_REGISTRY.register()
class TimmBackbone(Backbone):
    """Four maps of a timm network under the names res2 to res5.

    Transformers that work on channels-last maps (the Swin family) hand out raw residual streams,
    so each of their outputs passes a LayerNorm, as in Mask2Former.
    """

    @configurable
    def __init__(self, *, net: nn.Module, channels_last: bool, memory_format: torch.memory_format):
        """
        Args:
            net: a timm model made with `features_only=True`.
            channels_last: its maps are (N, h, w, C).
            memory_format: of the frames that it gets, which convolutions keep.
        """
        super().__init__()
        self.net = net
        self.channels_last = channels_last
        self.memory_format = memory_format
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
    def from_config(cls, cfg, input_shape=None):
        keys = cfg.MODEL.TIMM
        net = build_timm_network(keys.NAME, keys.OUT_INDICES, keys.DROP_PATH, dict(keys.KWARGS))
        if keys.PAD_BEFORE_SHIFT:
            pad_before_shift(net)
        if keys.FREEZE_NORM:
            net = freeze_batch_norm_2d(net)
            fold_frozen_norms(net)
        if cfg.MODEL.CHECKPOINTING:
            recompute_stages(net)
        last = cfg.MODEL.CHANNELS_LAST
        return {
            "net": net,
            "channels_last": str(getattr(net, "output_fmt", "")).endswith("NHWC"),
            "memory_format": torch.channels_last if last else torch.contiguous_format,
        }

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride: sides that are multiples of it give maps without a remainder."""
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """
        Args:
            frames: (N, 3, H, W), normalised and padded.

        Returns:
            {"res2": (N, C, h, w), ...}, finest first.
        """
        frames = frames.contiguous(memory_format=self.memory_format)
        maps = dict(zip(self._shapes, self.net(frames), strict=True))
        if self.channels_last:
            maps = {name: self.norms[name](x).permute(0, 3, 1, 2) for name, x in maps.items()}
        return maps


def build_timm_network(name: str, out_indices, drop_path: float, options: dict) -> nn.Module:
    """A timm feature network without weights.

    Args:
        name: timm's model name.
        out_indices: which of its features are wanted.
        drop_path: stochastic depth rate, 0 leaves it out.
        options: further arguments of `timm.create_model`.

    Raises:
        ValueError: timm has no such model, or it has not these features.
    """
    if not timm.is_model(name):
        raise ValueError(
            f"MODEL.TIMM.NAME is '{name}', which timm {timm.__version__} does not know"
        )
    if name.startswith("swin_"):  # whole windows at every map size, as the published Swin has them
        options = {"always_partition": True, "strict_img_size": False, **options}
    if drop_path > 0:
        options = {"drop_path_rate": drop_path, **options}
    try:
        return timm.create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(out_indices), **options
        )
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"timm cannot build '{name}' with MODEL.TIMM.OUT_INDICES {list(out_indices)} "
            f"and MODEL.TIMM.KWARGS {options}: {error}"
        ) from error


def recompute_stages(net: nn.Module) -> None:
    """Have a timm network compute its stages again for the gradient; said in a log line if not.

    Batch norms that learn would count each clip twice, so that such a network is left as it is.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        logger.info("MODEL.CHECKPOINTING leaves the backbone out: its batch norms are trained.")
    elif switch := getattr(net, "set_grad_checkpointing", None):
        switch(True)
    else:
        logger.info("MODEL.CHECKPOINTING leaves the backbone out: %s cannot.", type(net).__name__)


def pad_before_shift(net: nn.Module) -> None:
    """Turn timm's Swin blocks into `PadFirstBlock`s, in place; other networks stay as they are."""
    for module in net.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = PadFirstBlock


class PadFirstBlock(SwinTransformerBlock):
    """timm's Swin block with the map padded to whole windows *before* the cyclic shift.

    timm shifts first, which gives other features from the same weights wherever a map is not a
    whole number of windows. Mask2Former's checkpoints were trained the other way round.
    """

    def _attn(self, x: Tensor) -> Tensor:
        """Shifted-window attention (N, h, w, C) -> (N, h, w, C)."""
        height, width = x.shape[1:3]
        (rows, columns), (down, right) = self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        padded, mask = (x.shape[1], x.shape[2]), None
        if down or right:
            x = x.roll((-down, -right), dims=(1, 2))
            mask = window_mask(padded, self.window_size, self.shift_size, x.device)
        windows = to_windows(x, self.window_size)
        windows = self.attn(windows, mask=mask)
        x = from_windows(windows, self.window_size, padded)
        if down or right:
            x = x.roll((down, right), dims=(1, 2))
        return x[:, :height, :width]


def to_windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w, C) -> (N * windows, s * s, C), windows row by row."""
    n, height, width, channels = x.shape
    x = x.view(n, height // size[0], size[0], width // size[1], size[1], channels)
    return x.transpose(2, 3).reshape(-1, size[0] * size[1], channels)


def from_windows(windows: Tensor, size: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """The inverse of `to_windows` for maps of `shape`."""
    rows, columns = shape[0] // size[0], shape[1] // size[1]
    x = windows.view(-1, rows, columns, size[0], size[1], windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, *shape, windows.shape[-1])


def window_mask(shape, size, shift, device) -> Tensor:
    """What the attention adds, so that places which only the shift made neighbours stay apart.

    Returns:
        (windows, s * s, s * s) of 0 and -100.
    """
    rows = _regions(shape[0], size[0], shift[0], device)
    columns = _regions(shape[1], size[1], shift[1], device)
    regions = 3 * rows[:, None] + columns[None, :]
    regions = to_windows(regions[None, :, :, None], size).squeeze(-1)
    return -100.0 * (regions[:, :, None] != regions[:, None, :]).float()


def _regions(length: int, window: int, shift: int, device) -> Tensor:
    """The part of a shifted axis that each place belongs to; the last window has two or one."""
    place = torch.arange(length, device=device)
    return (place >= length - window).long() + (place >= length - shift).long()
