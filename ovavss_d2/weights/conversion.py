"""From a weight file of one layout to one of another, without a change to any number."""

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ovavss_d2.files import atomic_path
from ovavss_d2.weights.files import read_weights
from ovavss_d2.weights.layouts import LAYOUTS, ORIGIN, PARTS, layout_of, split_foreign, to_layout

# Key of a converted file of ours: what has no place in our model, under its names of `ORIGIN`.
EXTRA = "extra"
PART_LAYOUTS = tuple(part.key for part in PARTS)


@dataclass(frozen=True)
class Weights:
    """The content of a weight file of any layout.

    Attributes:
        ours: weights under our names.
        extra: what has no place here, under its names of the layout `origin`.
        origin: the layout that the weights came in.
    """

    ours: Mapping[str, Tensor]
    extra: Mapping[str, Tensor]
    origin: str

    @classmethod
    def read(cls, path: str) -> "Weights":
        """Read a file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no weight file, or of an unknown layout.
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
        ours, extra = split_foreign(state)
        if layout == "own":
            extra = {name: torch.as_tensor(x) for name, x in content.get(EXTRA, {}).items()}
            layout = content.get(ORIGIN, "own")
        return cls(ours, extra, layout)

    def write(self, path: str, layout: str) -> tuple[list[str], list[str]]:
        """Write a file of a layout, whole or not at all.

        Args:
            path: `.pkl` is written as arrays, `.safetensors` as that, all else by torch.
            layout: "own", "released", "COCO", "AUDIO" or "CLIP".

        Returns:
            Names of the weights that were written, and of those without a place in the layout.

        Raises:
            ValueError: the weights lack a part, or the suffix does not go with the layout.
        """
        weights, rest = to_layout(self.ours, layout)
        own = layout == "own"
        if layout == self.origin and not own:
            weights |= self.extra
        content: dict[str, Any] = {"model": weights}
        if own and self.origin != "own":
            content |= {ORIGIN: self.origin, EXTRA: dict(self.extra)}
        _write(path, weights if layout in PART_LAYOUTS else content)
        dropped = {} if own or layout == self.origin else self.extra
        return list(weights), [*rest, *dropped]


def convert_file(source: str, target: str, layout: str) -> tuple[list[str], list[str]]:
    """`Weights.read` and `Weights.write` in one."""
    if layout not in LAYOUTS or layout == "unknown":
        raise ValueError(f"layout '{layout}': expected one of {', '.join(list(LAYOUTS)[:-1])}")
    return Weights.read(source).write(target, layout)


def _write(path: str, content: dict) -> None:
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors" and "model" in content:
        raise ValueError(f"'{path}': only the layouts {' and '.join(PART_LAYOUTS)} have this form")
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
    """Tensors as arrays; a part's weights come below "model" as well, where readers look."""
    content = content if "model" in content else {"model": content}
    return {
        key: {name: x.numpy() for name, x in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
