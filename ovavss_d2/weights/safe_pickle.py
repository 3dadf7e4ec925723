"""Pickles read as data: arrays, tensors and plain containers, and nothing that a file could call.

A pickle names functions that are called while it is read. Those here are the few that put arrays
and tensors together; any other name is refused.
"""

import codecs
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch
from numpy._core import multiarray, numeric

_ENCODINGS = ("latin1", "latin-1", "utf-8")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How old pickle protocols spell bytes."""
    if encoding not in _ENCODINGS:
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}; bytes are {_ENCODINGS}")
    return codecs.encode(text, encoding)


_ARRAY_PARTS = {
    ("multiarray", "_reconstruct"): multiarray._reconstruct,
    ("multiarray", "scalar"): multiarray.scalar,
    ("numeric", "_frombuffer"): numeric._frombuffer,  # type: ignore[attr-defined]  # not in the stubs
}
_PLAIN = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
}
# What `torch.load(weights_only=True)` may use besides its own: a training state holds figures as
# numpy scalars.
ARRAY_GLOBALS: list[Callable | tuple[Callable, str]] = [
    multiarray._reconstruct,
    multiarray.scalar,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    (_encode, "_codecs.encode"),
]


class ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers.

    Raises:
        pickle.UnpicklingError: the file names anything else.
    """

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(("numpy.core.", "numpy._core.")):
            found = _ARRAY_PARTS.get((module.rpartition(".")[2], name))
        else:
            found = _PLAIN.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}; only arrays and plain containers are read"
            )
        return found


class _Module:
    """Stands for a module of a TorchScript archive: its attributes, without its code."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)


def _itself(value: Any, *_) -> Any:
    return value


class ArchiveUnpickler(ArrayUnpickler):
    """Builds the tensors of a TorchScript archive; its modules become holders of attributes."""

    def __init__(self, archive: zipfile.ZipFile, member: str):
        super().__init__(archive.open(member))
        self._archive = archive
        self._folder = member.rpartition("/")[0]

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type("Module", (_Module,), {})
        if module == "torch.jit._pickle":
            return _itself  # typed lists
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage, ("storage", type, key, device, elements), as a flat tensor."""
        _, dtype, key, _, elements = pid
        if not elements:
            return torch.empty(0, dtype=dtype)
        content = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
        return torch.frombuffer(content, dtype=dtype, count=elements)


def read_torchscript(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a TorchScript archive by name, as its modules nest; its code is not touched.

    Args:
        path: a zip file.

    Raises:
        pickle.UnpicklingError: it holds something else, or is in another byte order.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = next(name for name in names if name.endswith("/data.pkl"))
        order = next((name for name in names if name.endswith("/byteorder")), None)
        if order and archive.read(order) != b"little":
            raise pickle.UnpicklingError("it is in big-endian byte order, expected little-endian")
        return dict(_tensors_in(ArchiveUnpickler(archive, member).load(), ""))


def _tensors_in(module: Any, prefix: str):
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors_in(value, f"{prefix}{name}.")


def check_members(path: str) -> None:
    """Make sure that no pickle inside a zip file, looked at or not, names what is refused.

    `data.pkl` is left to its reader, which checks it while it reads.

    Raises:
        pickle.UnpicklingError: one does.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".pkl") and member.rpartition("/")[2] != "data.pkl":
                ArchiveUnpickler(archive, member).load()
