"""Check weight files: which model they belong to, and whether they are complete and undamaged."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ovavss_d2.errors import one_line
from ovavss_d2.weights.download import file_sum
from ovavss_d2.weights.files import is_finite, read_weights
from ovavss_d2.weights.layouts import (
    CONSTANTS,
    LAYOUTS,
    PART_PREFIXES,
    count_by_module,
    layout_of,
    to_own_layout,
)
from ovavss_d2.weights.published import by_file_name

R50, SWIN = "configs/ovavss_R50.yaml", "configs/ovavss_swin.yaml"
ZERO_SHOT_R50, ZERO_SHOT_SWIN = "configs/zero_shot_R50.yaml", "configs/zero_shot_swin.yaml"


class Model(NamedTuple):
    """A published model and the configs that use it."""

    layout: str
    name: str
    weights: int
    values: int
    configs: str


MODELS = (
    Model("COCO", "ResNet-50", 557, 44_076_497, f"{R50} and {ZERO_SHOT_R50}"),
    Model("COCO", "Swin-B", 625, 106_904_201, f"{SWIN} and {ZERO_SHOT_SWIN}"),
    Model("released", "ResNet-50, CLIP ViT-B/16", 966, 270_003_971, R50),
    Model("released", "Swin-B, CLIP ViT-L/14@336", 1178, 611_155_131, SWIN),
    Model("AUDIO", "VGGish", 18, 72_141_184, f"{R50} and {SWIN}"),
    Model("CLIP", "ViT-B/16", 302, 149_620_737, R50),
    Model("CLIP", "ViT-L/14@336", 446, 427_944_193, SWIN),
)


@dataclass
class Report:
    """Findings about one file: lines to print, and problems."""

    path: str
    layout: str = "unknown"
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_file(path: str) -> Report:
    """Check a weight file without building a model.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it cannot be read, or holds other objects than weights and plain containers.
    """
    state = read_weights(path, mapped=True)["model"]
    report = Report(path, layout_of(state))
    report.lines.append(f"{LAYOUTS[report.layout]}, {os.path.getsize(path) / 1e6:,.1f} MB")
    _check_zip(report)
    identify_model(report, state)
    _check_values(report, state)
    _check_published(report)
    return report


def identify_model(report: Report, state: Mapping[str, Tensor]) -> None:
    """Add to a report which published model the weights are, or that they are none."""
    if report.layout == "unknown":
        report.lines.append(f"{len(state)} weights: {count_by_module(state)}")
        report.problems.append("its layout is unknown to this project")
        return
    weights = [x for name, x in state.items() if not CONSTANTS.search(name)]
    count, values = len(weights), sum(x.numel() for x in weights)
    types = "/".join(sorted({str(x.dtype).removeprefix("torch.") for x in weights}))
    ours, unused = to_own_layout(state)
    report.lines.append(f"{count} weights, {values:,} values, {types}: {count_by_module(ours)}")
    if unused:
        report.lines.append(f"not used here: {count_by_module(unused)}")
    models = [model for model in MODELS if model.layout == report.layout]
    found = [model for model in models if (model.weights, model.values) == (count, values)]
    if found:
        key = (
            f"MODEL.{report.layout}.WEIGHTS" if report.layout in PART_PREFIXES else "MODEL.WEIGHTS"
        )
        report.lines.append(f"{found[0].name}, for {found[0].configs}, as {key}")
    elif models:
        sizes = [f"{x.weights} weights with {x.values:,} values ({x.name})" for x in models]
        expected = " or ".join(sizes)
        report.problems.append(f"{count} weights with {values:,} values, expected {expected}")


def _check_values(report: Report, state: Mapping[str, Tensor]) -> None:
    wrong = [name for name, x in state.items() if not is_finite(x)]
    if wrong:
        report.problems.append(f"{len(wrong)} weights are not finite, such as '{wrong[0]}'")


def _check_zip(report: Report) -> None:
    if not zipfile.is_zipfile(report.path):
        return
    try:
        with zipfile.ZipFile(report.path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        report.problems.append(f"it is a damaged archive ({one_line(error)}); download it again")
        return
    if broken:
        report.problems.append(f"its member '{broken}' is damaged; download it again")


def _check_published(report: Report) -> None:
    known = by_file_name(os.path.basename(report.path))
    if known is None:
        return
    report.lines.append(f"has the name of {known.origin}")
    if report.layout != known.layout:
        report.problems.append(f"expected the {LAYOUTS[known.layout]} under this name")
    for name, expected in known.sums.items():
        digits = file_sum(report.path, name)
        if digits.startswith(expected):
            report.lines.append(f"its {name} sum matches the published one")
        else:
            report.problems.append(
                f"its {name} sum starts with {digits[:8]}, expected {expected[:8]}; "
                "download it again"
            )
