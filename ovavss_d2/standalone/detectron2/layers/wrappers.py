"""`Conv2d`: torch's convolution followed by a norm and an activation."""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Conv2d"]


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` with an optional norm and activation."""

    def __init__(
        self,
        *args: Any,
        norm: torch.nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ):
        """
        Args:
            *args, **kwargs: of `torch.nn.Conv2d`.
            norm: applied to the output.
            activation: applied after the norm.
        """
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
