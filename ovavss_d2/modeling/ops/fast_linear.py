"""Linear layers for CPUs: large ones as 1 x 1 convolutions.

PyTorch multiplies float32 matrices on a CPU by MKL and convolves by oneDNN. On AMD's processors
MKL reaches half to three quarters of what oneDNN does in the same product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# From here the convolution is the faster one:
MANY_ROWS = 1 << 9
MANY_PRODUCTS = 1 << 27  # of single numbers


def convolve_linear_layers(module: nn.Module) -> None:
    """Turn the plain linear layers in a module into `Linear`s, in place."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear


class Linear(nn.Linear):
    """PyTorch's with `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, with large products on a CPU by oneDNN.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,) or None.

    Returns:
        (..., D), the same up to rounding.
    """
    if not _is_faster(x, weight):
        return F.linear(x, weight, bias)
    return _convolved(x, weight, bias)


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= MANY_ROWS * x.shape[-1]
        and x.numel() * len(weight) >= MANY_PRODUCTS
        and torch.backends.mkl.is_available()  # as F.linear would take it
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows as the places of a map whose channels are innermost."""
    places = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(places, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
