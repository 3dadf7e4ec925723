"""Multi-scale deformable attention as a Triton kernel: compiled at run time, nothing to install.

Triton's interpreter runs the same code on a CPU (TRITON_INTERPRET=1), which is how it is tested.

Shape letters: N frames, L places of all levels, R of them that ask, M heads, d channels of a head,
V levels, P points per head and level, h w places of one level.
"""

import logging
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

logger = logging.getLogger(__name__)

# The fastest of 24 settings on an H100. Its first-level cache looks up a line every other cycle, 48
# lines for a sum: more places in a program, or channels in a thread, do not pay.
ASKING_PER_PROGRAM = 8
WARPS = 1


@triton.jit
def _samples(locations, weights, sample, asked, height, width, TYPE: tl.constexpr):
    """Of samples (rows, P): weight, row and column of the cell above left, shares of the others."""
    x = tl.load(locations + 2 * sample, mask=asked, other=0).to(TYPE) * width - 0.5
    y = tl.load(locations + 2 * sample + 1, mask=asked, other=0).to(TYPE) * height - 0.5
    weight = tl.load(weights + sample, mask=asked, other=0).to(TYPE)
    left, top = tl.floor(x), tl.floor(y)
    # far outside, a float is no integer any more
    column = tl.clamp(left, -2.0, width.to(TYPE)).to(tl.int32)
    row = tl.clamp(top, -2.0, height.to(TYPE)).to(tl.int32)
    return weight, row, column, y - top, x - left


@triton.jit
def _within(place, size):
    """Whether 0 <= place < size, in one comparison."""
    return place.to(tl.uint32, bitcast=True) < size.to(tl.uint32, bitcast=True)


@triton.jit
def _forward(
    value, shapes, locations, weights, out, places, asking,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, PADDED: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """One program: ROWS asking places of one frame and head; tiles (rows, points, channels)."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    value += (frame * places * HEADS + head) * DEPTH
    locations += frame * asking * (HEADS * LEVELS * POINTS * 2)
    weights += frame * asking * (HEADS * LEVELS * POINTS)
    out += frame * asking * (HEADS * DEPTH)
    r, p = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, PADDED)
    d = tl.arange(0, COLUMNS)[None, None, :]
    asker, asked = r * HEADS + head, (r < asking)[:, None] & (p < POINTS)[None, :]
    total = tl.zeros((ROWS, PADDED, COLUMNS), dtype=TYPE)
    for level in tl.static_range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        sample = (asker * LEVELS + level)[:, None] * POINTS + p[None, :]
        weight, row, column, lower, right = _samples(
            locations, weights, sample, asked, height, width, TYPE
        )
        first = tl.load(shapes + 3 * level + 2) + row * width + column
        for corner in tl.static_range(4):
            down, along = corner // 2, corner % 2
            share = weight * (lower if down else 1 - lower) * (right if along else 1 - right)
            inside = asked & _within(row + down, height) & _within(column + along, width)
            cell = (first + down * width + along)[:, :, None] * (HEADS * DEPTH) + d
            read = tl.load(value + cell, mask=inside[:, :, None] & (d < DEPTH), other=0)
            total += read.to(TYPE) * share[:, :, None]
    d = tl.arange(0, COLUMNS)[None, :]
    mask = (r < asking)[:, None] & (d < DEPTH)
    total = tl.sum(total, axis=1).to(out.dtype.element_ty)
    tl.store(out + (asker[:, None] * DEPTH + d), total, mask=mask)


@triton.jit
def _backward(
    gradient, value, shapes, locations, weights, of_value, of_locations, of_weights, places, asking,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, PADDED: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """The same walk; what several places read is added up atomically in `of_value`."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    value += (frame * places * HEADS + head) * DEPTH
    of_value += (frame * places * HEADS + head) * DEPTH
    locations += frame * asking * (HEADS * LEVELS * POINTS * 2)
    of_locations += frame * asking * (HEADS * LEVELS * POINTS * 2)
    weights += frame * asking * (HEADS * LEVELS * POINTS)
    of_weights += frame * asking * (HEADS * LEVELS * POINTS)
    gradient += frame * asking * (HEADS * DEPTH)
    r, p = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, PADDED)
    d = tl.arange(0, COLUMNS)[None, None, :]
    asker, asked = r * HEADS + head, (r < asking)[:, None] & (p < POINTS)[None, :]
    mask = (r < asking)[:, None, None] & (d < DEPTH)
    of_sum = tl.load(gradient + (asker[:, None, None] * DEPTH + d), mask=mask, other=0).to(TYPE)
    for level in tl.static_range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        sample = (asker * LEVELS + level)[:, None] * POINTS + p[None, :]
        weight, row, column, lower, right = _samples(
            locations, weights, sample, asked, height, width, TYPE
        )
        first = tl.load(shapes + 3 * level + 2) + row * width + column
        of_x = tl.zeros((ROWS, PADDED), dtype=TYPE)
        of_y = tl.zeros((ROWS, PADDED), dtype=TYPE)
        of_weight = tl.zeros((ROWS, PADDED), dtype=TYPE)
        for corner in tl.static_range(4):
            down, along = corner // 2, corner % 2
            share_y, share_x = lower if down else 1 - lower, right if along else 1 - right
            share = (weight * share_y * share_x)[:, :, None]
            inside = asked & _within(row + down, height) & _within(column + along, width)
            cell = (first + down * width + along)[:, :, None] * (HEADS * DEPTH) + d
            mask = inside[:, :, None] & (d < DEPTH)
            read = tl.load(value + cell, mask=mask, other=0).to(TYPE)
            tl.atomic_add(of_value + cell, of_sum * share, mask=mask, sem="relaxed")
            product = tl.sum(of_sum * read, axis=2)
            of_weight += product * share_y * share_x
            of_x += product * share_y * (2 * along - 1)
            of_y += product * share_x * (2 * down - 1)
        kind = of_locations.dtype.element_ty
        tl.store(of_locations + 2 * sample, (of_x * weight * width).to(kind), mask=asked)
        tl.store(of_locations + 2 * sample + 1, (of_y * weight * height).to(kind), mask=asked)
        tl.store(of_weights + sample, of_weight.to(of_weights.dtype.element_ty), mask=asked)


def deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The kernel's version of `deformable_attention.deformable_attention`, same arguments.

    Sums are taken in float32 (float64 for float64); the gradients are those of the bilinear
    samples, and the value's are added up in no fixed order.
    """
    return _KernelSum.apply(value, locations, weights, tuple(shapes))


class _KernelSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, locations, weights, shapes):
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
    def backward(ctx, gradient):
        value, locations, weights = ctx.saved_tensors
        exact = torch.float64 if value.dtype == torch.float64 else torch.float32
        of_value = torch.zeros_like(value, dtype=exact)
        of_locations, of_weights = torch.empty_like(locations), torch.empty_like(weights)
        if gradient.numel():
            table = level_table(ctx.shapes, value.device)
            arguments = (gradient.contiguous(), value, table, locations, weights)
            arguments = (*arguments, of_value, of_locations, of_weights)
            _launch(_backward, arguments, value, locations)
        return of_value.to(value.dtype), of_locations, of_weights, None


@cache
def level_table(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(height, width, first place) of each level: int32 (V, 3)."""
    rows, start = [], 0
    for height, width in shapes:
        rows.append((height, width, start))
        start += height * width
    return torch.tensor(rows, dtype=torch.int32, device=device)


def _launch(kernel, arguments, value, locations) -> None:
    n, places, heads, depth = value.shape
    asking, (levels, points) = locations.shape[1], locations.shape[3:5]
    grid = (triton.cdiv(asking, ASKING_PER_PROGRAM), n * heads)
    with torch.cuda.device_of(value):  # Triton starts it on the current one
        kernel[grid](
            *arguments,
            places,
            asking,
            HEADS=heads,
            DEPTH=depth,
            LEVELS=levels,
            POINTS=points,
            ROWS=ASKING_PER_PROGRAM,
            PADDED=triton.next_power_of_2(points),
            COLUMNS=triton.next_power_of_2(depth),
            TYPE=tl.float64 if value.dtype == torch.float64 else tl.float32,
            num_warps=WARPS,
        )


@cache
def works_on(device: torch.device) -> bool:
    """Whether the kernel can be compiled and run there; tried once, a failure is said once."""
    try:
        value = torch.ones(1, 4, 1, 4, device=device)
        middle = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
        out = deformable_attention(value, [(2, 2)], middle, middle[..., 0])
        return bool((out == 0.5).all())
    except Exception as error:  # no compiler, no driver, an old device: each has its own kind
        logger.warning(
            "Deformable attention runs in PyTorch: Triton's kernel fails here (%s).",
            " ".join(str(error).split()) or type(error).__name__,
        )
        return False
