"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3).

In PyTorch (on a CPU with SciPy's sparse product for the gradient), and on a GPU by a Triton kernel
(`deformable_kernel.py`) where Triton is installed.

Shape letters: N frames, L places of all levels, R of them that ask (queries), C channels, M heads,
d = C / M, V levels, P points per head and level, h w places of one level.
"""

import functools
import importlib.util
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BORDER = (2, 2)  # cells of zeros before and behind a map
MOST_THREADS = 4  # that add up a gradient: each of them needs a table of its own


@functools.cache
def kernel_for(device: torch.device) -> ModuleType | None:
    """The module with the kernel for a device, None where there is none."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    kernel = importlib.import_module("ovavss_d2.modeling.ops.deformable_kernel")
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
    """`deformable_attention` in PyTorch, in single precision at least.

    A bilinear sample is a weighted sum of four cells, so all of them together are a product with
    a sparse matrix. The table of values that it multiplies has a border of zeros around each map:
    so no corner has to be left out. A head's cells lie together, and so do its sums: what these
    read stays in the processor's cache.
    """
    kind = torch.promote_types(value.dtype, torch.float32)
    n, asking, heads = locations.shape[:3]
    depth = value.shape[3]
    maps = value.to(kind).transpose(1, 2).split([h * w for h, w in shapes], dim=2)
    maps = [x.unflatten(2, shape) for x, shape in zip(maps, shapes, strict=True)]
    maps = [F.pad(x, (0, 0, *BORDER, *BORDER)).flatten(2, 3) for x in maps]
    table = torch.cat(maps, dim=2) if len(maps) > 1 else maps[0]  # without a copy
    rows, shares = _Corners.apply(locations.to(kind), weights.to(kind), shapes)
    sums = _SumsOfRows.apply if value.device.type == "cpu" else _sums_of_rows
    out = sums(table.view(-1, depth), rows, shares).view(n, heads, asking, depth)
    return out.transpose(1, 2).reshape(n, asking, heads * depth).to(value.dtype)


class _Corners(torch.autograd.Function):
    """The four cells around each sample of a sum: rows of the table, int32, and their shares.

    Locations (N, R, M, V, P, 2) and weights (N, R, M, V, P) -> twice (N * M * R, 4 * V * P).
    """

    @staticmethod
    def forward(ctx, locations, weights, shapes):
        size, pitch, first = _layout(shapes, locations)
        place = locations.flatten(2, 4) * size - 0.5
        # What is off the map goes to where all corners are zeros: there it has no gradient.
        place = torch.minimum(place.clamp_(min=0.5 - BORDER[0]), size + 0.5, out=place)
        cell = place.floor()
        right, lower = (place - cell).movedim(-1, 0).contiguous()
        # A diverged model's NaN shall reach the loss, not an index.
        x, y = cell.nan_to_num_().unbind(-1)
        corner = torch.addcmul(x, y, pitch.to(x)).int() + first
        weight = weights.flatten(2)
        below = weight * lower
        above = weight - below
        ctx.save_for_backward(weight, right, lower, size)
        ctx.shape = weights.shape
        rows = [corner, corner + 1, corner + pitch, corner + (pitch + 1)]
        shares = [above - above * right, above * right, below - below * right, below * right]
        rows, shares = (_by_sum(x, weights.shape[2]) for x in (rows, shares))
        ctx.mark_non_differentiable(rows)
        return rows, shares

    @staticmethod
    @once_differentiable
    def backward(ctx, _, gradient):
        weight, right, lower, size = ctx.saved_tensors
        n, asking, heads = ctx.shape[:3]
        corners = gradient.unflatten(1, (4, -1)).unflatten(0, (n, heads, asking))
        corners = corners.permute(3, 0, 2, 1, 4).flatten(3)  # (4, N, R, M * V * P)
        top, bottom = corners[::2].lerp(corners[1::2], right)
        across = torch.lerp(*(corners[1::2] - corners[::2]), lower)
        of_place = torch.stack([across * weight, (bottom - top) * weight], dim=-1) * size
        return of_place.view(*ctx.shape, 2), top.lerp(bottom, lower).view(ctx.shape), None


def _by_sum(corners: list[Tensor], heads: int) -> Tensor:
    """Four times (N, R, M * V * P) -> (N * M * R, 4 * V * P), head by head."""
    parts = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in corners]
    return torch.cat(parts, dim=3).flatten(0, 2)


