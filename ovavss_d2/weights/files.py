"""Reading weight files without ever running code that they hold."""

import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ovavss_d2.weights.safe_pickle import ARRAY_GLOBALS, ArrayUnpickler, check_members, read_torchscript


@dataclass(frozen=True)
class Published:
    """A file that others publish."""

    origin: str
    layout: str  # see `weight_layouts`
    sha256: str = ""  # how its sum starts, where the publisher says so


# What training starts with.
PUBLISHED = {
    "model_final_3c8ec9.pkl": Published(
        "Mask2Former's model zoo, COCO instance segmentation, R50 "
        "(github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)",
        "COCO",
    ),
    "model_final_83d103.pkl": Published(
        "Mask2Former's model zoo, COCO instance segmentation, Swin-B "
        "(github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)",
        "COCO",
    ),
    "vggish-10086976.pth": Published(
        "torchvggish's releases (github.com/harritaylor/torchvggish/releases/tag/v0.1)",
        "AUDIO",
        "10086976",
    ),
    "ViT-B-16.pt": Published(
        "OpenAI's CLIP, ViT-B/16 (github.com/openai/CLIP)",
        "CLIP",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    "ViT-L-14-336px.pt": Published(
        "OpenAI's CLIP, ViT-L/14@336px (github.com/openai/CLIP)",
        "CLIP",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    ),
}
LEGACY_TORCH = b"\xfc\x9cF\xf9 j\xa8P\x19"  # in the first bytes of files of torch before 1.6


def require_file(path: str, key: str) -> None:
    """Make sure that a weight file is there; addresses (`https://...`) are left to the loader.

    Args:
        path: the file.
        key: the config key that names it.

    Raises:
        FileNotFoundError: it is not; the message says where the known ones come from.
    """
    if os.path.isfile(path) or "://" in path:
        return
    known = PUBLISHED.get(os.path.basename(path))
    source = f"; get it from {known.origin}" if known else ""
    raise FileNotFoundError(f"no weight file '{path}' ({key}){source}")


def read_weights(path: str, *, mapped: bool = False) -> dict:
    """Read a torch file (also a TorchScript archive), a pickle of arrays, or safetensors.

    Args:
        path: a local file; what it is shows in its content, whatever its name.
        mapped: leave the numbers in the file, for a look at names and sizes; not for weights that
            outlive the file.

    Returns:
        What it holds, with the weights by name under "model".

    Raises:
        ValueError: it cannot be read, holds more than weights and plain containers, or no weights.
    """
    try:
        content = _reader_for(path)(path, mapped)
    except Exception as error:  # what is no weight file fails in many ways while it is read
        raise ValueError(f"'{path}' is no readable weight file: {_reason(error, path)}") from error
    return _with_model(content, path)


def _reader_for(path: str) -> Callable[[str, bool], Any]:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:2] == b"PK" or LEGACY_TORCH in head:
        return _read_torch
    # A file of safetensors starts with the length of its header, which is JSON.
    if head[8:9] == b"{":
        return _read_safetensors
    return _read_pickle


def _reason(error: Exception, path: str) -> str:
    """What a file is instead of weights, or the line of an error's text that says what is wrong.

    torch's own text advises to read the file without its protection; that is not passed on.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError):
        return text
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"it names {named[1]}; only arrays, tensors and plain containers are read"
    specific = re.search(r"WeightsUnpickler error: ([^\n]*)", text)
    if not specific and "weights_only" in text:
        return "it holds more than arrays, tensors and plain containers"
    return _what_instead(path) or (specific[1] if specific else text.splitlines()[0])


def _what_instead(path: str) -> str:
    """What a failed download or a full disk leaves under a weight file's name, otherwise ""."""
    with open(path, "rb") as file:
        head = file.read(32)
    start = head.strip(b"\0 \t\r\n").split(b"\n")[0].rstrip()
    if not start:
        return "it is empty"
    readable = start.isascii() and start.decode().isprintable()
    return f"it is a text that starts with '{start.decode()}'" if readable else ""


def _with_model(content, path: str) -> dict:
    """Bring the weights under "model", as tensors, without a parallel wrapper's prefix."""
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content.get("state_dict", content)}
    weights = content["model"] if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f"'{path}' holds no weights, expected a dict of arrays by name")
    tensors = {
        str(name).removeprefix("module."): torch.as_tensor(value)
        for name, value in weights.items()
        if isinstance(value, (torch.Tensor, np.ndarray))
    }
    if not tensors:
        raise ValueError(f"'{path}' holds no weights, expected a dict of arrays by name")
    return {**content, "model": tensors}


def _read_pickle(path: str, mapped: bool):
    with open(path, "rb") as file:
        return ArrayUnpickler(file).load()


def _read_safetensors(path: str, mapped: bool):
    from safetensors.torch import load_file

    return load_file(path)


def _read_torch(path: str, mapped: bool):
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        check_members(path)
        if _is_torchscript(path):  # OpenAI's CLIP files
            return read_torchscript(path)
    with torch.serialization.safe_globals(ARRAY_GLOBALS):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip)


def _is_torchscript(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
