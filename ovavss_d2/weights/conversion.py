"""Convert weight files between layouts without changing any number."""

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ovavss_d2.files import atomic_path
from ovavss_d2.weights.files import read_weights
from ovavss_d2.weights.layouts import LAYOUTS, ORIGIN, PARTS, layout_of, to_layout, to_own_layout

# Key in a converted file: entries that the model does not use, under their original names.
EXTRA = "extra"
PART_LAYOUTS = tuple(part.key for part in PARTS)


@dataclass(frozen=True)
class Weights:
    """The content of a weight file of any layout.

    Attributes:
        ours: weights under this project's names.
        extra: entries that the model does not use, under their names in the layout `origin`.
        origin: the layout that the weights came from.
    """

    ours: Mapping[str, Tensor]
    extra: Mapping[str, Tensor]
    origin: str

    @classmethod
    def read(cls, path: str) -> "Weights":
        """Read a file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is not a weight file, or its layout is unknown.
        """
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no weight file '{path}'")
        content = read_weights(path)
        state = content["model"]
        layout = layout_of(state)
        if layout == "unknown":
            raise ValueError(
                f"'{path}' has an unknown layout: its {len(state)} weights have names such as "
                f"'{next(iter(state))}'"
            )
        ours, extra = to_own_layout(state)
        if layout == "own":
            extra = {name: torch.as_tensor(x) for name, x in content.get(EXTRA, {}).items()}
            layout = content.get(ORIGIN, "own")
        return cls(ours, extra, layout)

    def write(self, path: str, layout: str) -> tuple[list[str], list[str]]:
        """Write a file in a layout, atomically.

        Args:
            path: `.pkl` holds NumPy arrays; `.safetensors` is for parts; others use `torch.save`.
            layout: "own", "released", "COCO", "AUDIO" or "CLIP".

        Returns:
            Names of the weights that were written, and of those that the layout cannot hold.

        Raises:
            ValueError: a part is missing, or the suffix does not fit the layout.
        """
        weights, unused = to_layout(self.ours, layout)
        own = layout == "own"
        if layout == self.origin and not own:
            weights |= self.extra
        content: dict[str, Any] = {"model": weights}
        if own and self.origin != "own":
            content |= {ORIGIN: self.origin, EXTRA: dict(self.extra)}
        _write(path, weights if layout in PART_LAYOUTS else content)
        dropped = {} if own or layout == self.origin else self.extra
        return list(weights), [*unused, *dropped]


def convert_file(source: str, target: str, layout: str) -> tuple[list[str], list[str]]:
    """`Weights.read`, then `Weights.write`."""
    if layout not in LAYOUTS or layout == "unknown":
        raise ValueError(f"layout is '{layout}', expected one of {', '.join(list(LAYOUTS)[:-1])}")
    return Weights.read(source).write(target, layout)


def _write(path: str, content: dict) -> None:
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors" and "model" in content:
        raise ValueError(
            f"'{path}': only the layouts {' and '.join(PART_LAYOUTS)} can be safetensors; use .pth"
        )
    with atomic_path(path) as temporary:
        if suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file({name: x.contiguous() for name, x in content.items()}, temporary)
        elif suffix == ".pkl":
            with open(temporary, "wb") as file:
                pickle.dump(_as_arrays(content) | {"__author__": "ovavss_d2"}, file, protocol=4)
        else:
            torch.save(content, temporary)


def _as_arrays(content: dict) -> dict:
    """Tensors as arrays, always under the key "model", where readers expect them."""
    content = content if "model" in content else {"model": content}
    return {
        key: {name: x.numpy() for name, x in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
