"""Embeddings of names and sounds on disk, so that each one is computed once.

    <folder>/<model>/<xx>/<item>.bin        float32 vector and a checksum; <xx> starts <item>

`model` and `item` are fingerprints of everything that an embedding depends on: the weights and the
kind of device, and the name or the samples. So an entry is never stale. The folder can be deleted
at any time. A file gets its name when it is complete, so any number of processes can share a
folder: if two of them compute the same embedding, they write the same bytes.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovavss_d2.files import atomic_path

logger = logging.getLogger(__name__)


def fingerprint(tensors: Mapping[str, Tensor], *facts: object) -> str:
    """A digest of tensors by name, in any order, and of facts that JSON can represent."""
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class EmbeddingCache:
    """Vectors by model and item in a folder.

    Attributes:
        hits, misses: numbers of embeddings that were read and computed.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)  # created with the first entry
        self.hits = self.misses = 0
        self._write_failed = False

    def lookup(
        self, model: str, items: Sequence[str], dim: int, compute: Callable[[list[int]], Tensor]
    ) -> Tensor:
        """Read embeddings; compute and write those that are missing or corrupted.

        Args:
            model: fingerprint of the model.
            items: N fingerprints of its inputs; equal ones are computed once.
            dim: length of an embedding.
            compute: returns the embeddings, float32 (n, dim), of the items at n indices.

        Returns:
            float32 (N, dim) on the CPU.
        """
        entries = ((item, self._read(self._path(model, item), dim)) for item in set(items))
        found = {item: entry for item, entry in entries if entry is not None}
        missing = [item for item in dict.fromkeys(items) if item not in found]
        self.hits += len(found)
        self.misses += len(missing)
        if missing:
            computed = compute([items.index(item) for item in missing]).float().cpu()
            for item, embedding in zip(missing, computed, strict=True):
                found[item] = embedding
                self._write(self._path(model, item), embedding)
        return torch.stack([found[item] for item in items])

    def _path(self, model: str, item: str) -> Path:
        return self.folder / model / item[:2] / f"{item}.bin"

    def _read(self, path: Path, dim: int) -> Tensor | None:
        """An entry (dim,); None if there is none, or a crash or a full disk corrupted it."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        values, checksum = content[: 4 * dim], content[4 * dim :]
        if len(values) != 4 * dim or checksum != _checksum(values):
            logger.warning("'%s' is not a complete embedding: it is computed again", path)
            return None
        return torch.from_numpy(np.frombuffer(values, "<f4").copy())

    def _write(self, path: Path, embedding: Tensor) -> None:
        """Write an entry; if the disk is full or read-only, the run continues without it."""
        values = embedding.numpy().astype("<f4").tobytes()
        try:
            with atomic_path(path, durable=False) as temporary:  # the checksum tells
                temporary.write_bytes(values + _checksum(values))
        except OSError as error:
            if not self._write_failed:  # one warning is enough
                logger.warning("Embeddings are not kept in '%s': %s", self.folder, error)
            self._write_failed = True


def _checksum(values: bytes) -> bytes:
    return zlib.crc32(values).to_bytes(4, "little")
