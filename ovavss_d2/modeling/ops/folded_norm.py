"""Frozen batch norms as part of the convolutions before them.

A batch norm that does not learn is a scale and a shift per channel. Applied to the weights of the
convolution before it, they cost nothing per pixel, neither forward nor backward.
"""

import torch
from timm.models import FeatureListNet
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

IN_ORDER = (nn.Sequential, FeatureListNet, BasicBlock, Bottleneck)  # they run their parts in order


def fold_frozen_norms(net: nn.Module) -> None:
    """Have each convolution that a frozen batch norm follows do its work, in place.

    Weights keep their names, places and values. Where timm's network does not show what follows a
    convolution, everything stays as it is.
    """
    for parent in net.modules():
        parts = list(parent.children()) if isinstance(parent, IN_ORDER) else []
        for part, norm in zip(parts, parts[1:], strict=False):
            convolution = part[-1] if isinstance(part, nn.Sequential) and len(part) else part
            if type(convolution) is nn.Conv2d and type(norm) is FrozenBatchNorm2d:
                convolution.__class__, norm.__class__ = NormedConv2d, FoldedNorm
                convolution.folded = (norm,)  # type: ignore[assignment]  # it is a NormedConv2d now


class FoldedNorm(FrozenBatchNorm2d):
    """Passes on what the convolution before it has normed."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What the norm multiplies by and then adds: (C) each."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class NormedConv2d(nn.Conv2d):
    """A convolution and the frozen batch norm that follows it, of which it is no part."""

    folded: tuple[FoldedNorm]  # in a tuple, as its weights are not this module's

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.folded[0].scale_and_shift()
        if self.bias is not None:
            shift = torch.addcmul(shift, self.bias, scale)
        return self._conv_forward(x, self.weight * scale[:, None, None, None], shift)
