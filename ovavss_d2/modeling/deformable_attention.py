"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3).

In pure PyTorch, and on a GPU by a Triton kernel (`deformable_kernel.py`) where Triton is installed.

Shape letters: N frames, L places of all levels, R of them that ask (queries), C channels, M heads,
d = C / M, V levels, P points per head and level, h w places of one level.
"""

import importlib.util
import math
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Samples that are held at a time: about a CPU's second-level cache, or a part of a GPU's memory.
CHUNK_ELEMENTS = {"cpu": 2**19, "cuda": 2**27}
KEPT_ELEMENTS = 2**22  # most samples that are kept for the gradient
BILINEAR, ZEROS_OUTSIDE = 0, 0  # PyTorch's numbers for the modes of grid_sample


@cache
def kernel_for(device: torch.device) -> ModuleType | None:
    """The module with the kernel for a device, None where there is none."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    kernel = importlib.import_module("ovavss_d2.modeling.deformable_kernel")
    return kernel if kernel.works_on(device) else None


def deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sums of bilinear samples, by the kernel where there is one.

    Args:
        value: (N, L, M, d), the levels one after the other, each row by row.
        shapes: (h, w) of each of the V levels; the places add up to L.
        locations: (N, R, M, V, P, 2) as (x, y); a map's outer edges are 0 and 1, zeros beyond.
        weights: (N, R, M, V, P).

    Returns:
        (N, R, M * d).
    """
    kernel = kernel_for(value.device)
    function = sampled_attention if kernel is None else kernel.deformable_attention
    return function(value, shapes, locations, weights)


def sampled_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """`deformable_attention` in PyTorch; fastest if the last axis but that of (x, y) is R, L."""
    n, places, heads, depth = value.shape
    rows, asking = n * heads, locations.shape[1]
    value = value.permute(0, 2, 3, 1).reshape(rows, depth, places)
    grid = (2 * locations - 1).permute(0, 2, 3, 4, 5, 1).reshape(rows, *locations.shape[3:], asking)
    weights = weights.permute(0, 2, 3, 4, 1).reshape(rows, *weights.shape[3:], asking)
    out = _SampledSum.apply(value, grid, weights, tuple(shapes))
    return out.view(n, heads * depth, asking).transpose(1, 2)


class _SampledSum(torch.autograd.Function):
    """(N M, d, L), (N M, V, P, 2, R), (N M, V, P, R) -> (N M, d, R).

    The samples, V * P times as large as the result, are taken and summed up in chunks, and taken
    again for the gradient, so that they are never held as a whole, unless they are few.
    """

    @staticmethod
    def forward(ctx, value, grid, weights, shapes):
        out = value.new_zeros(*value.shape[:2], grid.shape[-1])
        keep = any(ctx.needs_input_grad) and value.shape[1] * weights.numel() <= KEPT_ELEMENTS
        kept = []
        for level, rows, places in _chunks(value, grid, shapes):
            samples = _samples(value[rows, :, places], shapes[level], grid[rows, level])
            if keep:
                kept.append(samples)
            part, weight = out[rows], weights[rows, level, :, None]
            for point in range(samples.shape[2]):
                part.addcmul_(samples[:, :, point], weight[:, point])
        ctx.save_for_backward(value, grid, weights, *kept)
        ctx.shapes = shapes
        return out

    @staticmethod
    def backward(ctx, gradient):
        value, grid, weights, *kept = ctx.saved_tensors
        of_value, of_grid, of_weights = (torch.empty_like(x) for x in (value, grid, weights))
        for i, (level, rows, places) in enumerate(_chunks(value, grid, ctx.shapes)):
            maps, points = value[rows, :, places], grid[rows, level]
            samples = kept[i] if kept else _samples(maps, ctx.shapes[level], points)
            of_sum = gradient[rows, :, None]  # (n, d, 1, R)
            of_weights[rows, level] = (samples * of_sum).sum(1)
            of_maps, of_points = torch.ops.aten.grid_sampler_2d_backward(
                of_sum * weights[rows, level, None],
                maps.unflatten(2, ctx.shapes[level]),
                points.transpose(2, 3),
                *(BILINEAR, ZEROS_OUTSIDE, False, [True, True]),
            )
            of_value[rows, :, places] = of_maps.flatten(2)
            of_grid[rows, level] = of_points.transpose(2, 3)
        return of_value, of_grid, of_weights, None


def _chunks(value: Tensor, grid: Tensor, shapes):
    """(level, rows of N M, places of the level in L) of each piece of the work."""
    rows, depth, _ = value.shape
    samples = depth * grid.shape[2] * grid.shape[4]
    limit = CHUNK_ELEMENTS.get(value.device.type, CHUNK_ELEMENTS["cuda"])
    step = max(1, limit // max(1, samples))
    for first in range(0, rows, step):
        start = 0
        for level, (height, width) in enumerate(shapes):
            yield level, slice(first, first + step), slice(start, start + height * width)
            start += height * width


def _samples(maps: Tensor, shape: tuple[int, int], grid: Tensor) -> Tensor:
    """Maps (n, d, h * w), bilinear at grid (n, P, 2, R): (n, d, P, R), zeros outside."""
    maps = maps.unflatten(2, shape)
    return F.grid_sample(maps, grid.transpose(2, 3), padding_mode="zeros", align_corners=False)


class MultiScaleDeformableAttention(nn.Module):
    """Each place attends to P places per head and level, at offsets that it predicts itself."""

    def __init__(self, *, dim: int, num_heads: int, num_levels: int, num_points: int):
        """
        Args:
            dim: channels C.
            num_heads, num_levels, num_points: M, V, P.

        Raises:
            ValueError: C is no multiple of M.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels are no multiple of {num_heads} attention heads")
        self.sizes = (num_heads, num_levels, num_points)
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Heads start looking in directions around a circle, P points 1 to P steps away."""
        heads, levels, points = self.sizes
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, points + 1, dtype=direction.dtype)
        offsets = direction[:, None, None] * steps[:, None]  # (M, 1, P, 2)
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
            query: (N, R, C), position included.
            reference: (R, 2), the place of each query as (x, y) between 0 and 1.
            value: (N, L, C).
            shapes: (h, w) of the levels.

        Returns:
            (N, R, C).
        """
        heads, levels, points = self.sizes
        # The order of axes in memory that is read fastest: places last, for the kernel first.
        project = _channels_first if kernel_for(query.device) is None else _channels_last
        value = project(self.value_proj, value, (heads, -1))
        offsets = project(self.sampling_offsets, query, (heads, levels, points, 2))
        weights = project(self.attention_weights, query, (heads, levels * points), softmax=True)
        weights = weights.unflatten(3, (levels, points))
        size = torch.tensor([(w, h) for h, w in shapes], dtype=offsets.dtype, device=offsets.device)
        locations = reference[:, None, None, None] + offsets / size[:, None]
        out = deformable_attention(value, shapes, locations, weights)
        return self.output_proj(out)


def _channels_last(linear: nn.Linear, x: Tensor, split: tuple[int, ...], softmax=False) -> Tensor:
    """A linear layer from (N, L, C) to (N, L, *split), softmax over the last axis if asked for."""
    y = linear(x).unflatten(2, split)
    return y.softmax(-1) if softmax else y


def _channels_first(linear: nn.Linear, x: Tensor, split: tuple[int, ...], softmax=False) -> Tensor:
    """The same, with L as the last axis in memory."""
    y = torch.matmul(linear.weight, x.transpose(1, 2)) + linear.bias[:, None]
    y = y.unflatten(1, split)  # (N, *split, L)
    return (y.softmax(-2) if softmax else y).movedim(-1, 1)
