"""Samplers that split the indices of a data set among all processes."""

import itertools
from collections.abc import Iterator

import torch
from detectron2.utils import comm
from torch.utils.data import Sampler


class TrainingSampler(Sampler):
    """An endless stream of indices: one permutation of the data set after another.

    Process r of n yields the elements r, r + n, r + 2n ... of a stream that is the same in all
    processes. `ToIterableDataset` splits this further among the workers of a DataLoader.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        """
        Args:
            size: number of elements of the data set.
            shuffle: False repeats 0 .. size - 1.
            seed: of the permutations, the same in all processes; None draws a shared random one.
        """
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler(size=) expects an int. Got type {type(size)}.")
        if size <= 0:
            raise ValueError(f"TrainingSampler(size=) expects a positive int. Got {size}.")
        self._size = size
        self._shuffle = shuffle
        self._seed = int(comm.shared_random_seed() if seed is None else seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            if self._shuffle:
                yield from torch.randperm(self._size, generator=generator).tolist()
            else:
                yield from range(self._size)


class InferenceSampler(Sampler):
    """Every index exactly once over all processes, in contiguous shares of almost equal size."""

    def __init__(self, size: int):
        """
        Args:
            size: number of elements of the data set.
        """
        if size <= 0:
            raise AssertionError(f"InferenceSampler expects a positive size, got {size}")
        rank, world_size = comm.get_rank(), comm.get_world_size()
        share, remainder = divmod(size, world_size)
        begin = rank * share + min(rank, remainder)
        self._indices = range(begin, begin + share + (rank < remainder))

    def __iter__(self) -> Iterator[int]:
        yield from self._indices

    def __len__(self) -> int:
        return len(self._indices)
