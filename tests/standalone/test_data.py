"""Catalogs, wrapped data sets, samplers and loaders."""

import itertools
import pickle
from operator import itemgetter
from unittest import mock

import pytest
import torch
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MapDataset,
    Metadata,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import IterableDataset

from tests.helpers.runtime import standalone_only


def _take(iterable, count):
    return list(itertools.islice(iter(iterable), count))


_number = itemgetter("number")


def _records(count):
    return [{"number": number, "width": 1, "height": 2} for number in range(count)]


@pytest.fixture
def dataset(catalog):
    """Names of two registered data sets."""
    names = ["standalone_test_some", "standalone_test_none"]
    annotated = [
        {"file_name": "a", "annotations": [{"category_id": 0, "iscrowd": 0}]},
        {"file_name": "b", "annotations": []},
        {"file_name": "c", "annotations": [{"category_id": 1, "iscrowd": 1}]},
    ]
    for name, function in zip(names, (lambda: annotated, list), strict=True):
        catalog.register(name, function)
        MetadataCatalog.get(name)
    return names


def test_catalog_calls_the_registered_function(dataset):
    assert len(DatasetCatalog.get(dataset[0])) == 3
    assert dataset[0] in DatasetCatalog.list()
    with pytest.raises(AssertionError, match="already registered"):
        DatasetCatalog.register(dataset[0], list)
    with pytest.raises(AssertionError, match="function"):
        DatasetCatalog.register("standalone_test_other", 3)
    with pytest.raises(KeyError, match="not registered"):
        DatasetCatalog.get("standalone_test_other")


