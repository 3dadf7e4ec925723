"""A pickle reader that allows only arrays, tensors and plain containers.

A pickle names functions that are called while it is read. Only the few that build arrays and
tensors are allowed; any other name is an error. Memory is bounded by the size of the file, which is
checked before anything is allocated.
"""

import codecs
import io
import mmap
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
import torch
from numpy._core import multiarray, numeric

_ENCODINGS = ("latin1", "latin-1", "utf-8")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, as old pickle protocols write them."""
    if encoding not in _ENCODINGS:
        raise pickle.UnpicklingError(f"it uses encoding {encoding!r}, expected {_ENCODINGS}")
    return codecs.encode(text, encoding)


class _Array(np.ndarray):
    """An array that is created empty; a file can only fill it with content of its own."""

    def __new__(cls, *_: Any) -> "_Array":
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:
        if np.dtype(state[2]).hasobject:
            raise pickle.UnpicklingError("it holds an array of objects, expected numbers")
        super().__setstate__(state)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    return multiarray.scalar(dtype, content)


_NUMPY_FUNCTIONS = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): numeric._frombuffer,  # type: ignore[attr-defined]  # not in the stubs
}
_PLAIN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
}
# Allowed in `torch.load(weights_only=True)` besides its own: training states hold NumPy scalars.
ARRAY_GLOBALS: list[Callable | tuple[Callable, str]] = [
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (_Array, "numpy.ndarray"),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    (_encode, "_codecs.encode"),
]
MAX_OBJECTS = 2_000_000  # pickle instructions; the largest training states have 200,000
MAX_EXPANSION = 10  # how much larger the content may be than the file


def check_memory(file: IO[bytes] | mmap.mmap) -> None:
    """Check the numbers for which the pickle at the position of a file would reserve memory.

    The position moves to its end. (A pickle is a list of instructions, each with an argument.)

    Raises:
        ValueError: the pickle is broken.
        pickle.UnpicklingError: a number is larger than the content can require.
    """
    instructions: Iterator[tuple[Any, Any, Any]] = pickletools.genops(file)  # type: ignore[arg-type]
    for count, (instruction, argument, _) in enumerate(instructions):
        if instruction.name.endswith("PUT") and argument > count or count > MAX_OBJECTS:
            raise pickle.UnpicklingError("it reserves memory for more objects than it can hold")
        if instruction.name == "GLOBAL" and argument.endswith(" bytearray"):
            raise pickle.UnpicklingError("it refers to bytearray; only arrays are read")


def open_mapped(path: str) -> mmap.mmap:
    """A file to read; unlike other files it reserves no memory for more bytes than it has."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and plain containers.

    Raises:
        pickle.UnpicklingError: the file refers to anything else, or reserves too much memory.
    """

    def __init__(self, file: IO[bytes] | mmap.mmap) -> None:
        check_memory(file)
        file.seek(0)
        super().__init__(file, encoding="latin1")  # type: ignore[arg-type]  # it only reads

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(("numpy.core.", "numpy._core.")):
            found = _NUMPY_FUNCTIONS.get((module.rpartition(".")[2], name))
        else:
            found = _PLAIN.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}; only arrays and plain containers are read"
            )
        return found


class _Module:
    """The attributes of a module in a TorchScript archive, without its code."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


STORAGES = {
    "Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32,
    "Double": torch.float64, "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16,
    "Int": torch.int32, "Long": torch.int64, "Bool": torch.bool,
}  # fmt: skip


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Any:
    return storage.as_strided(size, stride, offset)


def _first_argument(value: Any, *_: Any) -> Any:
    return value


class ArchiveUnpickler(ArrayUnpickler):
    """Builds the tensors of a TorchScript archive; modules become `_Module` objects."""

    def __init__(self, archive: zipfile.ZipFile, member: str) -> None:
        super().__init__(io.BytesIO(archive.read(member)))
        self._archive = archive
        self._folder = member.rpartition("/")[0]

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type("Module", (_Module,), {})
        if module == "torch.jit._pickle":
            return _first_argument  # typed lists
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name.removesuffix("Storage") in STORAGES:
            return STORAGES[name.removesuffix("Storage")]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage, ("storage", type, key, device, elements), as a flat tensor."""
        _, dtype, key, _, elements = pid
        if not elements:
            return torch.empty(0, dtype=dtype)
        content = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
        return torch.frombuffer(content, dtype=dtype, count=elements)


def read_torchscript(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a TorchScript archive by name, without executing its code.

    Raises:
        pickle.UnpicklingError: it holds other objects, or its byte order is big-endian.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = next(name for name in names if name.endswith("/data.pkl"))
        order = next((name for name in names if name.endswith("/byteorder")), None)
        if order and archive.read(order) != b"little":
            raise pickle.UnpicklingError("it is in big-endian byte order, expected little-endian")
        return dict(_tensors_in(ArchiveUnpickler(archive, member).load(), ""))


def _tensors_in(module: Any, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors_in(value, f"{prefix}{name}.")


def check_members(path: str) -> None:
    """Check the size of a zip file's content, and every pickle in it, even those not read later.

    What `data.pkl` refers to is checked when it is read.

    Raises:
        pickle.UnpicklingError: a pickle refers to something that is not allowed, or the content is
            far larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > MAX_EXPANSION * os.path.getsize(path):
            raise pickle.UnpicklingError(f"it is a zip file that expands to {size / 1e6:,.1f} MB")
        for name in archive.namelist():
            if name.rpartition("/")[2] == "data.pkl":
                check_memory(io.BytesIO(archive.read(name)))
            elif name.endswith(".pkl"):
                ArchiveUnpickler(archive, name).load()
