"""Embeddings of sounds on disk, so that a frozen audio encoder runs once per sound.

Shape letters: N sounds, S samples, A channels of an embedding.

    <folder>/<encoder>/<xx>/<sound>.bin        float32 (A,) and a checksum; <xx> starts <sound>

Both keys are digests: of the encoder's class, weights and kind of device, and of the samples that
it hears, as they are decoded from the file. Nothing that changes what comes out is outside of the
two, so an entry cannot become stale; files and folders may be deleted at any time. An entry appears
under its name only when it is whole, so any number of processes may share a folder; two that
compute the same sound write the same bytes.
"""

import hashlib
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ovavss_d2.files import atomic_path

if TYPE_CHECKING:  # it imports this file
    from ovavss_d2.modeling.audio_encoder import AudioEncoder

logger = logging.getLogger(__name__)

LAYOUT = 1  # to be raised when log-mel examples, or the entries, are computed in another way
_DIGEST_BYTES = 16


class AudioFeatureCache:
    """Remembers what a frozen encoder makes of each sound."""

    def __init__(self, folder: str | os.PathLike):
        """
        Args:
            folder: made when the first entry is written; shared by all encoders and data sets.
        """
        self.folder = Path(folder)
        self.hits = self.misses = 0
        self._state: tuple = ()  # of the encoder, when its digest was taken
        self._digest = ""

    def embed(
        self,
        encoder: "AudioEncoder",
        sounds: Tensor,
        valid: Tensor | None,
        compute: Callable[[int], Tensor],
    ) -> Tensor:
        """Look embeddings up, and compute and keep those that are not there.

        Args:
            encoder: whose embeddings they are.
            sounds: (N, S) float32 waveforms.
            valid: bool (N,), whether each sound counts; None: all do.
            compute: makes the embedding, float32 (A,), of the i-th sound.

        Returns:
            float32 (N, A) on the encoder's device.
        """
        place = self.folder / self._encoder_digest(encoder)
        counts = [True] * len(sounds) if valid is None else valid.tolist()
        samples = sounds.detach().cpu().contiguous().numpy()
        keys = [sound_digest(*pair) for pair in zip(samples, counts, strict=True)]
        found: dict[str, Tensor] = {}
        for i, key in enumerate(keys):
            if key not in found:
                path = place / key[:2] / f"{key}.bin"
                entry = self._find(path, encoder.output_dim)
                if entry is None:
                    entry = compute(i).cpu()
                    _write(path, entry)
                found[key] = entry
        return torch.stack([found[key] for key in keys]).to(_device(encoder))

    def _find(self, path: Path, channels: int) -> Tensor | None:
        entry = _read(path, channels)
        self.hits += entry is not None
        self.misses += entry is None
        return entry

    def _encoder_digest(self, encoder: nn.Module) -> str:
        """The encoder's key; taken again when a weight has been written or moved."""
        state = tuple((t.data_ptr(), t._version, t.device) for t in encoder.state_dict().values())
        if state != self._state:
            self._state, self._digest = state, encoder_digest(encoder)
            logger.info("Audio features of this encoder: '%s'", self.folder / self._digest)
        return self._digest


def encoder_digest(encoder: nn.Module) -> str:
    """A digest of all that an encoder's output depends on besides the sound; the kind of device
    decides its last digits."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(repr((LAYOUT, type(encoder).__qualname__, _device(encoder).type)).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def sound_digest(samples: np.ndarray, valid: bool) -> str:
    """A digest of a waveform, float32 (S,), and of whether it counts."""
    digest = hashlib.blake2b(repr((samples.shape, samples.dtype.str, valid)).encode())
    digest.update(samples.data)
    return digest.hexdigest()[: 2 * _DIGEST_BYTES]


def _device(encoder: nn.Module) -> torch.device:
    return next(encoder.parameters()).device


def _read(path: Path, channels: int) -> Tensor | None:
    """An entry, float32 (A,); None if it is missing, or spoilt by a full disk or a crash."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    values, checksum = content[: 4 * channels], content[4 * channels :]
    if len(values) != 4 * channels or checksum != _checksum(values):
        return None
    return torch.from_numpy(np.frombuffer(values, "<f4").copy())


def _write(path: Path, embedding: Tensor) -> None:
    """Keep an entry; a full or read-only disk costs the entry, not the run."""
    values = embedding.numpy().astype("<f4").tobytes()
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(values + _checksum(values))
    except OSError as error:
        logger.warning("Audio feature not kept: %s", error)


def _checksum(values: bytes) -> bytes:
    return zlib.crc32(values).to_bytes(4, "little")
