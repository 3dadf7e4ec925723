"""Data sets that wrap others: serialized, mapped, made iterable, or grouped into batches."""

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils import data as torchdata

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)

_WARN_AFTER = 3  # failed samples in a row


class _PickledList:
    """A read-only list stored as one byte tensor.

    Worker processes share a tensor's memory. A list of Python objects would be copied into each
    process as soon as reference counts change.
    """

    def __init__(self, items: list):
        chunks = [np.frombuffer(pickle.dumps(item, protocol=-1), dtype=np.uint8) for item in items]
        self._ends = torch.from_numpy(np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64))
        self._bytes = torch.from_numpy(np.concatenate(chunks))
        size = len(self._bytes) / 1024**2
        logger.info(f"Serialized {len(chunks)} elements of the dataset into {size:.2f} MiB")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
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
            copy: return deep copies, so that users may change them.
            serialize: store the elements pickled in one tensor (each access creates a new object),
                or a function that turns the list into another container.
        """
        if not isinstance(serialize, bool | Callable):
            raise TypeError(f"serialize must be a bool or a callable, got {serialize!r}")
        self._copy = copy
        self._serialize = serialize
        if callable(serialize):
            self._lst = serialize(lst)
        else:
            self._lst = _PickledList(lst) if serialize else lst

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, idx: int) -> Any:
        if self._copy and not self._serialize:
            return copy.deepcopy(self._lst[idx])
        return self._lst[idx]


class MapDataset(torchdata.Dataset):
    """Applies a function to the elements of a data set.

    If the function returns None for an element, another one is drawn at random among those that
    have not failed. In an iterable data set such elements are skipped.
    """

    def __new__(cls, dataset: Any, map_func: Callable) -> Any:
        if isinstance(dataset, torchdata.IterableDataset):
            return _MappedIterable(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Any, map_func: Callable):
        """
        Args:
            dataset: map-style or iterable.
            map_func: called with each element.
        """
        self._dataset = dataset
        self._map_func = map_func
        self._random = random.Random(42)
        self._failed: set[int] = set()

    def __getnewargs__(self) -> tuple:
        return self._dataset, self._map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
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

    def _candidates(self) -> list[int]:
        candidates = [i for i in range(len(self._dataset)) if i not in self._failed]
        if not candidates:
            raise ValueError(
                f"the mapper returned None for each of {len(self._dataset)} elements; "
                "check the data and the mapper"
            )
        return candidates


class _MappedIterable(torchdata.IterableDataset):
    def __init__(self, dataset: torchdata.IterableDataset, map_func: Callable):
        self._dataset = dataset
        self._map_func = map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator:
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
            dataset: map-style.
            sampler: an iterable of indices.
            shard_sampler: split the indices among the workers of a DataLoader. False if the
                sampler already does this.
            shard_chunk_size: number of consecutive indices that go to one worker; if this is the
                batch size, batches do not depend on the number of workers.
        """
        if isinstance(dataset, torchdata.IterableDataset):
            raise AssertionError(f"expected a map-style data set, got {dataset}")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator:
        worker = torchdata.get_worker_info() if self.shard_sampler else None
        indices = iter(self.sampler)
        if worker is not None:
            indices = _share(indices, self.shard_chunk_size, worker.id, worker.num_workers)
        for index in indices:
            yield self.dataset[index]


def _share(indices: Iterator[int], chunk_size: int, rank: int, count: int) -> Iterator[int]:
    """Yield every `count`-th chunk of the indices, starting with chunk `rank`."""
    for number in itertools.count():
        chunk = list(itertools.islice(indices, chunk_size))
        if not chunk:
            return
        if number % count == rank:
            yield from chunk


class AspectRatioGroupedDataset(torchdata.IterableDataset):
    """Groups elements into batches of either wide or tall ones, which need less padding.

    The elements are dicts with "width" and "height"; wide means width > height.
    """

    def __init__(self, dataset: Iterable[dict], batch_size: int):
        self.dataset = dataset
        self.batch_size = batch_size

    def __iter__(self) -> Iterator:
        waiting: dict[bool, list[dict]] = {True: [], False: []}
        for element in self.dataset:
            is_wide = element["width"] > element["height"]
            waiting[is_wide].append(element)
            if len(waiting[is_wide]) == self.batch_size:
                batch, waiting[is_wide] = waiting[is_wide], []
                yield batch