def test_metadata_is_one_object_whose_attributes_are_set_once(dataset):
    metadata = MetadataCatalog.get(dataset[0])
    metadata.set(thing_classes=["p", "q"], evaluator_type="e")
    assert MetadataCatalog.get(dataset[0]) is metadata
    assert metadata.name == dataset[0]
    metadata.thing_classes = ["p", "q"]
    with pytest.raises(AssertionError, match="different value"):
        metadata.thing_classes = ["z"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = metadata.nothing
    assert metadata.get("nothing", 5) == 5
    metadata.as_dict()["evaluator_type"] = "changed"
    assert pickle.loads(pickle.dumps(metadata)).evaluator_type == "e"
    assert Metadata().name == "N/A"


def test_records_without_annotations_can_be_filtered(dataset):
    names = [record["file_name"] for record in get_detection_dataset_dicts(dataset[0])]
    assert names == ["a"]
    assert len(get_detection_dataset_dicts([dataset[0]] * 2, filter_empty=False)) == 6
    with pytest.raises(AssertionError, match="empty"):
        get_detection_dataset_dicts(dataset[1])
    with pytest.raises(AssertionError):
        get_detection_dataset_dicts([])


def test_list_data_set_returns_copies():
    records = _records(3)
    serialized = DatasetFromList(records)
    assert [serialized[i] for i in (0, 1, -1)] == [records[0], records[1], records[2]]
    with pytest.raises(IndexError):
        serialized[3]
    assert DatasetFromList(records, serialize=False)[0] is not records[0]
    assert DatasetFromList(records, copy=False, serialize=False)[0] is records[0]


def test_mapped_data_set_replaces_what_cannot_be_mapped():
    dataset = MapDataset(list(range(6)), lambda n: n if n % 2 == 0 else None)
    assert [dataset[i] for i in (0, 2, 4)] == [0, 2, 4]
    assert all(dataset[i] % 2 == 0 for i in (1, 3, 5))
    never = MapDataset([1, 2], lambda n: None)
    with pytest.raises(ValueError):
        never[0]


def test_mapped_iterable_data_set_skips_what_cannot_be_mapped():
    class Numbers(IterableDataset):
        def __iter__(self):
            return iter(range(4))

    assert list(MapDataset(Numbers(), lambda n: n if n % 2 == 0 else None)) == [0, 2]


def test_training_sampler_repeats_permutations_in_detectron2s_order():
    assert _take(TrainingSampler(5, seed=3), 12) == [1, 0, 3, 4, 2, 0, 1, 2, 4, 3, 1, 4]
    assert _take(TrainingSampler(3, shuffle=False, seed=3), 7) == [0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(ValueError, match="positive"):
        TrainingSampler(0)
    with pytest.raises(TypeError):
        TrainingSampler("5")


@pytest.mark.parametrize("lengths", [[5, 5], [4, 3, 3], [3, 3, 2, 2]])
def test_processes_share_the_stream_of_a_sampler(lengths):
    world_size = len(lengths)
    alone = _take(TrainingSampler(5, seed=3), 12)
    training, inference = [None] * 12, []
    for rank in range(world_size):
        with (
            mock.patch.object(comm, "get_world_size", lambda: world_size),
            mock.patch.object(comm, "get_rank", lambda rank=rank: rank),
        ):
            own = TrainingSampler(5, seed=3)
            training[rank::world_size] = _take(own, len(training[rank::world_size]))
            inference.append(list(InferenceSampler(10)))
    assert training == alone
    assert sum(inference, []) == list(range(10))
    assert [len(part) for part in inference] == lengths


def test_batches_have_either_wide_or_tall_images():
    sizes = [(2, 1), (1, 2), (1, 1), (3, 1), (1, 3), (1, 1)]
    elements = [{"width": w, "height": h, "i": i} for i, (w, h) in enumerate(sizes)]
    batches = AspectRatioGroupedDataset(elements, 2)
    assert [[e["i"] for e in batch] for batch in batches] == [[1, 2], [0, 3], [4, 5]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_batches_do_not_depend_on_the_number_of_workers(num_workers):
    loader = build_detection_train_loader(
        _records(6), mapper=_number, sampler=TrainingSampler(6, seed=1), total_batch_size=3,
        aspect_ratio_grouping=False, num_workers=num_workers,
    )  # fmt: skip
    assert _take(loader, 4) == [[1, 5, 2], [0, 3, 4], [1, 2, 3], [5, 4, 0]]


def test_test_loader_reads_each_element_once():
    loader = build_detection_test_loader(_records(5), mapper=_number, batch_size=2, num_workers=1)
    assert list(loader) == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3
    assert isinstance(loader.sampler, InferenceSampler)


def test_loaders_are_built_from_a_config(cfg, dataset):
    cfg.DATASETS.TRAIN = (dataset[0],)
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    batch = next(iter(build_detection_train_loader(cfg, mapper=dict)))
    assert [record["file_name"] for record in batch] == ["a", "a"]
    batch = next(iter(build_detection_train_loader(cfg, mapper=dict, dataset=_records(1))))
    assert [record["number"] for record in batch] == [0, 0]
    loader = build_detection_test_loader(cfg, dataset[0], mapper=dict)
    assert [batch[0]["file_name"] for batch in loader] == ["a", "b", "c"]
    cfg.DATALOADER.SAMPLER_TRAIN = "NoSuchSampler"
    with pytest.raises(ValueError, match="NoSuchSampler"):
        build_detection_train_loader(cfg, mapper=dict)


@standalone_only
def test_standalone_loaders_ask_for_a_mapper(cfg, dataset):
    cfg.DATASETS.TRAIN = (dataset[0],)
    with pytest.raises(NotImplementedError, match="install Detectron2.*pass a mapper"):
        build_detection_train_loader(cfg)
    with pytest.raises(NotImplementedError, match="install Detectron2.*pass a mapper"):
        build_detection_test_loader(cfg, dataset[0])


def test_collate_function_is_applied_to_batches():
    loader = build_detection_train_loader(
        _records(4), mapper=_number, sampler=InferenceSampler(4), total_batch_size=2,
        aspect_ratio_grouping=False, collate_fn=torch.tensor,
    )  # fmt: skip
    assert torch.stack(list(loader)).tolist() == [[0, 1], [2, 3]]


def test_wrong_loader_arguments_raise():
    make = build_detection_train_loader
    with pytest.raises(AssertionError, match="divisible"):
        make(_records(2), mapper=None, total_batch_size=0)
    with pytest.raises(AssertionError, match="Sampler"):
        make(_records(2), mapper=None, total_batch_size=1, sampler=3)
