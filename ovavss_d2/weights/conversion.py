"""Convert weight files between layouts without changing any number."""

import os
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ovavss_d2.files import atomic_path, write_torch
from ovavss_d2.weights.files import read_weights
from ovavss_d2.weights.layouts import (
    LAYOUTS,
    ORIGIN,
    PART_PREFIXES,
    layout_of,
    to_layout,
    to_own_layout,
)

# Key in a converted file: entries that the model does not use, under their original names.
EXTRA = "extra"
PART_LAYOUTS = tuple(PART_PREFIXES)


def convert_file(source: str, target: str, layout: str) -> tuple[list[str], list[str]]:
    """Convert a weight file of any layout.

    The layout "own" keeps what the model does not use, and the name of the original layout, so that
    a file converted back is identical.

    Args:
        source: the file to read.
        target: the file to write, atomically; `.pkl` holds NumPy arrays, `.safetensors` is for
            parts, and others are written with `torch.save`.
        layout: "own", "released", "COCO", "AUDIO" or "CLIP".

    Returns:
        Names of the weights that were written, and of those that the layout cannot hold.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it is not a weight file, its layout is unknown, a part is missing, or the suffix
            does not fit the layout.
    """
    if layout not in LAYOUTS or layout == "unknown":
        raise ValueError(f"layout is '{layout}', expected one of {', '.join(list(LAYOUTS)[:-1])}")
    ours, extra, origin = _read(source)
    weights, unused = to_layout(ours, layout)
    content: dict[str, Any] = {"model": weights}
    if layout == "own":
        if origin != "own":
            content |= {ORIGIN: origin, EXTRA: dict(extra)}
        extra = {}
    elif layout == origin:
        weights |= extra
        extra = {}
    _write(target, weights if layout in PART_LAYOUTS else content)
    return list(weights), [*unused, *extra]


def _read(path: str) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], str]:
    """Weights under this project's names, entries that the model does not use, original layout."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weight file '{path}'")
    content = read_weights(path)
    state = content["model"]
    layout = layout_of(state)
    if layout == "unknown":
        raise ValueError(
            f"'{path}' has an unknown layout, with names such as '{next(iter(state))}'"
        )
    ours, extra = to_own_layout(state)
    if layout == "own":
        extra = {name: torch.as_tensor(x) for name, x in content.get(EXTRA, {}).items()}
        layout = content.get(ORIGIN, "own")
    return ours, extra, layout


def _write(path: str, content: dict[str, Any]) -> None:
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors" and "model" in content:
        raise ValueError(
            f"'{path}': only the layouts {' and '.join(PART_LAYOUTS)} can be safetensors; use .pth"
        )
    if suffix not in (".safetensors", ".pkl"):
        write_torch(path, content)
        return
    with atomic_path(path) as temporary:
        if suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file({name: x.contiguous() for name, x in content.items()}, temporary)
        else:
            with open(temporary, "wb") as file:
                pickle.dump(_as_arrays(content) | {"__author__": "ovavss_d2"}, file, protocol=4)


def _as_arrays(content: dict[str, Any]) -> dict[str, Any]:
    """Tensors as arrays, always under the key "model", where readers expect them."""
    content = content if "model" in content else {"model": content}
    return {
        key: {name: x.numpy() for name, x in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
