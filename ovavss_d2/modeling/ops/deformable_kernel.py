"""Multi-scale deformable attention as a Triton kernel, compiled at run time.

Triton's interpreter runs the same code on a CPU (TRITON_INTERPRET=1); tests use it.

Shape letters: see `modeling/__init__.py`.
"""

import logging
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

logger = logging.getLogger(__name__)

# The fastest of 24 settings on an H100. Its L1 cache reads a line every other cycle, 48 lines per
# sum, so more queries per program or more channels per thread are not faster.
QUERIES_PER_PROGRAM = 8
WARPS = 1


@triton.jit
def _samples(locations, weights, sample, valid, height, width, TYPE: tl.constexpr):
    """Weight, top left cell and offsets from it (down, right) of samples (rows, P)."""
    x = tl.load(locations + 2 * sample, mask=valid, other=0).to(TYPE) * width - 0.5
    y = tl.load(locations + 2 * sample + 1, mask=valid, other=0).to(TYPE) * height - 0.5
    weight = tl.load(weights + sample, mask=valid, other=0).to(TYPE)
    left, top = tl.floor(x), tl.floor(y)
    # far outside the map a float exceeds the range of integers
    column = tl.clamp(left, -2.0, width.to(TYPE)).to(tl.int32)
    row = tl.clamp(top, -2.0, height.to(TYPE)).to(tl.int32)
    return weight, row, column, y - top, x - left


@triton.jit
def _within(index, size):
    """Whether 0 <= index < size, in one comparison."""
    return index.to(tl.uint32, bitcast=True) < size.to(tl.uint32, bitcast=True)


@triton.jit
def _forward(
    value, shapes, locations, weights, out, positions, queries,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, PADDED: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """One program: ROWS queries of one frame and head; tiles (rows, points, channels)."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    value += (frame * positions * HEADS + head) * DEPTH
    locations += frame * queries * (HEADS * LEVELS * POINTS * 2)
    weights += frame * queries * (HEADS * LEVELS * POINTS)
    out += frame * queries * (HEADS * DEPTH)
    r, p = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, PADDED)
    d = tl.arange(0, COLUMNS)[None, None, :]
    query, valid = r * HEADS + head, (r < queries)[:, None] & (p < POINTS)[None, :]
    total = tl.zeros((ROWS, PADDED, COLUMNS), dtype=TYPE)
    for level in tl.static_range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        sample = (query * LEVELS + level)[:, None] * POINTS + p[None, :]
        weight, row, column, lower, right = _samples(
            locations, weights, sample, valid, height, width, TYPE
        )
        first = tl.load(shapes + 3 * level + 2) + row * width + column
        for corner in tl.static_range(4):
            down, along = corner // 2, corner % 2
            share = weight * (lower if down else 1 - lower) * (right if along else 1 - right)
            inside = valid & _within(row + down, height) & _within(column + along, width)
            cell = (first + down * width + along)[:, :, None] * (HEADS * DEPTH) + d
            read = tl.load(value + cell, mask=inside[:, :, None] & (d < DEPTH), other=0)
            total += read.to(TYPE) * share[:, :, None]
    d = tl.arange(0, COLUMNS)[None, :]
    mask = (r < queries)[:, None] & (d < DEPTH)
    total = tl.sum(total, axis=1).to(out.dtype.element_ty)
    tl.store(out + (query[:, None] * DEPTH + d), total, mask=mask)


@triton.jit
def _backward(
    gradient, value, shapes, locations, weights, of_value, of_locations, of_weights,
    positions, queries,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, PADDED: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """Like `_forward`; the gradients of a cell that several queries read are added atomically."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    value += (frame * positions * HEADS + head) * DEPTH
    of_value += (frame * positions * HEADS + head) * DEPTH
    locations += frame * queries * (HEADS * LEVELS * POINTS * 2)
    of_locations += frame * queries * (HEADS * LEVELS * POINTS * 2)
    weights += frame * queries * (HEADS * LEVELS * POINTS)
    of_weights += frame * queries * (HEADS * LEVELS * POINTS)
    gradient += frame * queries * (HEADS * DEPTH)
    r, p = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, PADDED)
    d = tl.arange(0, COLUMNS)[None, None, :]
    query, valid = r * HEADS + head, (r < queries)[:, None] & (p < POINTS)[None, :]
    mask = (r < queries)[:, None, None] & (d < DEPTH)
    of_sum = tl.load(gradient + (query[:, None, None] * DEPTH + d), mask=mask, other=0).to(TYPE)
    for level in tl.static_range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        sample = (query * LEVELS + level)[:, None] * POINTS + p[None, :]
        weight, row, column, lower, right = _samples(
            locations, weights, sample, valid, height, width, TYPE
        )
        first = tl.load(shapes + 3 * level + 2) + row * width + column
        of_x = tl.zeros((ROWS, PADDED), dtype=TYPE)
        of_y = tl.zeros((ROWS, PADDED), dtype=TYPE)
        of_weight = tl.zeros((ROWS, PADDED), dtype=TYPE)
        for corner in tl.static_range(4):
            down, along = corner // 2, corner % 2
            share_y, share_x = lower if down else 1 - lower, right if along else 1 - right
            share = (weight * share_y * share_x)[:, :, None]
            inside = valid & _within(row + down, height) & _within(column + along, width)
            cell = (first + down * width + along)[:, :, None] * (HEADS * DEPTH) + d
            mask = inside[:, :, None] & (d < DEPTH)
            read = tl.load(value + cell, mask=mask, other=0).to(TYPE)
            tl.atomic_add(of_value + cell, of_sum * share, mask=mask, sem="relaxed")
            product = tl.sum(of_sum * read, axis=2)
            of_weight += product * share_y * share_x
            of_x += product * share_y * (2 * along - 1)
            of_y += product * share_x * (2 * down - 1)
        kind = of_locations.dtype.element_ty
        tl.store(of_locations + 2 * sample, (of_x * weight * width).to(kind), mask=valid)
        tl.store(of_locations + 2 * sample + 1, (of_y * weight * height).to(kind), mask=valid)
        tl.store(of_weights + sample, of_weight.to(of_weights.dtype.element_ty), mask=valid)


def deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """`deformable_attention.deformable_attention` by the kernel, with the same arguments.

    Sums are in float32 (float64 for float64). The gradients of the value are added up in an
    unspecified order.
    """
    return _KernelSum.apply(value, locations, weights, tuple(shapes))


class _KernelSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, shapes: tuple
    ) -> Tensor:
        value, locations, weights = (x.contiguous() for x in (value, locations, weights))
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        n, _, heads, depth = value.shape
        out = value.new_empty(n, locations.shape[1], heads * depth)
        if out.numel():
            arguments = (value, level_table(shapes, value.device), locations, weights, out)
            _launch(_forward, arguments, value, locations)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        value, locations, weights = ctx.saved_tensors
        exact = torch.float64 if value.dtype == torch.float64 else torch.float32
        of_value = torch.zeros_like(value, dtype=exact)
        of_locations, of_weights = torch.empty_like(locations), torch.empty_like(weights)
        if gradient.numel():
            table = level_table(ctx.shapes, value.device)
            inputs = (gradient.contiguous(), value, table, locations, weights)
            arguments = (*inputs, of_value, of_locations, of_weights)
            _launch(_backward, arguments, value, locations)
        return of_value.to(value.dtype), of_locations, of_weights, None


@cache
def level_table(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(height, width, first position) of each level: int32 (V, 3)."""
    rows, start = [], 0
    for height, width in shapes:
        rows.append((height, width, start))
        start += height * width
    return torch.tensor(rows, dtype=torch.int32, device=device)


def _launch(kernel: Any, arguments: tuple, value: Tensor, locations: Tensor) -> None:
    n, positions, heads, depth = value.shape
    queries, (levels, points) = locations.shape[1], locations.shape[3:5]
    grid = (triton.cdiv(queries, QUERIES_PER_PROGRAM), n * heads)
    with torch.cuda.device_of(value):  # Triton uses the current device
        kernel[grid](
            *arguments,
            positions,
            queries,
            HEADS=heads,
            DEPTH=depth,
            LEVELS=levels,
            POINTS=points,
            ROWS=QUERIES_PER_PROGRAM,
            PADDED=triton.next_power_of_2(points),
            COLUMNS=triton.next_power_of_2(depth),
            TYPE=tl.float64 if value.dtype == torch.float64 else tl.float32,
            num_warps=WARPS,
        )


@cache
def works_on(device: torch.device) -> bool:
    """Whether the kernel compiles and runs on the device; tried and logged once."""
    try:
        value = torch.ones(1, 4, 1, 4, device=device)
        middle = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
        out = deformable_attention(value, [(2, 2)], middle, middle[..., 0])
        return bool((out == 0.5).all())
    except Exception as error:  # no compiler, no driver, an old device
        logger.warning(
            "Deformable attention uses plain PyTorch: the Triton kernel failed (%s).",
            " ".join(str(error).split()) or type(error).__name__,
        )
        return False