def _layout(shapes, locations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the S = M * V * P samples of a place need to find their cells.

    Returns:
        (width, height) of each sample's map (S, 2), of the locations' kind; as int32: rows of the
        table from a cell to the one below (S), and the row of its map's cell (0, 0) (N, 1, S).
    """
    n, _, heads, levels, points = locations.shape[:5]
    maps, cells = [], 0
    for height, width in shapes:
        pitch = width + sum(BORDER)
        maps.append((width, height, pitch, cells + BORDER[0] * (pitch + 1)))
        cells += pitch * (height + sum(BORDER))
    of_map = torch.tensor(maps, dtype=torch.int32)[:, None].expand(levels, points, 4).flatten(0, 1)
    size, pitch, first = of_map.repeat(heads, 1).to(locations.device).split([2, 1, 1], dim=1)
    head = torch.arange(n * heads, dtype=torch.int32, device=locations.device) * cells
    head = head.view(n, 1, heads).repeat_interleave(levels * points, dim=2)
    return size.to(locations.dtype), pitch[:, 0].contiguous(), first[:, 0] + head


def _sums_of_rows(table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Table (size, d), its rows to take (B, K) and their weights (B, K) -> sums over K (B, d)."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)


class _SumsOfRows(torch.autograd.Function):
    """`_sums_of_rows` on a CPU.

    There the gradient of PyTorch's `embedding_bag` takes several times as long as the products
    with sparse matrices that it consists of.
    """

    @staticmethod
    def forward(ctx, table, rows, shares):
        ctx.save_for_backward(table, rows, shares)
        return _sums_of_rows(table, rows, shares)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        table, rows, shares = ctx.saved_tensors
        gradient = gradient.contiguous()
        return (
            _scattered(rows, shares, gradient, len(table)),
            None,
            _products(rows, gradient, table),
        )


def _scattered(rows: Tensor, shares: Tensor, gradient: Tensor, size: int) -> Tensor:
    """Gradients (B, d), weighted, added up where they belong in a table: (size, d)."""
    threads = min(MOST_THREADS, torch.get_num_threads())
    parts = [x.detach().chunk(threads) for x in (shares, rows, gradient)]

    def add_up(shares, rows, gradient):
        values = (shares.flatten().numpy(), rows.flatten().numpy(), _starts(rows).numpy())
        return csr_matrix(values, shape=(len(rows), size)).T @ gradient.numpy()

    with ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(functools.reduce(np.add, pool.map(add_up, *parts)))


def _products(rows: Tensor, gradient: Tensor, table: Tensor) -> Tensor:
    """Scalar products of gradients (B, d) with the rows (B, K) of a table: (B, K)."""
    zeros = gradient.new_zeros(rows.numel())
    shape = (len(rows), len(table))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            _starts(rows), rows.flatten(), zeros, shape, check_invariants=False
        )
    return torch.sparse.sampled_addmm(pattern, gradient, table.T).values().view(rows.shape)


def _starts(rows: Tensor) -> Tensor:
    """Where the rows (B, K) begin one after the other, and where they end: int32 (B + 1)."""
    return torch.arange(len(rows) + 1, dtype=torch.int32) * rows.shape[1]


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
        value = self.value_proj(value).unflatten(2, (heads, -1))
        with torch.autocast(query.device.type, enabled=False):
            locations, weights = self._samples(query.float(), reference.float(), shapes)
            out = deformable_attention(value, shapes, locations, weights)
        return self.output_proj(out)

    def _samples(self, query, reference, shapes) -> tuple[Tensor, Tensor]:
        """Places (N, R, M, V, P, 2) and weights (N, R, M, V, P); 16 bits are too few for places."""
        heads, levels, points = self.sizes
        offsets = self.sampling_offsets(query)
        weights = self.attention_weights(query).unflatten(2, (heads, levels * points))
        # A CPU takes several times as long for the last dimension, where it is as short as this.
        weights = weights.movedim(3, 0).softmax(0).movedim(0, 3)
        size = torch.tensor([(w, h) for h, w in shapes], dtype=offsets.dtype, device=offsets.device)
        size = size[:, None].expand(heads, levels, points, 2).flatten()  # long rows are fast
        locations = reference.repeat(1, len(size) // 2) + offsets / size
        return (
            locations.unflatten(2, (heads, levels, points, 2)),
            weights.unflatten(3, (levels, points)),
        )
