"""How the time of a clip grows with frames, queries, names and length.

Shapes: T frames, Q queries, K names, L frames of a video, D embedding size.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import build, keep_every_query, random_clip
from tools.benchmark.timing import PeakMemory, measure

AXES = {
    "T": (1, 2, 5, 10, 20),
    "Q": (12, 25, 50, 100, 200),
    "K": (70, 1000, 10000),
    "L": (5, 20, 80, 320),
}
PAINTED = 12  # queries that are named, whatever Q is


@torch.no_grad()
def growth(
    config_file: str, opts: Sequence, *, size: tuple[int, int], repeats: int, axes=AXES
) -> list[dict]:
    """Seconds and memory of a clip along each axis, random weights.

    Returns:
        A row a point: `axis`, `value`, `ms`, `grows as` the power of the value since the point
        before, `host MiB`.
    """
    rows = []
    for axis, values in axes.items():
        before = None
        for value in values:
            model, clip = at(config_file, opts, axis, value, size)
            with PeakMemory() as memory:
                run = {axis: lambda model=model, clip=clip: model([clip])}
                seconds = measure(run, repeats=repeats, seconds=10)[axis].median
            row = {"axis": axis, "value": value, "ms": 1e3 * seconds, "host MiB": memory.host}
            row["grows as"] = None if before is None else _power(before, (value, seconds))
            rows.append(row)
            before = value, seconds
    return rows


def _power(before, after):
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])


def at(config_file: str, opts: Sequence, axis: str, value: int, size) -> tuple[OVAVSS, dict]:
    """The model and the clip at one point of an axis; the other axes stay as configured."""
    changes = {
        "T": ["INPUT.SAMPLING_FRAME_NUM", value],
        "Q": ["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", value],
    }
    model = build(config_file, [*opts, *changes.get(axis, [])], weights=False)
    frames = value if axis in ("T", "L") else model.window
    if axis == "K":
        give_names(model, value)
    keep_every_query(model)

    def select_by_objectness(objectness: Tensor) -> Tensor:
        return torch.arange(len(objectness)) < PAINTED

    keep = select_by_objectness
    model.postprocessor.select_by_objectness = keep  # type: ignore[method-assign]
    return model, random_clip(size, frames)


def give_names(model: OVAVSS, count: int) -> None:
    """A vocabulary of made-up names that are embedded already."""
    names = [f"name {i}" for i in range(count)]
    clip = model.classifier.clip
    vectors = F.normalize(torch.randn(count, clip.embed_dim), dim=-1)
    clip._names.update(zip(names, vectors, strict=True))
    model.set_vocabulary(tuple(names))
