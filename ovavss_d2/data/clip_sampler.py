"""The infinite sequence of training clips, each determined by the run's seed and its number alone.

The video, the frames and the augmentation of a clip depend neither on the number of processes or
workers nor on interruptions of the training.
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


class ClipKey(NamedTuple):
    """Identifies a training clip: the run's seed, and the clip's number in the sequence."""

    seed: int
    number: int


def seed_of(*key: object) -> int:
    """A pseudorandom number in [0, 2^31) that depends on the key alone."""
    text = ":".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


class ClipDataset(Dataset):
    """Maps a `ClipKey` to a training clip; each epoch is a permutation of the records."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict]):
        self._records = DatasetFromList(records, copy=False)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: ClipKey) -> dict:
        epoch, index = divmod(key.number, len(self))
        # The mapper and Detectron2's augmentations use the global generators.
        np.random.seed(seed_of(*key, "clip"))
        random.seed(seed_of(*key, "clip"))
        return self._mapper(self._records[int(_order(len(self), key.seed, epoch)[index])])


@functools.lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(seed_of(seed, epoch, "order")).permutation(size)


class ClipSampler(Sampler):
    """The clip keys of this process: every n-th of the sequence, for n processes."""

    def __init__(self, seed: int):
        """`seed` is the same in all processes; negative: they agree on a random one."""
        self.seed = seed if seed >= 0 else comm.shared_random_seed()
        self.first = 0  # earlier clips were used before the training was resumed
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[ClipKey]:
        for number in itertools.count(self.first + self._rank, self._world_size):
            yield ClipKey(self.seed, number)


def sampler_of(loader: DataLoader) -> ClipSampler:
    """The sampler of a loader made by Detectron2's `build_detection_train_loader`."""
    return loader.dataset.sampler  # type: ignore[attr-defined]  # Detectron2's data sets have it
