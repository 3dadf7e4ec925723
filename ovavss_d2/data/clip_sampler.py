"""The endless stream of training clips, each a function of the run's seed and its place alone.

What is drawn for a clip (which video, which frames, its augmentation) depends neither on the number
of processes or workers nor on where a training was interrupted.
"""

import functools
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler


class Draw(NamedTuple):
    """A clip of the stream: the run's seed, and how many clips were drawn before it."""

    seed: int
    place: int


def number_of(*key: object) -> int:
    """A number in [0, 2^31) that looks random and depends on the key alone."""
    text = ":".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


class ClipStream(Dataset):
    """Maps a `Draw` to a training clip: one permutation of the records after the other."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict]):
        self._records = DatasetFromList(records, copy=False)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, draw: Draw) -> dict:
        epoch, index = divmod(draw.place, len(self))
        # The mapper and Detectron2's augmentations draw from the global generators.
        np.random.seed(number_of(*draw, "clip"))
        random.seed(number_of(*draw, "clip"))
        return self._mapper(self._records[int(_order(len(self), draw.seed, epoch)[index])])


@functools.lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(number_of(seed, epoch, "order")).permutation(size)


class StreamSampler(Sampler):
    """The draws of this process: every N-th of the stream, with N processes.

    Attributes:
        seed: of the run.
        first: draws that are left out, those of an earlier part of the same training.
    """

    def __init__(self, seed: int):
        """
        Args:
            seed: the same in all processes; negative: they agree on a random one.
        """
        self.seed = seed if seed >= 0 else comm.shared_random_seed()
        self.first = 0
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[Draw]:
        for place in itertools.count(self.first + self._rank, self._world_size):
            yield Draw(self.seed, place)


def sampler_of(loader: DataLoader) -> StreamSampler:
    """The sampler behind a loader of Detectron2's `build_detection_train_loader`."""
    return loader.dataset.sampler  # type: ignore[attr-defined]  # Detectron2's data sets have it
