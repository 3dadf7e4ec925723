"""Registers the data sets with Detectron2; nothing is read until a data set is used.

They are in the folder that the environment variable DETECTRON2_DATASETS names (default:
`datasets`):

    AVSBench-semantic/   AVSBench-closed/ (its own split)   AVSBench-derived/ (a split of ours)
    AVSBench-openvoc/ (AVSBench-OV as published)   toy/ (the toy world)
    stamps/ (photographs and recorded sounds)
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from ovavss_d2.data.avsbench import SUBSETS
from ovavss_d2.data.avsbench_ov import PUBLISHED_FILES, TEST_FILE
from ovavss_d2.data.folder import check_rate, load_folder
from ovavss_d2.data.label_maps import VOID
from ovavss_d2.data.records import load_records
from ovavss_d2.data.split_lists import CLOSED_FILES, DERIVED_FILES
from ovavss_d2.files import read_json
from ovavss_d2.vocabulary import (
    AVSBENCH_BASE_IDS,
    AVSBENCH_NAMES,
    STAMPS_BASE_IDS,
    STAMPS_NAMES,
    TOY_BASE_IDS,
    TOY_NAMES,
    check_names,
    novel_ids,
    synonyms_of,
    voc_palette,
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A data set to register.

    Attributes:
        name: for `DATASETS.TRAIN` and `DATASETS.TEST`.
        json_file: the list of its videos; None: `image_root` is a folder for `load_folder`.
        image_root, audio_root: see `load_records`. All paths are absolute or in the data sets'
            folder.
        names, base_ids: the vocabulary.
        protocol_name: title of its results.
        origin: where its files come from, for the message when one is missing.
        training: whether it is for training.
        view: None: all videos; "base", "novel": videos whose names are all of that kind; otherwise
            the videos that have this view in `views_file`.
        views_file: JSON, video -> view.
        label_images: see `load_records`.
        frames_per_second: see `load_folder` and `load_records`.
    """

    name: str
    json_file: str | None
    image_root: str
    audio_root: str
    names: tuple[str, ...]
    base_ids: tuple[int, ...]
    protocol_name: str
    origin: str
    training: bool = False
    view: str | None = None
    views_file: str | None = None
    label_images: bool = True
    frames_per_second: float = 1.0


_SPLITS: dict[str, Split] = {}


def datasets_root() -> str:
    """The folder of the data sets."""
    return os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def register_split(split: Split) -> None:
    """Register a data set and its metadata; nothing is read yet."""
    _SPLITS[split.name] = split
    DatasetCatalog.register(split.name, partial(load_split, split))
    MetadataCatalog.get(split.name).set(
        stuff_classes=["background", *split.names],
        stuff_colors=[tuple(color) for color in voc_palette(len(split.names) + 1).tolist()],
        names=list(split.names),
        base_ids=list(split.base_ids),
        novel_ids=list(novel_ids(split.names, split.base_ids)),
        ignore_label=VOID,
        evaluator_type="ovavss",
        protocol_name=split.protocol_name,
        subsets=["all"] if split.json_file is None else list(SUBSETS),
    )


def register_folder(
    name: str,
    folder: str | os.PathLike,
    names: Sequence[str],
    *,
    base_ids: Sequence[int] | None = None,
    json_file: str | None = None,
    frames_per_second: float = 1.0,
    training: bool = False,
) -> None:
    """Register a folder of the user's videos; nothing is read yet.

    Args:
        name: for `DATASETS.TRAIN` and `DATASETS.TEST`.
        folder: the videos, see `load_folder`; a path in the data sets' folder, or absolute.
        names: the K names, at most 254; name k has color k of `voc_palette(K + 1)` and value k in
            gray label images.
        base_ids: ids (from 1) of the names to train on; None: all.
        json_file: YouTube-VIS style list in the folder, whose annotations are the ground truth and
            whose paths are relative to the folder; None: the folder has label images.
        frames_per_second: rate of the frames, if a list does not give their times.
        training: whether it is for training.

    Raises:
        ValueError: the name is taken, the names are not distinct, or another argument is wrong.
    """
    if name in DatasetCatalog.list():
        raise ValueError(f"the data set '{name}' is already registered; choose another name")
    names, root = _checked_names(name, names), os.fspath(folder)
    base_ids = tuple(range(1, len(names) + 1)) if base_ids is None else tuple(base_ids)
    if len(set(base_ids)) != len(base_ids) or not set(base_ids) <= set(range(1, len(names) + 1)):
        raise ValueError(
            f"data set '{name}': base ids {base_ids} for {len(names)} names, expected distinct "
            f"integers from 1 to {len(names)}"
        )
    check_rate(frames_per_second)
    split = Split(
        name=name,
        json_file=json_file and os.path.join(root, json_file),
        image_root=root,
        audio_root=root,
        names=names,
        base_ids=base_ids,
        protocol_name=name,
        origin=f"it was registered as the data set '{name}'",
        training=training,
        label_images=False,
        frames_per_second=frames_per_second,
    )
    register_split(split)


def _checked_names(dataset: str, names: Sequence[str]) -> tuple[str, ...]:
    origin = f"the data set '{dataset}'"
    if isinstance(names, str):
        raise ValueError(f"{origin} has the names '{names}', expected a list such as ['{names}']")
    names = tuple(names)
    check_names(names, origin)
    if len(names) >= VOID:
        raise ValueError(f"{origin} has {len(names)} names, expected at most {VOID - 1}")
    synonyms = next((name for name in names if len(synonyms_of(name)) > 1), None)
    if synonyms:
        raise ValueError(f"{origin} has the synonyms '{synonyms}', expected one name per class")
    return names


