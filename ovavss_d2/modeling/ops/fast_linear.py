"""Linear layers for CPUs: large ones as 1 x 1 convolutions.

On a CPU PyTorch multiplies float32 matrices by MKL and convolves by oneDNN. On AMD's processors
MKL reaches half to three quarters of oneDNN's speed in the same product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The convolution is faster from these sizes on:
MIN_ROWS = 1 << 9
MIN_PRODUCTS = 1 << 27  # multiplications of single numbers


class FastLinear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, with large products on a CPU by oneDNN.

    Args:
        x: (..., C).
        weight: (output channels, C).
        bias: (output channels,) or None.

    Returns:
        (..., output channels), the same up to rounding.
    """
    return _convolve(x, weight, bias) if _is_faster(x, weight) else F.linear(x, weight, bias)


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= MIN_ROWS * x.shape[-1]
        and x.numel() * len(weight) >= MIN_PRODUCTS
        and torch.backends.mkl.is_available()  # which F.linear would use
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows as the pixels of an image whose channels are innermost in memory."""
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
