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

BORDER = (1, 2)  # cells of zeros before and behind a map
MOST_THREADS = 4  # that add up a gradient: each of them needs a table of its own


@functools.cache
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
    """`deformable_attention` in PyTorch, in single precision at least.

    A bilinear sample is a weighted sum of four cells, so all of them together are a product with
    a sparse matrix. The table of values that it multiplies has a border of zeros around each map:
    so no corner has to be left out.
    """
    kind = torch.promote_types(value.dtype, torch.float32)
    n, asking, heads = locations.shape[:3]
    depth = value.shape[3]
    maps = value.to(kind).flatten(2).split([h * w for h, w in shapes], dim=1)
    maps = [x.unflatten(1, shape) for x, shape in zip(maps, shapes, strict=True)]
    table = torch.cat([F.pad(x, (0, 0, *BORDER, *BORDER)).flatten(1, 2) for x in maps], dim=1)
    size, pitch, first = _cells_of_samples(shapes, locations, kind)

    x, right = _split(locations[..., 0].flatten(2).to(kind) * size[0] - 0.5, size[0])
    y, lower = _split(locations[..., 1].flatten(2).to(kind) * size[1] - 0.5, size[1])
    # A diverged model's NaN shall reach the loss, not an index.
    cell = torch.nan_to_num(torch.addcmul(x, y, pitch)).int()
    frame = torch.arange(n, dtype=torch.int32, device=value.device) * table.shape[1]
    corner, down = (cell + frame[:, None, None]) * heads + first, heads * pitch.int()
    rows = [corner, corner + heads, corner + down, corner + (down + heads)]
    weight = weights.flatten(2).to(kind)
    below = weight * lower
    above = weight - below
    shares = [above - above * right, above * right, below - below * right, below * right]

    bags = (n * asking * heads, weights.shape[3:].numel())
    sums = _SumsOfRows.apply if value.device.type == "cpu" else _sums_of_rows
    out = sums(
        table.view(-1, depth),
        torch.cat([x.view(bags) for x in rows], dim=1),
        torch.cat([x.view(bags) for x in shares], dim=1),
    )
    return out.view(n, asking, heads * depth).to(value.dtype)


def _cells_of_samples(
    shapes, locations: Tensor, kind: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """What the S = M * V * P samples of a place need to find their cells, floats of one kind.

    Returns:
        (width, height) of each sample's map (2, S), cells from a row of it to the next (S), and
        the table's row of its cell (0, 0) in the first frame (S); cells have a row for each head.
    """
    heads, levels, points = locations.shape[2:5]
    rows, start = [], 0
    for height, width in shapes:
        pitch = width + sum(BORDER)
        rows.append((width, height, pitch, start + BORDER[0] * (pitch + 1)))
        start += pitch * (height + sum(BORDER))
    table = torch.tensor(rows, dtype=torch.int32).T[:, None, :, None]
    table = table.expand(4, heads, levels, points).flatten(1).to(locations.device)
    head = torch.arange(heads, dtype=torch.int32, device=locations.device)
    first = table[3] * heads + head.repeat_interleave(levels * points)
    return table[:2].to(kind), table[2].to(kind), first


def _split(place: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The cell before a place and the next one's share; what is off the map lies in its border."""
    place = place.clamp(min=torch.full_like(size, -1), max=size)
    cell = place.detach().floor()
    return cell, place - cell


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
        weights = self.attention_weights(query).unflatten(2, (heads, levels * points)).softmax(-1)
        size = torch.tensor([(w, h) for h, w in shapes], dtype=offsets.dtype, device=offsets.device)
        size = size[:, None].expand(heads, levels, points, 2).flatten()  # long rows are fast
        locations = reference.repeat(1, len(size) // 2) + offsets / size
        return (
            locations.unflatten(2, (heads, levels, points, 2)),
            weights.unflatten(3, (levels, points)),
        )
