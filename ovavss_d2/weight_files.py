"""Reading weight files without ever running code that they hold."""

import codecs
import logging
import os
import pickle
import re
import zipfile

import numpy as np
import torch

logger = logging.getLogger(__name__)

# Where the files come from that training starts with.
ORIGINS = {
    "model_final_3c8ec9.pkl": "Mask2Former's model zoo, COCO instance segmentation, R50 "
    "(github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)",
    "model_final_83d103.pkl": "Mask2Former's model zoo, COCO instance segmentation, Swin-B "
    "(github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)",
    "vggish-10086976.pth": "torchvggish's releases "
    "(github.com/harritaylor/torchvggish/releases/tag/v0.1)",
    "ViT-B-16.pt": "OpenAI's CLIP, ViT-B/16 (github.com/openai/CLIP)",
    "ViT-L-14-336px.pt": "OpenAI's CLIP, ViT-L/14@336px (github.com/openai/CLIP)",
}
# All that a pickle may name: how numpy arrays are put together, and an ordered dict.
HARMLESS = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}
# The same for torch's reader, which asks for the objects.
ARRAYS = [
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    codecs.encode,
]


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
    origin = ORIGINS.get(os.path.basename(path))
    source = f"; get it from {origin}" if origin else ""
    raise FileNotFoundError(f"no weight file '{path}' ({key}){source}")


def read_weights(path: str) -> dict:
    """Read a `.pkl`, `.safetensors`, or torch file, the last also as a TorchScript archive.

    Args:
        path: a local file.

    Returns:
        What it holds, with the weights by name under "model".

    Raises:
        ValueError: it cannot be read, holds more than weights and plain containers, or no weights.
    """
    readers = {".pkl": _read_pickle, ".safetensors": _read_safetensors}
    reader = readers.get(os.path.splitext(path)[1], _read_torch)
    try:
        content = reader(path)
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        raise ValueError(f"'{path}' is no readable weight file: {_reason(error)}") from error
    return _with_model(content, path)


def _reason(error: Exception) -> str:
    """The line of an error's text that says what is wrong."""
    text = str(error) or type(error).__name__
    specific = re.search(r"WeightsUnpickler error: ([^\n]*)", text)
    return specific[1] if specific else text.splitlines()[0]


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


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers; anything else is an error."""

    def find_class(self, module: str, name: str):
        if module.startswith(("numpy.core.", "numpy._core.")):
            part = module.rpartition(".")[2]
            if (part, name) in HARMLESS:
                return getattr(getattr(np._core, part), name)
        elif (module, name) in HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f"it names {module}.{name}; only numpy arrays and plain containers are read"
        )


def _read_pickle(path: str):
    with open(path, "rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


def _read_safetensors(path: str):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"'{path}' is no readable weight file: {error}") from error


def _read_torch(path: str):
    if _is_torchscript(path):  # OpenAI's CLIP files
        return torch.jit.load(path, map_location="cpu").state_dict()
    with torch.serialization.safe_globals(ARRAYS):  # training states hold figures as numpy scalars
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
