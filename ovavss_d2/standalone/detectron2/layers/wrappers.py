"""torch's layers and functions with small conveniences, under the names Detectron2 gives them."""

import torch
from torch.nn import BatchNorm2d, ConvTranspose2d, Linear
from torch.nn import functional as F
from torch.nn.functional import interpolate

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "cat",
    "cross_entropy",
    "interpolate",
    "move_device_like",
    "nonzero_tuple",
    "shapes_to_tensor",
]


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` that may carry a norm (a module, part of its state) and an activation."""

    def __init__(self, *args, norm: torch.nn.Module | None = None, activation=None, **kwargs):
        """Take the arguments of `torch.nn.Conv2d`, then what to apply to its output, in order."""
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', H', W'); N may be 0, except with SyncBatchNorm in training."""
        if self.training and not x.numel() and isinstance(self.norm, torch.nn.SyncBatchNorm):
            raise AssertionError("SyncBatchNorm does not support empty inputs!")
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def cat(tensors: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """`torch.cat` that returns a single tensor as it is."""
    if not isinstance(tensors, list | tuple):
        raise AssertionError(f"expected a list of tensors, got {type(tensors)}")
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def nonzero_tuple(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Indices of the non-zero elements, one tensor a dimension; a scalar counts as (1,)."""
    return torch.atleast_1d(x).nonzero(as_tuple=True)


def cross_entropy(input, target, *, reduction: str = "mean", **kwargs) -> torch.Tensor:
    """`torch`'s cross-entropy, except that the mean over no samples is 0 with a gradient of 0."""
    if target.numel() == 0 and reduction == "mean":
        return input.sum() * 0.0
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)


def shapes_to_tensor(x: list[int], device: torch.device | None = None) -> torch.Tensor:
    """Integers as a tensor."""
    return torch.as_tensor(x, device=device)


def move_device_like(src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
    """`src` on the device of `dst`."""
    return src.to(dst.device)
