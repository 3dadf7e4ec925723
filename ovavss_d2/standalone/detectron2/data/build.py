"""Data loaders: from a config, or from a data set, a mapper and a sampler."""

import itertools
import logging
import operator
from collections.abc import Callable

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import log_first_n
from tabulate import tabulate
from torch.utils import data as torchdata

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
    "print_instances_class_histogram",
]

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(
    names: str | list[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: list[str] | None = None,
    check_consistency: bool = True,
):
    """Load the records of one or several registered data sets.

    Args:
        names: of the data sets.
        filter_empty: leave out images without an annotation that is not a crowd.
        min_keypoints, proposal_files: only their defaults; the rest needs Detectron2 itself.
        check_consistency: data sets of several names must name the same classes.

    Returns:
        A list of records, or a torch data set where the data sets are such.
    """
    if min_keypoints or proposal_files:
        raise NotImplementedError("keypoints and proposals: install Detectron2 itself to use them")
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
        if check_consistency:
            _report_classes(records, names)
    if not records:
        raise AssertionError(f"No valid data found in {','.join(names)}.")
    return records


def _filter_empty(records):
    def is_usable(record):
        return any(ann.get("iscrowd", 0) == 0 for ann in record["annotations"])

    kept = [record for record in records if is_usable(record)]
    removed = len(records) - len(kept)
    logger.info(f"Removed {removed} images with no usable annotations. {len(kept)} images left.")
    return kept


def _report_classes(records, names):
    classes = MetadataCatalog.get(names[0]).get("thing_classes")
    if classes is None:
        return
    check_metadata_consistency("thing_classes", names)
    print_instances_class_histogram(records, classes)


def print_instances_class_histogram(dataset_dicts: list[dict], class_names: list[str]) -> None:
    """Log how many instances (crowds left out) each class has."""
    counts = np.zeros(len(class_names), dtype=int)
    for record in dataset_dicts:
        for annotation in record["annotations"]:
            if not annotation.get("iscrowd", 0):
                counts[annotation["category_id"]] += 1
    rows = [*zip(class_names, counts.tolist(), strict=True), ("total", int(counts.sum()))]
    table = tabulate(rows, headers=["category", "#instances"], tablefmt="pipe")
    message = f"Distribution of instances among all {len(class_names)} categories:\n{table}"
    log_first_n(logging.INFO, message, key="message")


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
    prefetch_factor: int | None = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    **kwargs,
):
    """A loader of batches that are lists of elements (no collation).

    Args:
        dataset: with indices or iterable.
        sampler: of indices; None where `dataset` is iterable.
        total_batch_size: elements of a batch over all processes; None if `single_gpu_batch_size`
            gives those of this process.
        aspect_ratio_grouping: batches of wide or of tall images only.
        num_workers: worker processes.
        collate_fn: applied to each batch.
        drop_last: drop an incomplete last batch.
        prefetch_factor, persistent_workers, pin_memory: as in `torch.utils.data.DataLoader`.
        seed: of the loader's generator, which seeds the workers.
        **kwargs: further arguments of the DataLoader.

    Returns:
        An iterable of batches.
    """
    batch_size = _own_batch_size(total_batch_size, single_gpu_batch_size)
    logger.info(f"Making batched data loader with batch_size={batch_size}")
    if not _needs_no_sampler(dataset, sampler):
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    options = {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "worker_init_fn": worker_init_reset_seed,
        "prefetch_factor": prefetch_factor if num_workers else None,
        "persistent_workers": persistent_workers,
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


def _needs_no_sampler(dataset, sampler) -> bool:
    """Whether the data set is iterable; then there must be no sampler."""
    is_iterable = isinstance(dataset, torchdata.IterableDataset)
    if is_iterable and sampler is not None:
        raise AssertionError("sampler must be None if dataset is IterableDataset")
    return is_iterable


def _own_batch_size(total, single) -> int:
    if single is not None:
        if total:
            raise ValueError("Only one of total_batch_size and single_gpu_batch_size may be given")
        return single
    world_size = comm.get_world_size()
    if total <= 0 or total % world_size:
        raise AssertionError(
            f"Total batch size ({total}) must be divisible by the number of gpus ({world_size})."
        )
    return total // world_size


def _train_loader_from_config(cfg, mapper=None, *, dataset=None, sampler=None):
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
    if sampler is None and not isinstance(dataset, torchdata.IterableDataset):
        sampler = _training_sampler(cfg, dataset)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


def _training_sampler(cfg, dataset):
    options = cfg.DATALOADER
    name = options.SAMPLER_TRAIN
    logger.info(f"Using training sampler {name}")
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset))
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, options.REPEAT_THRESHOLD, sqrt=options.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors)
    if name == "RandomSubsetTrainingSampler":
        return RandomSubsetTrainingSampler(len(dataset), options.RANDOM_SUBSET_RATIO)
    raise ValueError(f"Unknown training sampler: {name}")


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset,
    *,
    mapper: Callable | None,
    sampler: torchdata.Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    **kwargs,
):
    """The endless loader of training batches; may be called with a config instead.

    Args:
        dataset: list of records, or a torch data set with indices or iterable.
        mapper: turns a record into what the model takes; with a config, `DatasetMapper(cfg, True)`.
        sampler: of indices, by default `TrainingSampler`; None where `dataset` is iterable.
        total_batch_size: elements of a batch over all processes.
        aspect_ratio_grouping: batches of wide or of tall images only ("width" and "height" needed).
        num_workers: worker processes.
        collate_fn: applied to each batch; by default a batch is a list.
        **kwargs: further arguments of `build_batch_data_loader`.

    Returns:
        An iterable of lists of this process's share of `total_batch_size` mapped elements.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if not _needs_no_sampler(dataset, sampler):
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


def _test_loader_from_config(cfg, dataset_name, mapper=None):
    names = [dataset_name] if isinstance(dataset_name, str) else dataset_name
    dataset = get_detection_dataset_dicts(names, filter_empty=False)
    is_iterable = isinstance(dataset, torchdata.IterableDataset)
    return {
        "dataset": dataset,
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "sampler": None if is_iterable else InferenceSampler(len(dataset)),
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset,
    *,
    mapper: Callable | None,
    sampler: torchdata.Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
) -> torchdata.DataLoader:
    """The loader of test batches, each element once over all processes.

    May be called as `build_detection_test_loader(cfg, dataset_name, mapper=...)`. Arguments are
    those of the training loader, except that `batch_size` counts the elements of one process and
    the default sampler is `InferenceSampler`.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if not _needs_no_sampler(dataset, sampler) and sampler is None:
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
    """The batch as it is."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Give Python, NumPy and torch in a worker process a seed of their own."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
