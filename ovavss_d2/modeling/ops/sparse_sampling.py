"""Weighted sums of bilinear samples as a sparse matrix product, for CPUs.

A bilinear sample is a weighted sum of four cells. So all samples of a sum are one row of a sparse
matrix, which is multiplied by the table of all cells. In the table each map has a border of zeros,
so samples outside the map need no special case.

Shape letters: see `modeling/__init__.py`. R is the number of sums (N * J * Q), S here the number of
samples of a query (J * V * P).
"""

import functools
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BORDER = 2  # cells of zeros on each side of a map
MAX_THREADS = 4  # that add up a gradient; each of them needs a table


def sample_sums(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """`deformable_attention` on a CPU, in single precision at least; the same arguments.

    The cells of a head are adjacent in the table, and so are its sums: this keeps what they read in
    the processor's cache.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    n, queries, heads = locations.shape[:3]
    table = _table(value.to(dtype), shapes)
    cells, shares = _Corners.apply(locations.to(dtype), weights.to(dtype), shapes)
    out = _SumsOfCells.apply(table, cells, shares).view(n, heads, queries, table.shape[1])
    return out.transpose(1, 2).flatten(2).to(value.dtype)


def _table(value: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Values (N, L, J, C / J) -> all cells with borders, head by head: (cells, C / J)."""
    levels = value.transpose(1, 2).split([h * w for h, w in shapes], dim=2)
    maps = [x.unflatten(2, shape) for x, shape in zip(levels, shapes, strict=True)]
    maps = [F.pad(x, (0, 0, *4 * [BORDER])).flatten(2, 3) for x in maps]
    table = torch.cat(maps, dim=2) if len(maps) > 1 else maps[0]  # without a copy
    return table.flatten(0, 2)


class _Layout(NamedTuple):
    """Where the S samples of a query find the cells of their map in the table."""

    size: Tensor  # (S, 2), width and height of the map, floats
    row_length: Tensor  # int32 (S,), cells of a row with its borders
    origin: Tensor  # int32 (N, 1, S), index of the map's top left cell, inside the border


def _layout(shapes: list[tuple[int, int]], locations: Tensor) -> _Layout:
    n, _, heads, levels, points = locations.shape[:5]
    maps, num_cells = [], 0
    for height, width in shapes:
        row_length = width + 2 * BORDER
        maps.append((width, height, row_length, num_cells + BORDER * (row_length + 1)))
        num_cells += row_length * (height + 2 * BORDER)
    of_samples = torch.tensor(maps, dtype=torch.int32).repeat_interleave(points, dim=0)
    size, row_length, origin = of_samples.repeat(heads, 1).split([2, 1, 1], dim=1)
    head = torch.arange(n * heads, dtype=torch.int32).view(n, 1, heads) * num_cells
    head = head.repeat_interleave(levels * points, dim=2)
    return _Layout(size.to(locations.dtype), row_length[:, 0].contiguous(), head + origin[:, 0])


class _Corners(torch.autograd.Function):
    """The four cells around each sample, and their shares of its sum.

    Locations (N, Q, J, V, P, 2) and weights (N, Q, J, V, P) -> cells, int32, and shares, both
    (R, 4 * V * P). The gradient is written out, as autograd would keep and read ten tensors of this
    size.
    """

    @staticmethod
    def forward(ctx: Any, locations: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Any:
        size, row_length, origin = _layout(shapes, locations)
        position = locations.flatten(2, 4) * size - 0.5  # (N, Q, S, 2), in cells
        # A sample outside of the map is moved into the border, where it has no gradient.
        position = torch.minimum(position.clamp_(min=0.5 - BORDER), size + 0.5, out=position)
        cell = position.floor()
        right, lower = (position - cell).movedim(-1, 0).contiguous()
        x, y = cell.nan_to_num_().unbind(-1)  # NaN must reach the loss, and is not an index
        top_left = torch.addcmul(x, y, row_length.to(x)).int() + origin
        weight = weights.flatten(2)
        bottom = weight * lower
        top = weight - bottom
        ctx.save_for_backward(weight, right, lower, size)
        ctx.shape = weights.shape
        corners = [top_left, top_left + 1, top_left + row_length, top_left + (row_length + 1)]
        parts = [top - top * right, top * right, bottom - bottom * right, bottom * right]
        cells, shares = (_by_sum(x, weights.shape[2]) for x in (corners, parts))
        ctx.mark_non_differentiable(cells)
        return cells, shares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, gradient: Tensor) -> Any:
        """The gradient of a sum's shares holds, for each cell, the product with the cell's value.

        So the interpolated product is the gradient of the weight, and its slopes in x and y are
        those of the location.
        """
        weight, right, lower, size = ctx.saved_tensors
        top_left, top_right, bottom_left, bottom_right = _by_corner(gradient, ctx.shape)
        top, bottom = top_left.lerp(top_right, right), bottom_left.lerp(bottom_right, right)
        slope_x = (top_right - top_left).lerp(bottom_right - bottom_left, lower)
        of_position = torch.stack([slope_x * weight, (bottom - top) * weight], dim=-1)
        of_locations = (of_position * size).view(*ctx.shape, 2)
        return of_locations, top.lerp(bottom, lower).view(ctx.shape), None


def _by_sum(corners: list[Tensor], heads: int) -> Tensor:
    """Four times (N, Q, S) -> (R, 4 * V * P), head by head."""
    parts = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in corners]
    return torch.cat(parts, dim=3).flatten(0, 2)


