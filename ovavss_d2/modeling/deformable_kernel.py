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

ASKING_PER_PROGRAM = 32


@triton.jit
def _corner(place, row, column, height, width, start, head, ask, deep, d, HEADS, DEPTH):
    """Offsets (rows, d) of a corner's values, and where it lies inside the map."""
    inside = ask & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # far outside, a float is no integer any more
    row, column = tl.where(inside, row, 0.0), tl.where(inside, column, 0.0)
    here = start + row.to(tl.int64) * width + column.to(tl.int64)
    offsets = ((place + here) * HEADS + head)[:, None] * DEPTH + d[None, :]
    return offsets, inside[:, None] & deep[None, :]


@triton.jit
def _forward(
    value, shapes, locations, weights, out, places, asking,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """One program: ROWS asking places of one frame and head."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    r, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    ask, deep = r < asking, d < DEPTH
    asker = (frame * asking + r) * HEADS + head
    total = tl.zeros((ROWS, COLUMNS), dtype=TYPE)
    for level in range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        start = tl.load(shapes + 3 * level + 2)
        for point in range(POINTS):
            sample = (asker * LEVELS + level) * POINTS + point
            x = tl.load(locations + 2 * sample, mask=ask, other=0).to(TYPE) * width - 0.5
            y = tl.load(locations + 2 * sample + 1, mask=ask, other=0).to(TYPE) * height - 0.5
            weight = tl.load(weights + sample, mask=ask, other=0).to(TYPE)
            left, top = tl.floor(x), tl.floor(y)
            for corner in tl.static_range(4):
                down, right = corner // 2, corner % 2
                share_y = (y - top) if down else (1 - (y - top))
                share_x = (x - left) if right else (1 - (x - left))
                offsets, inside = _corner(
                    frame * places, top + down, left + right, height, width, start, head,
                    ask, deep, d, HEADS, DEPTH,
                )  # fmt: skip
                read = tl.load(value + offsets, mask=inside, other=0).to(TYPE)
                total += read * (weight * share_x * share_y)[:, None]
    offsets = asker[:, None] * DEPTH + d[None, :]
    tl.store(out + offsets, total.to(out.dtype.element_ty), mask=ask[:, None] & deep[None, :])


@triton.jit
def _backward(
    gradient, value, shapes, locations, weights, of_value, of_locations, of_weights, places, asking,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TYPE: tl.constexpr,
):  # fmt: skip
    """The same walk; what several places read is added up atomically in `of_value`."""
    frame, head = (tl.program_id(1) // HEADS).to(tl.int64), tl.program_id(1) % HEADS
    r, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    ask, deep = r < asking, d < DEPTH
    asker = (frame * asking + r) * HEADS + head
    offsets = asker[:, None] * DEPTH + d[None, :]
    of_sum = tl.load(gradient + offsets, mask=ask[:, None] & deep[None, :], other=0).to(TYPE)
    for level in range(LEVELS):
        height, width = tl.load(shapes + 3 * level), tl.load(shapes + 3 * level + 1)
        start = tl.load(shapes + 3 * level + 2)
        for point in range(POINTS):
            sample = (asker * LEVELS + level) * POINTS + point
            x = tl.load(locations + 2 * sample, mask=ask, other=0).to(TYPE) * width - 0.5
            y = tl.load(locations + 2 * sample + 1, mask=ask, other=0).to(TYPE) * height - 0.5
            weight = tl.load(weights + sample, mask=ask, other=0).to(TYPE)
            left, top = tl.floor(x), tl.floor(y)
            of_x, of_y = tl.zeros((ROWS,), dtype=TYPE), tl.zeros((ROWS,), dtype=TYPE)
            of_weight = tl.zeros((ROWS,), dtype=TYPE)
            for corner in tl.static_range(4):
                down, right = corner // 2, corner % 2
                share_y = (y - top) if down else (1 - (y - top))
                share_x = (x - left) if right else (1 - (x - left))
                offsets, inside = _corner(
                    frame * places, top + down, left + right, height, width, start, head,
                    ask, deep, d, HEADS, DEPTH,
                )  # fmt: skip
                read = tl.load(value + offsets, mask=inside, other=0).to(TYPE)
                product = tl.sum(of_sum * read, axis=1)
                of_weight += product * share_x * share_y
                of_x += product * share_y * (2 * right - 1)
                of_y += product * share_x * (2 * down - 1)
                share = (weight * share_x * share_y)[:, None]
                tl.atomic_add(of_value + offsets, of_sum * share, mask=inside)
            kind = of_locations.dtype.element_ty
            tl.store(of_locations + 2 * sample, (of_x * weight * width).to(kind), mask=ask)
            tl.store(of_locations + 2 * sample + 1, (of_y * weight * height).to(kind), mask=ask)
            kind = of_weights.dtype.element_ty
            tl.store(of_weights + sample, of_weight.to(kind), mask=ask)


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
    kernel[grid](
        *arguments,
        places,
        asking,
        HEADS=heads,
        DEPTH=depth,
        LEVELS=levels,
        POINTS=points,
        ROWS=ASKING_PER_PROGRAM,
        COLUMNS=triton.next_power_of_2(depth),
        TYPE=tl.float64 if value.dtype == torch.float64 else tl.float32,
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
