"""Samplers that share one stream of indices among all processes."""

import itertools
import logging
import math
from collections import Counter

import torch
from detectron2.utils import comm
from torch.utils.data import Sampler

logger = logging.getLogger(__name__)


class TrainingSampler(Sampler):
    """An endless stream of indices: one permutation of the data set after the other.

    Process r of n yields the elements r, r + n, r + 2n ... of a stream that is the same for all.
    The workers of a DataLoader are not told apart here; `ToIterableDataset` does that.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        """
        Args:
            size: elements of the data set.
            shuffle: False repeats 0 .. size - 1.
            seed: of the permutations, the same in all processes; None agrees on a random one.
        """
        name = type(self).__name__
        if not isinstance(size, int):
            raise TypeError(f"{name}(size=) expects an int. Got type {type(size)}.")
        if size <= 0:
            raise ValueError(f"{name}(size=) expects a positive int. Got {size}.")
        self._size = size
        self._shuffle = shuffle
        self._start(seed)

    def _start(self, seed):
        self._seed = int(comm.shared_random_seed() if seed is None else seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self):
        yield from itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self):
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            yield from self._epoch(generator)

    def _epoch(self, generator) -> list[int]:
        return _ordered(torch.arange(self._size), self._shuffle, generator)


def _ordered(indices, shuffle, generator) -> list[int]:
    if shuffle:
        indices = indices[torch.randperm(len(indices), generator=generator)]
    return indices.tolist()


class RandomSubsetTrainingSampler(TrainingSampler):
    """A `TrainingSampler` over a random part of the data set."""

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ):
        """
        Args:
            size: elements of the data set.
            subset_ratio: the part of them that is used, in (0, 1].
            shuffle, seed_shuffle: as `shuffle` and `seed` of `TrainingSampler`.
            seed_subset: of the choice of the part, the same in all processes; None agrees on one.
        """
        super().__init__(size=size, shuffle=shuffle, seed=seed_shuffle)
        if not 0.0 < subset_ratio <= 1.0:
            raise AssertionError(f"subset_ratio must be in (0, 1], got {subset_ratio}")
        generator = torch.Generator()
        generator.manual_seed(
            int(comm.shared_random_seed() if seed_subset is None else seed_subset)
        )
        count = int(size * subset_ratio)
        if count == 0:
            raise AssertionError(f"subset_ratio {subset_ratio} of {size} elements leaves none")
        self._indices = torch.randperm(size, generator=generator)[:count]
        logger.info(f"Randomly sample {count} data from the original {size} data")

    def _epoch(self, generator):
        return _ordered(self._indices, self._shuffle, generator)


class RepeatFactorTrainingSampler(TrainingSampler):
    """A `TrainingSampler` in which elements occur as often as their repeat factors say.

    A fraction is a probability: with 2.3 an element occurs twice, and in 30% of the passes thrice.
    """

    def __init__(
        self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None
    ):
        """
        Args:
            repeat_factors: (N,) float, one for each element.
            shuffle, seed: as in `TrainingSampler`.
        """
        self._shuffle = shuffle
        self._start(seed)
        self._whole = torch.trunc(repeat_factors)
        self._fraction = repeat_factors - self._whole

    def _epoch(self, generator):
        extra = torch.rand(len(self._fraction), generator=generator) < self._fraction
        repeats = (self._whole + extra).long()
        indices = torch.repeat_interleave(torch.arange(len(repeats)), repeats)
        return _ordered(indices, self._shuffle, generator)

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """Repeat factors after LVIS (appendix B.2): rare categories make their images frequent.

        The frequency of a category is the part of the images that show it. An image gets the
        largest `max(1, repeat_thresh / frequency)` among its categories.

        Args:
            dataset_dicts: records with "annotations", each with a "category_id".
            repeat_thresh: frequency below which images are repeated.
            sqrt: take the square root of the quotient.

        Returns:
            (N,) float32 factors.
        """
        shown = [{ann["category_id"] for ann in record["annotations"]} for record in dataset_dicts]
        images = Counter(itertools.chain.from_iterable(shown))
        factors = {}
        for category, count in sorted(images.items()):
            frequency = count / len(dataset_dicts)
            factor = repeat_thresh / frequency
            factors[category] = max(1.0, math.sqrt(factor) if sqrt else factor)
            logger.info(f"Cat ID {category}: freq={frequency:.2f}, rep={factors[category]:.2f}")
        largest = [max((factors[c] for c in categories), default=1.0) for categories in shown]
        return torch.tensor(largest, dtype=torch.float32)


class InferenceSampler(Sampler):
    """Every index exactly once over all processes, in contiguous shares of almost equal size."""

    def __init__(self, size: int):
        if size <= 0:
            raise AssertionError(f"InferenceSampler expects a positive size, got {size}")
        rank, world_size = comm.get_rank(), comm.get_world_size()
        share, spare = divmod(size, world_size)
        begin = rank * share + min(rank, spare)
        self._indices = range(begin, begin + share + (rank < spare))

    def __iter__(self):
        yield from self._indices

    def __len__(self):
        return len(self._indices)
