"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3).

Shape letters: see `modeling/__init__.py`. C / J are the channels of a head.
"""

import functools
import importlib.util
import math
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.modeling.ops.sparse_sampling import sample_sums


def deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sums of bilinear samples, in plain PyTorch and single precision at least.

    Args:
        value: (N, L, J, C / J), the levels one after the other, each row by row.
        shapes: (h, w) of each of the V levels; their positions add up to L.
        locations: (N, Q, J, V, P, 2) as (x, y); a map's outer edges are 0 and 1, with zeros beyond.
        weights: (N, Q, J, V, P).

    Returns:
        (N, Q, C).
    """
    n = len(value)
    dtype = torch.promote_types(value.dtype, torch.float32)
    grids = 2 * locations.to(dtype).transpose(1, 2).flatten(0, 1) - 1  # (N * J, Q, V, P, 2)
    levels = value.to(dtype).permute(0, 2, 3, 1).flatten(0, 1)  # (N * J, C / J, L)
    levels = levels.split([h * w for h, w in shapes], dim=2)
    samples = [
        F.grid_sample(level.unflatten(2, shape), grid, align_corners=False)
        for level, shape, grid in zip(levels, shapes, grids.unbind(2), strict=True)
    ]
    weights = weights.to(dtype).transpose(1, 2).flatten(0, 1).unsqueeze(1)  # (N * J, 1, Q, V, P)
    sums = (torch.stack(samples, dim=3) * weights).sum((3, 4))  # (N * J, C / J, Q)
    return sums.unflatten(0, (n, -1)).flatten(1, 2).transpose(1, 2).to(value.dtype)


def fast_deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The fastest version of `deformable_attention` for the device of its arguments."""
    if value.device.type == "cpu":
        return sample_sums(value, shapes, locations, weights)
    kernel = kernel_for(value.device)
    function = deformable_attention if kernel is None else kernel.deformable_attention
    return function(value, shapes, locations, weights)


@functools.cache
def kernel_for(device: torch.device) -> ModuleType | None:
    """The module with the Triton kernel, None if it does not work on the device."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    kernel = importlib.import_module("ovavss_d2.modeling.ops.deformable_kernel")
    return kernel if kernel.works_on(device) else None


class MultiScaleDeformableAttention(nn.Module):
    """Each query attends to P positions per head and level, at offsets that it predicts."""

    attend = staticmethod(deformable_attention)

    def __init__(self, *, dim: int, num_heads: int, num_levels: int, num_points: int):
        """
        Args:
            dim: channels C.
            num_heads, num_levels, num_points: J, V, P.

        Raises:
            ValueError: C is not a multiple of J.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels are not a multiple of {num_heads} attention heads")
        self.sizes = (num_heads, num_levels, num_points)
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Heads start with directions around a circle, and P points 1 to P steps away."""
        heads, levels, points = self.sizes
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, points + 1, dtype=direction.dtype)
        offsets = direction[:, None, None] * steps[:, None]  # (J, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(heads, levels, points, 2).flatten())
        for zero in (self.sampling_offsets.weight, *self.attention_weights.parameters()):
            nn.init.zeros_(zero)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, reference: Tensor, value: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        """
        Args:
            query: (N, Q, C), with position encoding.
            reference: (Q, 2), the position of each query as (x, y) between 0 and 1.
            value: (N, L, C).
            shapes: (h, w) of the levels.

        Returns:
            (N, Q, C).
        """
        value = self.value_proj(value).unflatten(2, (self.sizes[0], -1))
        with torch.autocast(query.device.type, enabled=False):
            locations, weights = self._samples(query.float(), reference.float(), shapes)
            out = self.attend(value, shapes, locations, weights)
        return self.output_proj(out)

    def _samples(
        self, query: Tensor, reference: Tensor, shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Locations (N, Q, J, V, P, 2), for which 16 bits are too few, and weights."""
        heads, levels, points = self.sizes
        offsets = self.sampling_offsets(query)
        weights = self.attention_weights(query).unflatten(2, (heads, levels * points))
        # On a CPU a softmax over a short last dimension takes several times as long.
        weights = weights.movedim(3, 0).softmax(0).movedim(0, 3)
        size = torch.tensor([(w, h) for h, w in shapes], dtype=offsets.dtype, device=offsets.device)
        size = size[:, None].expand(heads, levels, points, 2).flatten()  # long rows are fast
        locations = reference.repeat(1, len(size) // 2) + offsets / size
        return (
            locations.unflatten(2, (heads, levels, points, 2)),
            weights.unflatten(3, (levels, points)),
        )


class FastMultiScaleDeformableAttention(MultiScaleDeformableAttention):
    """The same by `fast_deformable_attention`."""

    attend = staticmethod(fast_deformable_attention)
