"""Growth of a clip's time with the number of frames, queries and names.

Shapes: T frames of a window, Q queries, K names.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import build, name_queries, random_clip
from tools.benchmark.timing import PeakMemory, measure

AXES = {
    "T": (1, 2, 5, 10, 20),
    "Q": (12, 25, 50, 100, 200),
    "K": (70, 1000, 10000),
    "named queries": (1, 2, 5, 12),
    "video frames": (5, 20, 80, 320),
}
FULL_SIZE_AXES = {"named queries": (1, 2, 5, 10, 20, 100)}
NAMED = 12  # queries that are named, except on the axis "named queries"


@torch.no_grad()
def growth(
    config_file: str,
    opts: Sequence,
    *,
    size: tuple[int, int],
    repeats: int,
    axes: Mapping[str, Sequence[int]] = AXES,
) -> list[dict[str, Any]]:
    """Time and memory of a clip along each axis, with random weights.

    Returns:
        A row per value: `axis`, `value`, `ms`, `exponent` of the growth since the value before
        (1: linear, 2: quadratic), `host MiB`, `GPU MiB`.
    """
    rows = []
    for axis, values in axes.items():
        previous: tuple[int, float] | None = None
        for value in values:
            model, clip = model_and_clip(config_file, opts, axis, value, size)
            with PeakMemory() as memory:
                run = {"": lambda model=model, clip=clip: model([clip])}
                seconds = measure(run, repeats=repeats, seconds=10)[""]
            rows.append(
                {
                    "axis": axis,
                    "value": value,
                    "ms": 1e3 * seconds,
                    "exponent": previous and _exponent(previous, (value, seconds)),
                    "host MiB": memory.host,
                    "GPU MiB": memory.gpu,
                }
            )
            previous = value, seconds
    return rows


def _exponent(before: tuple[int, float], after: tuple[int, float]) -> float:
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])


def model_and_clip(
    config_file: str, opts: Sequence, axis: str, value: int, size: tuple[int, int]
) -> tuple[OVAVSS, dict[str, Any]]:
    """The model and the clip for one value of an axis; the others are as configured."""
    changes = {
        "T": ["INPUT.SAMPLING_FRAME_NUM", value],
        "Q": ["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", value],
    }
    model = build(config_file, [*opts, *changes.get(axis, [])], weights=False)
    if axis == "K":
        model.set_vocabulary(tuple(f"name {i}" for i in range(value)))
    name_queries(model, value if axis == "named queries" else NAMED)
    frames = value if axis in ("T", "video frames") else model.window
    return model, random_clip(size, frames)