def load_split(split: Split) -> list[dict]:
    """Read the records of a data set, see `load_records`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is broken, or the view is empty.
    """
    check_files(split)
    root = _path(split.image_root)
    if split.json_file is None:
        return load_folder(root, split.names, split.frames_per_second, split.training)
    records = load_records(
        _path(split.json_file),
        image_root=root,
        audio_root=_path(split.audio_root),
        names=split.names,
        training=split.training,
        label_images=split.label_images,
        frames_per_second=split.frames_per_second,
    )
    records = list(filter(_view_filter(split), records))
    if not records:
        raise ValueError(f"'{_path(split.json_file)}': it has no video for '{split.name}'")
    return records


def check_dataset(name: str) -> None:
    """Check that a data set is registered and its files exist, without reading them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there is no data set of that name.
    """
    if name not in DatasetCatalog.list():
        raise ValueError(f"no data set '{name}'; known are {', '.join(sorted(_SPLITS))}")
    if name in _SPLITS:
        check_files(_SPLITS[name])


def check_files(split: Split) -> None:
    """Raise a `FileNotFoundError` if a file or folder of the split is missing."""
    for path in (split.json_file, split.image_root, split.audio_root, split.views_file):
        if path is not None and not os.path.exists(_path(path)):
            raise FileNotFoundError(f"'{_path(path)}' is missing: {split.origin}")


def _path(path: str) -> str:
    return os.path.join(datasets_root(), path)


def _view_filter(split: Split) -> Callable[[dict], bool]:
    if split.view is None:
        return lambda record: True
    if split.views_file is not None:
        views = read_json(_path(split.views_file), split.origin)
        if not isinstance(views, dict):
            raise ValueError(f"'{_path(split.views_file)}': expected an object, video -> view")
        return lambda record: views.get(record["video_id"]) == split.view
    base = {split.names[i - 1] for i in split.base_ids}
    if split.view == "base":
        return lambda record: base.issuperset(record["names"])
    return lambda record: bool(record["names"]) and base.isdisjoint(record["names"])


_TRAIN_VIEWS: dict[str, str | None] = {"base": None}
_TEST_VIEWS = {"all": None, "base": "base", "novel": "novel"}
_GENERATED_VIEWS = {"all": None} | {
    view: view for view in ("base", "novel_silent", "novel_sounding")
}
_DERIVED = Split(
    name="avsbench_derived",
    json_file="AVSBench-derived",
    image_root="AVSBench-semantic",
    audio_root="AVSBench-semantic",
    names=AVSBENCH_NAMES,
    base_ids=AVSBENCH_BASE_IDS,
    protocol_name="AVSBench, derived open-vocabulary split (not AVSBench-OV)",
    origin="make it with `python datasets/prepare_avsbench_ov.py`, see datasets/README.md",
)


def _register(part: str, split: Split, views: Mapping[str, str | None]) -> None:
    """Register views of "train", "val" or "test"; `split.name` is the prefix of their names."""
    for suffix, view in views.items():
        name = "_".join(filter(None, (split.name, part, suffix)))
        register_split(replace(split, name=name, training=part == "train", view=view))


def _register_derived(template: Split, test_views: Mapping[str, str | None]) -> None:
    """Register the derived split in the folder `template.json_file`."""
    for part, file in DERIVED_FILES.items():
        split = replace(template, json_file=f"{template.json_file}/{file}")
        _register(part, split, test_views if part == "test" else _TRAIN_VIEWS)


def _register_avsbench_ov() -> None:
    folder = "AVSBench-openvoc"
    for part, file in {**PUBLISHED_FILES, "test": TEST_FILE}.items():
        split = replace(
            _DERIVED,
            name="avsbench_ov",
            json_file=f"{folder}/{file}",
            image_root=f"{folder}/{part}/JPEGImages",
            protocol_name="AVSBench-OV",
        )
        if part in PUBLISHED_FILES:
            origin = "it is published by the authors of AVSBench-OV, see datasets/README.md"
            split = replace(split, origin=origin)
        _register(part, split, _TRAIN_VIEWS if part == "train" else _TEST_VIEWS)


def _register_avsbench_semantic() -> None:
    for part, file in CLOSED_FILES.items():
        split = replace(
            _DERIVED,
            name="avsbench_semantic",
            json_file=f"AVSBench-closed/{file}",
            base_ids=tuple(range(1, len(AVSBENCH_NAMES) + 1)),
            protocol_name="AVSBench-semantic, closed set (IoU over the test set)",
        )
        _register(part, split, {"": None})


def _register_generated(
    folder: str, names: tuple[str, ...], base_ids: tuple[int, ...], title: str
) -> None:
    """Register a data set of `toy/dataset.py`."""
    template = Split(
        name=f"{folder}_ov",
        json_file=f"{folder}/split_lists",
        image_root=f"{folder}/AVSBench-semantic",
        audio_root=f"{folder}/AVSBench-semantic",
        names=names,
        base_ids=base_ids,
        protocol_name=f"{title} (AVSBench-OV's protocol)",
        origin=f"make it with `python datasets/prepare_{folder}.py`",
        views_file=f"{folder}/views.json",
    )
    _register_derived(template, _GENERATED_VIEWS)


_register_avsbench_ov()
_register_derived(_DERIVED, _TEST_VIEWS)
_register_avsbench_semantic()
_register_generated("toy", TOY_NAMES, TOY_BASE_IDS, "Toy world")
_register_generated("stamps", STAMPS_NAMES, STAMPS_BASE_IDS, "Stamps")
