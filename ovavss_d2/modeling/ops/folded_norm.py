"""Frozen batch norms as part of the convolutions before them.

A frozen batch norm is a scale and a shift per channel. Applied to the weights of the convolution
before it, they cost nothing per pixel, neither forward nor backward.
"""

from itertools import pairwise

import torch
from timm.models import FeatureListNet
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from ovavss_d2.modeling.ops.replace import share

SEQUENTIAL = (nn.Sequential, FeatureListNet, BasicBlock, Bottleneck)  # run their modules in order


def fold_frozen_norms(model: nn.Module) -> None:
    """Fold each frozen batch norm into the convolution right before it, in place.

    Parameters keep their names and values. Only timm's networks and `nn.Sequential` are changed,
    whose modules run in the order in which they are listed.
    """
    for parent in [x for x in model.modules() if isinstance(x, SEQUENTIAL)]:
        for (name, module), (norm_name, norm) in pairwise(list(parent.named_children())):
            owner = parent
            if isinstance(module, nn.Sequential) and len(module):  # the last of a deep stem
                owner, (name, module) = module, list(module.named_children())[-1]
            if type(module) is nn.Conv2d and type(norm) is FrozenBatchNorm2d:
                folded = share(norm, FoldedNorm)
                setattr(parent, norm_name, folded)
                setattr(owner, name, NormedConv2d.of(module, folded))


class FoldedNorm(FrozenBatchNorm2d):
    """Holds the parameters of a norm that the convolution before it applies."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The norm is x * scale + shift: (C) each."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class NormedConv2d(nn.Conv2d):
    """A convolution that also applies the frozen batch norm after it."""

    norm: tuple[FoldedNorm]  # in a tuple, so that it is not a submodule

    @classmethod
    def of(cls, convolution: nn.Conv2d, norm: FoldedNorm) -> "NormedConv2d":
        """The convolution, sharing its parameters, together with the norm."""
        normed = share(convolution, cls)
        normed.norm = (norm,)
        return normed

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.norm[0].scale_and_shift()
        if self.bias is not None:
            shift = torch.addcmul(shift, self.bias, scale)
        return self._conv_forward(x, self.weight * scale[:, None, None, None], shift)