def _by_corner(sums: Tensor, shape: torch.Size) -> Tensor:
    """(R, 4 * V * P) -> (4, N, Q, S), the inverse of `_by_sum`; shape (N, Q, J, V, P)."""
    n, queries, heads = shape[:3]
    corners = sums.unflatten(1, (4, -1)).unflatten(0, (n, heads, queries))
    return corners.permute(3, 0, 2, 1, 4).flatten(3)


class _SumsOfCells(torch.autograd.Function):
    """Table (cells, C / J), cells to read (R, K) and their shares (R, K) -> sums (R, C / J).

    The gradient of PyTorch's `embedding_bag` takes several times as long as the two products with
    sparse matrices that it consists of.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, cells: Tensor, shares: Tensor) -> Any:
        ctx.save_for_backward(table, cells, shares)
        return F.embedding_bag(cells, table, mode="sum", per_sample_weights=shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        table, cells, shares = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_table = _add_to_cells(cells, shares, gradient, len(table))
        return of_table, None, _products_with_cells(cells, gradient, table)


def _add_to_cells(cells: Tensor, shares: Tensor, gradient: Tensor, num_cells: int) -> Tensor:
    """Gradients (R, C / J) times their shares, added up by cell: (cells, C / J)."""
    threads = min(MAX_THREADS, torch.get_num_threads())
    parts = [x.detach().chunk(threads) for x in (shares, cells, gradient)]

    def add_up(shares: Tensor, cells: Tensor, gradient: Tensor) -> np.ndarray:
        values = (shares.flatten().numpy(), cells.flatten().numpy(), _row_starts(cells).numpy())
        return csr_matrix(values, shape=(len(cells), num_cells)).T @ gradient.numpy()

    with ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(functools.reduce(np.add, pool.map(add_up, *parts)))


def _products_with_cells(cells: Tensor, gradient: Tensor, table: Tensor) -> Tensor:
    """Scalar products of gradients (R, C / J) with the cells (R, K) of a table: (R, K)."""
    zeros = gradient.new_zeros(cells.numel())
    shape = (len(cells), len(table))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            _row_starts(cells), cells.flatten(), zeros, shape, check_invariants=False
        )
    return torch.sparse.sampled_addmm(pattern, gradient, table.T).values().view(cells.shape)


def _row_starts(cells: Tensor) -> Tensor:
    """Row pointers of a CSR matrix with K entries in each of R rows: int32 (R + 1)."""
    return torch.arange(len(cells) + 1, dtype=torch.int32) * cells.shape[1]
