"""Text embeddings on disk, so that a vocabulary is embedded once and not in every run.

A cache is a folder that may be deleted at any time, also while it is in use. Below it lies one
folder per key, which stands for the text tower's weights and the prompts: embeddings of other
weights or prompts are never found. Processes only ever add whole files of their own (`.npz`), so
any number of them may read and write at once.
"""

import hashlib
import json
import logging
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovavss_d2.files import atomic_path

logger = logging.getLogger(__name__)

BROKEN_FILE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


def fingerprint(tensors: Mapping[str, Tensor], *facts) -> str:
    """A short name for weights and whatever else an embedding depends on.

    Args:
        tensors: the weights by name; their order does not matter.
        facts: anything that JSON can hold.
    """
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class TextCache:
    """Vectors by key and name, in a folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def find(self, key: str, names: Iterable[str]) -> dict[str, Tensor]:
        """Those of the names that are stored under the key; float32 (D,) each.

        A file that cannot be read is passed over with a warning: its names are embedded anew.
        """
        wanted, found = set(names), {}
        for path in sorted((self.folder / key).glob("[!.]*.npz")):
            if not wanted:
                break
            for name, vector in _read(path, wanted):
                found[name] = torch.from_numpy(vector)
            wanted -= found.keys()
        return found

    def add(self, key: str, embeddings: Mapping[str, Tensor]) -> None:
        """Store vectors (D,) by name; where the folder cannot be written, a warning says so."""
        if not embeddings:
            return
        # not started with a dot, as unfinished files are
        path = self.folder / key / f"{uuid.uuid4().hex}.npz"
        vectors = torch.stack(list(embeddings.values())).cpu().float().numpy()
        try:
            with atomic_path(path) as temporary:
                np.savez(temporary, names=np.array(list(embeddings)), vectors=vectors)
        except OSError as error:
            logger.warning("Text embeddings are not kept in '%s': %s", self.folder, error)


def _read(path: Path, wanted: set[str]) -> list[tuple[str, np.ndarray]]:
    """(name, vector) of the wanted names in a file; nothing from a broken or deleted one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file["names"].tolist()
            if wanted.isdisjoint(names):
                return []
            vectors = file["vectors"].astype(np.float32, copy=False)
            if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
                raise ValueError(f"{vectors.shape} finite vectors expected for {len(names)} names")
    except FileNotFoundError:
        return []  # deleted meanwhile
    except BROKEN_FILE as error:
        logger.warning("'%s' is no file of text embeddings and is passed over: %s", path, error)
        return []
    return [(name, vectors[i].copy()) for i, name in enumerate(names) if name in wanted]
