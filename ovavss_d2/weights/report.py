"""Check weight files: which model they belong to, and whether they are complete and undamaged."""

import hashlib
import math
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ovavss_d2.weights.files import PUBLISHED, read_weights, require_file
from ovavss_d2.weights.layouts import (
    CONSTANTS,
    LAYOUTS,
    PARTS,
    count_by_module,
    layout_of,
    to_own_layout,
)

R50, SWIN = "configs/ovavss_R50.yaml", "configs/ovavss_swin.yaml"
SWIN_B, VIT_B, VIT_L = (
    "Swin-B, window 12",
    "CLIP ViT-B/16 at 224 pixels",
    "CLIP ViT-L/14 at 336 pixels",
)
# (layout, models) of published files: number of weights, of values in them, config to use.
KNOWN = {
    ("COCO", "ResNet-50"): (557, 44_076_497, R50),
    ("COCO", SWIN_B): (625, 106_904_201, SWIN),
    ("released", f"ResNet-50, {VIT_B}"): (966, 270_003_971, R50),
    ("released", f"{SWIN_B}, {VIT_L}"): (1178, 611_155_131, SWIN),
    ("AUDIO", "VGGish"): (18, 72_141_184, f"{R50} and {SWIN}"),
    ("CLIP", VIT_B): (302, 149_620_737, R50),
    ("CLIP", VIT_L): (446, 427_944_193, SWIN),
}
SWIN_WIDTHS = {96: "Swin-T or S", 128: "Swin-B", 192: "Swin-L"}
VIT_WIDTHS = {768: "B", 1024: "L", 1280: "H"}
SWIN_TABLE = "backbone.net.layers_0.blocks.0.attn.relative_position_bias_table"
RESNET_BLOCK = re.compile(r"backbone\.net\.layer\d\.\d+\.")
RESNET_BLOCKS = {16: "ResNet-50", 33: "ResNet-101"}  # bottleneck blocks


@dataclass
class Report:
    """Findings about one file: lines to print, and problems."""

    path: str
    layout: str = "unknown"
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_file(path: str, key: str = "") -> Report:
    """Check a weight file without building a model.

    Args:
        path: the file.
        key: the config key that names it, for the message if it is missing.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it cannot be read, or holds other objects than weights and plain containers.
    """
    require_file(path, key or "to be checked")
    state = read_weights(path, mapped=True)["model"]
    report = Report(path, layout_of(state))
    size = os.path.getsize(path)
    report.lines.append(f"{LAYOUTS[report.layout]}, {size / 1e6:,.1f} MB")
    _check_zip(report)
    identify_models(report, state)
    _check_numbers(report, state)
    _check_published(report)
    return report


def identify_models(report: Report, state: Mapping[str, Tensor]) -> None:
    """Add to a report the models that the weights belong to, and whether weights are missing."""
    ours, extra = to_own_layout(state)
    weights = {name: x for name, x in state.items() if not CONSTANTS.search(name)}
    if report.layout == "unknown":
        report.lines.append(f"{len(state)} weights: {count_by_module(state)}")
        report.problems.append("its layout is unknown to this project")
        return
    models = ", ".join(_models_in(ours))
    numbers = sum(x.numel() for x in weights.values())
    dtypes = sorted({str(x.dtype).removeprefix("torch.") for x in weights.values()})
    report.lines.append(
        f"{models}: {len(weights)} weights, {numbers:,} numbers, {'/'.join(dtypes)}"
    )
    report.lines.append(
        count_by_module(ours) + (f"; not used here: {count_by_module(extra)}" if extra else "")
    )
    if (report.layout, models) in KNOWN:
        _compare_sizes(report, KNOWN[report.layout, models], len(weights), numbers)
    elif report.layout != "own":
        report.problems.append(f"not a published {LAYOUTS[report.layout]}: none has this model")


def _compare_sizes(report: Report, known: tuple[int, int, str], count: int, numbers: int) -> None:
    is_part = report.layout in {part.key for part in PARTS}
    key = f"MODEL.{report.layout}.WEIGHTS" if is_part else "MODEL.WEIGHTS"
    report.lines.append(f"for {known[2]}, as {key}")
    if (count, numbers) != known[:2]:
        report.problems.append(
            f"{count} weights with {numbers:,} numbers, expected {known[0]} with {known[1]:,}"
        )


def _models_in(ours: Mapping[str, Tensor]) -> list[str]:
    """Names of the models that the weights belong to."""
    backbone = {name for name in ours if name.startswith("backbone.")}
    found = []
    if SWIN_TABLE in backbone:
        window = (math.isqrt(len(ours[SWIN_TABLE])) + 1) // 2
        width = len(ours["backbone.net.patch_embed.proj.bias"])
        found.append(f"{SWIN_WIDTHS.get(width, 'Swin')}, window {window}")
    elif backbone:
        found.append(_resnet_in(backbone))
    elif "audio_encoder.embeddings.0.weight" in ours:
        found.append("VGGish")
    return [*found, *_clip_in(ours)] or ["a part"]


def _resnet_in(names: set[str]) -> str:
    blocks = {match[0] for match in map(RESNET_BLOCK.match, names) if match}
    bottleneck = "backbone.net.layer1.0.conv3.weight" in names
    return RESNET_BLOCKS.get(len(blocks), "ResNet") if bottleneck else "small ResNet"


def _clip_in(ours: Mapping[str, Tensor]) -> list[str]:
    prefix = PARTS[1].prefix + "visual."
    if prefix + "positional_embedding" not in ours:
        return []
    width, _, _, patch = ours[prefix + "conv1.weight"].shape
    pixels = math.isqrt(len(ours[prefix + "positional_embedding"]) - 1) * patch
    return [f"CLIP ViT-{VIT_WIDTHS.get(width, '?')}/{patch} at {pixels} pixels"]


def _check_numbers(report: Report, state: Mapping[str, Tensor]) -> None:
    wrong = [name for name, x in state.items() if not _is_finite(x)]
    if wrong:
        report.problems.append(f"{len(wrong)} weights are not finite, such as '{wrong[0]}'")


def _is_finite(x: Tensor) -> bool:
    # Minimum and maximum suffice and need no copy of the tensor: both propagate NaN.
    return not x.numel() or bool(torch.isfinite(torch.stack(x.aminmax())).all())


def _check_zip(report: Report) -> None:
    if zipfile.is_zipfile(report.path):
        with zipfile.ZipFile(report.path) as archive:
            broken = archive.testzip()
        if broken:
            report.problems.append(f"its member '{broken}' is damaged; download it again")


def _check_published(report: Report) -> None:
    known = PUBLISHED.get(os.path.basename(report.path))
    if known is None:
        return
    report.lines.append(f"has the name of {known.origin}")
    if report.layout != known.layout:
        report.problems.append(f"expected the {LAYOUTS[known.layout]} under this name")
    if known.sha256:
        found = sha256_of(report.path)
        if found.startswith(known.sha256):
            report.lines.append("its SHA-256 sum matches the published one")
        else:
            report.problems.append(
                f"its SHA-256 sum starts with {found[:8]}, expected {known.sha256[:8]}; "
                "download it again"
            )


def sha256_of(path: str) -> str:
    """SHA-256 sum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
