"""Files in the published layouts at full size, written quickly.

Each weight repeats one number that depends on its name. Torch stores it once: a file of 2.4 GB
takes less than a megabyte, with all names and shapes.
"""

import json
import pickle
import zlib

import numpy as np
import torch

from tests.helpers import parity


def number_for(name):
    """The number that fills the weight of this name."""
    return zlib.crc32(name.encode()) % 1000 / 1000 - 0.5


def layout(name):
    """{name: shape} of a published layout, such as 'ovavss_r50_release'."""
    return json.loads((parity.BUNDLED / f"{name}_names.json").read_text())


def released(size):
    """The state dict of a released checkpoint, 'r50' or 'swinb'."""
    listed = layout(f"ovavss_{size}_release")
    return {name: torch.tensor(number_for(name)).expand(shape) for name, shape in listed.items()}


def coco(size):
    """The arrays of a Mask2Former checkpoint, 'r50' or 'swinb'."""
    listed = layout(f"mask2former_coco_{size}")
    return {name: np.full(x, number_for(name), np.float32) for name, x in listed.items()}


def part(size, kind):
    """The state dict of VGGish ("AUDIO") or "CLIP" under its own names, from the released one."""
    prefix = {"AUDIO": "audio_encoder.audio_backbone.", "CLIP": "clip_adapter.clip_model."}[kind]
    return {n.removeprefix(prefix): x for n, x in released(size).items() if n.startswith(prefix)}


def write(folder, kind, size="r50"):
    """Write the published file of a layout: "released", "COCO", "AUDIO" or "CLIP"."""
    if kind == "COCO":
        return save(folder / "coco.pkl", coco(size))
    content = {"model": released(size)} if kind == "released" else part(size, kind)
    return save(folder / f"{kind.lower()}.pth", content)


def save(path, content):
    """Write a `.pkl` as Mask2Former does, else with torch."""
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": content, "__author__": "third_party"}, protocol=4))
    else:
        torch.save(content, path)
    return str(path)
