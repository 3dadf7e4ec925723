"""Read pickled weights without running code from the file.

A pickle may call any function by name while it is read. Files of weights need a handful of harmless
ones, which rebuild numpy arrays, tensors and ordered dicts; every other name is refused.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How old pickle protocols spell bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r} of bytes")
    return text.encode("latin1")


def _storage_from_bytes(content: bytes) -> Any:
    """A pickled tensor holds its storage as a file of torch's inside the file."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


# numpy's own helpers for pickles, found without naming its inner package, which moved in version 2
_RECONSTRUCT_ARRAY = np.zeros(0).__reduce__()[0]
_MAKE_SCALAR = np.float32(0).__reduce__()[0]
_CORES = ("core", "_core")
_NUMPY = {
    "dtype": np.dtype,
    "ndarray": np.ndarray,
    "bool_": np.bool_,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
}
_TORCH_TYPES = {
    name: getattr(torch, name)
    for name in ("Size", "FloatStorage", "HalfStorage", "LongStorage", "DoubleStorage")
}
ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode_latin1,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT_ARRAY for core in _CORES},
    **{(f"numpy.{core}.multiarray", "scalar"): _MAKE_SCALAR for core in _CORES},
    **{("numpy", name): value for name, value in _NUMPY.items()},
    **{("torch", name): value for name, value in _TORCH_TYPES.items()},
}


class WeightsUnpickler(pickle.Unpickler):
    """Unpickler for numpy arrays, tensors and plain containers.

    Raises:
        pickle.UnpicklingError: the file names anything else.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"'{module}.{name}' is refused: only arrays, tensors and plain containers are read"
            )
        return ALLOWED[module, name]


def load_weights_pickle(file: IO[bytes]) -> Any:
    """Read a pickle of weights, also one that Python 2 wrote."""
    return WeightsUnpickler(file, encoding="latin1").load()
