"""Data sets that wrap others: serialised, mapped, made iterable or batched."""

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
from torch.utils import data as torchdata

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)

_WARN_AFTER = 3  # failed samples in a row


class _PickledList:
    """A read-only list kept as one byte tensor.

    Worker processes share a tensor's memory, while a list of Python objects would be copied into
    each of them as soon as reference counts change.
    """

    def __init__(self, items: list):
        chunks = [np.frombuffer(pickle.dumps(item, protocol=-1), dtype=np.uint8) for item in items]
        self._ends = torch.from_numpy(np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64))
        self._bytes = torch.from_numpy(np.concatenate(chunks))
        size = len(self._bytes) / 1024**2
        logger.info(f"Serialized {len(chunks)} elements of the dataset into {size:.2f} MiB")

    def __len__(self):
        return len(self._ends)

    def __getitem__(self, index):
        end = self._ends[index].item()
        index = index % len(self)
        start = 0 if index == 0 else self._ends[index - 1].item()
        return pickle.loads(self._bytes[start:end].numpy().data)


class DatasetFromList(torchdata.Dataset):
    """A data set of the elements of a list."""

    def __init__(self, lst: list, copy: bool = True, serialize: bool | Callable = True):
        """
        Args:
            lst: the elements.
            copy: hand out deep copies, so that users may change them.
            serialize: keep the elements pickled in one tensor (a fresh object at every access), or
                a function that turns the list into some other container.
        """
        if not isinstance(serialize, bool | Callable):
            raise TypeError(f"serialize must be a bool or a callable, got {serialize!r}")
        self._copy = copy
        self._serialize = serialize
        if callable(serialize):
            self._lst = serialize(lst)
        else:
            self._lst = _PickledList(lst) if serialize else lst

    def __len__(self):
        return len(self._lst)

    def __getitem__(self, idx):
        if self._copy and not self._serialize:
            return copy.deepcopy(self._lst[idx])
        return self._lst[idx]


class MapDataset(torchdata.Dataset):
    """Applies a function to the elements of a data set.

    An element for which the function returns None is replaced by another, drawn at random among
    those that have not failed. Over an iterable data set such elements are skipped.
    """

    def __new__(cls, dataset, map_func):
        if isinstance(dataset, torchdata.IterableDataset):
            return _MappedIterable(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset, map_func: Callable):
        self._dataset = dataset
        self._map_func = map_func
        self._random = random.Random(42)
        self._failed = set()

    def __getnewargs__(self):
        return self._dataset, self._map_func

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, idx):
        current, failures = int(idx), 0
        while True:
            data = self._map_func(self._dataset[current])
            if data is not None:
                self._failed.discard(current)
                return data
            self._failed.add(current)
            failures += 1
            if failures >= _WARN_AFTER:
                logger.warning(
                    f"No data for index {idx} after {failures} attempts; trying another one"
                )
            current = self._random.choice(self._candidates())

    def _candidates(self):
        candidates = [i for i in range(len(self._dataset)) if i not in self._failed]
        if not candidates:
            raise ValueError(
                f"the mapper returned None for each of {len(self._dataset)} elements; "
                "check the data and the mapper"
            )
        return candidates


class _MappedIterable(torchdata.IterableDataset):
    def __init__(self, dataset, map_func):
        self._dataset = dataset
        self._map_func = map_func

    def __len__(self):
        return len(self._dataset)

    def __iter__(self):
        return (data for data in map(self._map_func, self._dataset) if data is not None)


class ToIterableDataset(torchdata.IterableDataset):
    """Turns an indexed data set and a sampler into an iterable data set."""

    def __init__(
        self,
        dataset: torchdata.Dataset,
        sampler: torchdata.Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ):
        """
        Args:
            dataset: has `__getitem__`.
            sampler: a cheap iterable of indices.
            shard_sampler: each worker of a DataLoader takes its own share of the indices. False
                for a sampler that already knows the workers.
            shard_chunk_size: indices that go to a worker in a row; with the batch size here, the
                batches do not depend on the number of workers.
        """
        if isinstance(dataset, torchdata.IterableDataset):
            raise AssertionError(f"expected a data set with indices, got {dataset}")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __len__(self):
        return len(self.sampler)

    def __iter__(self):
        worker = torchdata.get_worker_info() if self.shard_sampler else None
        indices = iter(self.sampler)
        if worker is not None:
            indices = _share(indices, self.shard_chunk_size, worker.id, worker.num_workers)
        for index in indices:
            yield self.dataset[index]


def _share(indices, chunk_size, rank, count):
    """Every `count`-th chunk of the indices, starting with chunk `rank`."""
    for number in itertools.count():
        chunk = list(itertools.islice(indices, chunk_size))
        if not chunk:
            return
        if number % count == rank:
            yield from chunk


class AspectRatioGroupedDataset(torchdata.IterableDataset):
    """Makes batches of either wide or tall elements, which then need less padding.

    The elements are dicts with "width" and "height"; wide means that the width is the larger one.
    """

    def __init__(self, dataset, batch_size: int):
        self.dataset = dataset
        self.batch_size = batch_size

    def __iter__(self):
        waiting = {True: [], False: []}
        for element in self.dataset:
            is_wide = element["width"] > element["height"]
            waiting[is_wide].append(element)
            if len(waiting[is_wide]) == self.batch_size:
                batch, waiting[is_wide] = waiting[is_wide], []
                yield batch
