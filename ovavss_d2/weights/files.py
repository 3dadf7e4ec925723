"""Read weight files without executing code from them."""

import re
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ovavss_d2.weights.safe_pickle import (
    ARRAY_GLOBALS,
    STORAGES,
    ArrayUnpickler,
    check_members,
    check_memory,
    open_mapped,
    read_torchscript,
)

LEGACY_TORCH = b"\xfc\x9cF\xf9 j\xa8P\x19"  # among the first bytes of files before torch 1.6
MAX_NUMBERS = 4_000_000_000  # in a file; the largest published model here has 611 million
LEGACY_PICKLES = 5  # at the start of such files, before the numbers


def read_weights(path: str, *, mapped: bool = False) -> dict:
    """Read a torch file (also a TorchScript archive), a pickle of arrays, or safetensors.

    Args:
        path: a local file; the format is recognized from the content, not from the suffix.
        mapped: map the file instead of reading the numbers, to inspect names and shapes.

    Returns:
        The content of the file, with the weights by name under "model".

    Raises:
        ValueError: the file cannot be read, holds no weights, or holds other objects than weights
            and plain containers.
    """
    try:
        content = _reader_for(path)(path, mapped)
    except Exception as error:  # other files fail in many ways
        message = f"'{path}' is not a readable weight file: {_explain(error, path)}"
        raise ValueError(message) from error
    return _with_model(content, path)


def _reader_for(path: str) -> Callable[[str, bool], Any]:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:2] == b"PK" or LEGACY_TORCH in head:
        return _read_torch
    # safetensors: the length of the header in eight bytes, then the header in JSON
    if head[8:9] == b"{":
        return _read_safetensors
    return _read_pickle


def _explain(error: Exception, path: str) -> str:
    """One line on why a file cannot be read.

    torch's message recommends `weights_only=False`, which is not passed on.
    """
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError):
        return text
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"it refers to {named[1]}; only arrays, tensors and plain containers are read"
    specific = re.search(r"WeightsUnpickler error:\s*([^\n]*)", text)
    if not specific and "weights_only" in text:
        return "it holds more than arrays, tensors and plain containers"
    return _failed_download(path) or (specific[1] if specific else text.split("\n")[0])


def _failed_download(path: str) -> str:
    """A description of an empty file or a text, which failed downloads leave; otherwise ""."""
    with open(path, "rb") as file:
        head = file.read(32)
    start = head.strip(b"\0 \t\r\n").split(b"\n")[0].rstrip()
    if not start:
        return "it is empty"
    readable = start.isascii() and start.decode().isprintable()
    return f"it is a text file that starts with '{start.decode()}'" if readable else ""


def _with_model(content: Any, path: str) -> dict:
    """Put the weights under "model", as tensors, without the prefix of `DataParallel`."""
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content.get("state_dict", content)}
    weights = content["model"] if isinstance(content, dict) else None
    tensors = {
        str(name).removeprefix("module."): _as_tensor(value, f"'{path}': '{name}'")
        for name, value in (weights.items() if isinstance(weights, dict) else ())
        if isinstance(value, (torch.Tensor, np.ndarray))
    }
    if not tensors:
        raise ValueError(f"'{path}' holds no weights, expected a dict of arrays by name")
    if (count := sum(x.numel() for x in tensors.values())) > MAX_NUMBERS:  # strides can repeat some
        raise ValueError(f"'{path}' declares {count:,} numbers, expected at most {MAX_NUMBERS:,}")
    return {**content, "model": tensors}


def _as_tensor(value: torch.Tensor | np.ndarray, place: str) -> torch.Tensor:
    """A dense tensor of real numbers; other kinds are a ValueError."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is an array of '{value.dtype}', expected numbers") from error
    dense = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
    if not dense or tensor.dtype not in STORAGES.values():
        kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device}".replace("torch.", "")
        raise ValueError(f"{place} is a tensor of another kind ({kind}), expected dense numbers")
    return tensor


def is_finite(x: torch.Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity."""
    # Minimum and maximum suffice and need no copy of the tensor: both propagate NaN.
    return not x.numel() or bool(torch.isfinite(torch.stack(x.aminmax())).all())


def _read_pickle(path: str, mapped: bool) -> Any:
    with open_mapped(path) as file:
        return ArrayUnpickler(file).load()


def _read_safetensors(path: str, mapped: bool) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _read_torch(path: str, mapped: bool) -> Any:
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        check_members(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):  # TorchScript, OpenAI's CLIP
            return read_torchscript(path)
    else:
        with open_mapped(path) as file:
            for _ in range(LEGACY_PICKLES):
                check_memory(file)
    mapped = mapped and is_zip
    with open(path, "rb") as opened, torch.serialization.safe_globals(ARRAY_GLOBALS):
        # Given a path, torch takes the format from its suffix; mapping needs a path.
        source = path if mapped and not path.endswith(".safetensors") else opened
        mapped = source is path
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
