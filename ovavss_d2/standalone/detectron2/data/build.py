"""Data loaders: from a config, or from a data set, a mapper and a sampler."""

import itertools
import logging
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.catalog import DatasetCatalog
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.missing import missing_message
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils import data as torchdata

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
]

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(
    names: str | list[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: list[str] | None = None,
) -> list[dict] | torchdata.Dataset:
    """Load the records of one or several registered data sets.

    Args:
        names: of the data sets.
        filter_empty: leave out records whose annotations are all crowds, or that have none.
        min_keypoints, proposal_files: not implemented; only the defaults are accepted.

    Returns:
        A list of records; a torch data set if the data sets are registered as such.

    Raises:
        AssertionError: no name is given, or a data set has no records.
    """
    if min_keypoints or proposal_files:
        raise NotImplementedError(missing_message("keypoints and proposals in loaders"))
    names = [names] if isinstance(names, str) else names
    if not names:
        raise AssertionError(f"expected the names of data sets, got {names}")
    parts = [DatasetCatalog.get(name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not len(part):
            raise AssertionError(f"Dataset '{name}' is empty!")
    if isinstance(parts[0], torchdata.Dataset):
        return torchdata.ConcatDataset(parts) if len(parts) > 1 else parts[0]
    records = list(itertools.chain.from_iterable(parts))
    if "annotations" in records[0]:
        records = _filter_empty(records) if filter_empty else records
    if not records:
        raise AssertionError(f"No valid data found in {','.join(names)}.")
    return records


def _filter_empty(records: list[dict]) -> list[dict]:
    def is_usable(record: dict) -> bool:
        return any(ann.get("iscrowd", 0) == 0 for ann in record["annotations"])

    kept = [record for record in records if is_usable(record)]
    removed = len(records) - len(kept)
    logger.info(f"Removed {removed} images with no usable annotations. {len(kept)} images left.")
    return kept


def build_batch_data_loader(
    dataset: torchdata.Dataset,
    sampler: torchdata.Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Iterable:
    """Build a loader of batches.

    Args:
        dataset: map-style or iterable.
        sampler: of indices; None if `dataset` is iterable.
        total_batch_size: elements of a batch over all processes; None if
            `single_gpu_batch_size` is given.
        aspect_ratio_grouping: make batches of either wide or tall images.
        num_workers: number of worker processes.
        collate_fn: applied to each batch; None keeps the list of elements.
        drop_last: drop an incomplete last batch.
        single_gpu_batch_size: elements of a batch of this process.
        seed: of the loader's generator, which seeds the workers.
        **kwargs: further arguments of `torch.utils.data.DataLoader`.

    Returns:
        An iterable of batches.
    """
    batch_size = _local_batch_size(total_batch_size, single_gpu_batch_size)
    logger.info(f"Making batched data loader with batch_size={batch_size}")
    if not _is_iterable(dataset, sampler):
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "worker_init_fn": worker_init_reset_seed,
        "generator": None if seed is None else torch.Generator().manual_seed(seed),
        **kwargs,
    }
    if not aspect_ratio_grouping:
        return torchdata.DataLoader(
            dataset,
            batch_size=batch_size,
            drop_last=drop_last,
            collate_fn=trivial_batch_collator if collate_fn is None else collate_fn,
            **options,
        )
    if not drop_last:
        raise AssertionError("aspect_ratio_grouping needs drop_last=True")
    elements = torchdata.DataLoader(dataset, collate_fn=operator.itemgetter(0), **options)
    batches = AspectRatioGroupedDataset(elements, batch_size)
    return batches if collate_fn is None else MapDataset(batches, collate_fn)


def _is_iterable(dataset: Any, sampler: torchdata.Sampler | None) -> bool:
    """Whether the data set is iterable, which excludes a sampler."""
    is_iterable = isinstance(dataset, torchdata.IterableDataset)
    if is_iterable and sampler is not None:
        raise AssertionError("sampler must be None if dataset is IterableDataset")
    return is_iterable


def _local_batch_size(total: int | None, single: int | None) -> int:
    if single is not None:
        if total:
            raise ValueError("Only one of total_batch_size and single_gpu_batch_size may be given")
        return single
    world_size = comm.get_world_size()
    if not total or total < 0 or total % world_size:
        raise AssertionError(
            f"Total batch size ({total}) must be divisible by the number of gpus ({world_size})."
        )
    return total // world_size


def _checked_mapper(mapper: Callable | None) -> Callable:
    if mapper is None:
        raise NotImplementedError(missing_message("DatasetMapper") + ", or pass a mapper")
    return mapper


def _train_loader_from_config(
    cfg: CfgNode,
    mapper: Callable | None = None,
    *,
    dataset: Any = None,
    sampler: torchdata.Sampler | None = None,
) -> dict[str, Any]:
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
    if sampler is None and not isinstance(dataset, torchdata.IterableDataset):
        name = cfg.DATALOADER.SAMPLER_TRAIN
        if name != "TrainingSampler":
            raise ValueError(missing_message(f"DATALOADER.SAMPLER_TRAIN {name}"))
        sampler = TrainingSampler(len(dataset))
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": _checked_mapper(mapper),
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: list | torchdata.Dataset,
    *,
    mapper: Callable | None,
    sampler: torchdata.Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    **kwargs: Any,
) -> Iterable:
    """Build the endless loader of training batches.

    Can also be called as `build_detection_train_loader(cfg, mapper=...)`.

    Args:
        dataset: list of records, or a map-style or iterable torch data set.
        mapper: turns a record into an input of the model; None for no change.
        sampler: of indices, `TrainingSampler` by default; None if `dataset` is iterable.
        total_batch_size: elements of a batch over all processes.
        aspect_ratio_grouping: make batches of either wide or tall images, by the elements' "width"
            and "height".
        num_workers: number of worker processes.
        collate_fn: applied to each batch; None keeps the list of elements.
        **kwargs: further arguments of `build_batch_data_loader`.

    Returns:
        An iterable of this process's share of each batch.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if not _is_iterable(dataset, sampler):
        sampler = TrainingSampler(len(dataset)) if sampler is None else sampler
        if not isinstance(sampler, torchdata.Sampler):
            raise AssertionError(f"Expect a Sampler but got {type(sampler)}")
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | list[str], mapper: Callable | None = None
) -> dict[str, Any]:
    names = [dataset_name] if isinstance(dataset_name, str) else dataset_name
    dataset = get_detection_dataset_dicts(names, filter_empty=False)
    is_iterable = isinstance(dataset, torchdata.IterableDataset)
    return {
        "dataset": dataset,
        "mapper": _checked_mapper(mapper),
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "sampler": None if is_iterable else InferenceSampler(len(dataset)),
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: list | torchdata.Dataset,
    *,
    mapper: Callable | None,
    sampler: torchdata.Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
) -> torchdata.DataLoader:
    """Build the loader of test batches, which yields each element once over all processes.

    Can also be called as `build_detection_test_loader(cfg, dataset_name, mapper=...)`. The
    arguments are those of the training loader, except that `batch_size` is per process and the
    default sampler is `InferenceSampler`.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if not _is_iterable(dataset, sampler) and sampler is None:
        sampler = InferenceSampler(len(dataset))
    return torchdata.DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=False,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator if collate_fn is None else collate_fn,
    )


def trivial_batch_collator(batch: list) -> list:
    """Return the batch unchanged."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed Python, NumPy and torch in a worker process."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
