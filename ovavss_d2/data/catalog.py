"""Registers the data sets with Detectron2; the disk is not touched until one is asked for.

They lie under the folder that the environment variable DETECTRON2_DATASETS names (default:
`datasets`):

    AVSBench-semantic/  AVSBench-openvoc/ (the authors' split)  AVSBench-derived/ (one of our own)
    AVSBench-closed/ (AVSBench-semantic's own)  toy/AVSBench-semantic/  toy/openvoc/  toy/views.json
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from detectron2.data import DatasetCatalog, MetadataCatalog

from ovavss_d2.data.avsbench import SUBSETS
from ovavss_d2.data.avsbench_ov import AUTHORS_FILES, AUTHORS_TEST_FILE
from ovavss_d2.data.folder import load_folder
from ovavss_d2.data.records import load_records
from ovavss_d2.data.split_lists import CLOSED_FILES, DERIVED_FILES
from ovavss_d2.vocabulary import (
    AVSBENCH_BASE_IDS,
    AVSBENCH_NAMES,
    TOY_BASE_IDS,
    TOY_NAMES,
    novel_ids,
    voc_palette,
)

_PREPARE = "python datasets/prepare_avsbench_ov.py"


@dataclass(frozen=True, kw_only=True)
class Split:
    """A data set to register.

    Attributes:
        name: for `DATASETS.TRAIN` and `DATASETS.TEST`.
        json_file, image_root, sound_root: paths under the data sets' folder (or absolute), see
            `load_records`.
        names, base_ids: the vocabulary.
        protocol_name: what figures on it are called.
        origin: where its files come from, for the message when one is missing.
        training: whether it is trained on.
        view: None for all of it; "base", "novel": the videos with names of one kind only; any other
            word: the videos that `views_file` (JSON, video to view) puts there.
        views_file: path under the data sets' folder.
        label_pictures: see `load_records`.
    """

    name: str
    json_file: str
    image_root: str
    sound_root: str
    names: tuple[str, ...]
    base_ids: tuple[int, ...]
    protocol_name: str
    origin: str
    training: bool = False
    view: str | None = None
    views_file: str | None = None
    label_pictures: bool = True


def datasets_root() -> str:
    """The folder that data sets lie in."""
    return os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def register_split(split: Split) -> None:
    """Make a data set known by its name, with its metadata; nothing is read yet."""
    DatasetCatalog.register(split.name, functools.partial(load_split, split))
    _set_metadata(split.name, split.names, split.base_ids, split.protocol_name, SUBSETS)
    _CHECKS[split.name] = functools.partial(check_files, split)


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
    """Make a folder of videos of one's own known by a name; nothing is read yet.

    Args:
        name: for `DATASETS.TRAIN` and `DATASETS.TEST`.
        folder: holds the videos, see `load_folder`; below the data sets' folder, or absolute.
        names: the K names; class k is in the k-th colour of `voc_palette(K + 1)`, or category k.
        base_ids: ids (from 1) of the names to train on; None: all.
        json_file: YouTube-VIS style list in the folder, whose annotations are then the truth, and
            to which all its paths are relative; None: there are label pictures.
        frames_per_second: rate of the frames, where there is no list.
        training: whether it is trained on.

    Raises:
        ValueError: the name is taken, or there is no name or no such id.
    """
    names = tuple(names)
    base_ids = tuple(range(1, len(names) + 1)) if base_ids is None else tuple(base_ids)
    if name in DatasetCatalog.list():
        raise ValueError(f"the data set '{name}' is registered already; choose another name")
    if not names or not all(1 <= i <= len(names) for i in base_ids):
        raise ValueError(f"data set '{name}': {len(names)} names with base ids {base_ids}")
    origin = f"it was registered as the data set '{name}'"
    if json_file is not None:
        place = os.fspath(folder)
        split = Split(
            name=name, json_file=os.path.join(place, json_file), image_root=place,
            sound_root=place, names=names, base_ids=base_ids, protocol_name=name, origin=origin,
            training=training, label_pictures=False,
        )  # fmt: skip
        register_split(split)
        return

    def load() -> list[dict]:
        check()
        return load_folder(_path(folder), names, frames_per_second, training)

    def check() -> None:
        if not os.path.isdir(_path(folder)):
            raise FileNotFoundError(f"'{_path(folder)}' is missing: {origin}")

    DatasetCatalog.register(name, load)
    _set_metadata(name, names, base_ids, name, ("all",))
    _CHECKS[name] = check


def _set_metadata(
    name: str,
    names: Sequence[str],
    base_ids: Sequence[int],
    protocol_name: str,
    subsets: Sequence[str],
) -> None:
    MetadataCatalog.get(name).set(
        stuff_classes=["background", *names],
        stuff_colors=[tuple(color) for color in voc_palette(len(names) + 1).tolist()],
        names=list(names),
        base_ids=list(base_ids),
        novel_ids=list(novel_ids(names, base_ids)),
        ignore_label=255,
        evaluator_type="ovavss",
        protocol_name=protocol_name,
        subsets=list(subsets),
    )


def load_split(split: Split) -> list[dict]:
    """Read the records of a data set, see `load_records`.

    Raises:
        FileNotFoundError: a file is missing; the line says where it comes from.
        ValueError: a file is broken, or the view is empty.
    """
    check_files(split)
    records = load_records(
        _path(split.json_file),
        image_root=_path(split.image_root),
        sound_root=_path(split.sound_root),
        names=split.names,
        training=split.training,
        label_pictures=split.label_pictures,
    )
    records = list(filter(_view_filter(split), records))
    if not records:
        raise ValueError(f"'{_path(split.json_file)}': no video in it for '{split.name}'")
    return records


def check_dataset(name: str) -> None:
    """Look whether a registered data set's files are there, without reading them.

    Raises:
        FileNotFoundError: a file is missing; the line says where it comes from.
        ValueError: there is no data set of that name.
    """
    if name not in DatasetCatalog.list():
        raise ValueError(f"no data set '{name}'; known are {', '.join(sorted(_CHECKS))}")
    if name in _CHECKS:
        _CHECKS[name]()


def check_files(split: Split) -> None:
    """Raise a `FileNotFoundError` of one line if a file or folder of the split is missing."""
    for path in (split.json_file, split.image_root, split.sound_root, split.views_file):
        if path is not None and not os.path.exists(_path(path)):
            raise FileNotFoundError(f"'{_path(path)}' is missing: {split.origin}")


def _path(path: str | os.PathLike) -> str:
    return os.path.join(datasets_root(), path)


def _view_filter(split: Split) -> Callable[[dict], bool]:
    if split.view is None:
        return lambda record: True
    if split.views_file is not None:
        path = _path(split.views_file)
        try:
            with open(path, encoding="utf-8") as file:
                views = dict(json.load(file))
        except (ValueError, TypeError) as error:
            raise ValueError(f"'{path}': broken JSON ({error}); {split.origin}") from error
        return lambda record: views.get(record["video_id"]) == split.view
    base = {split.names[i - 1] for i in split.base_ids}
    if split.view == "base":
        return lambda record: base.issuperset(record["names"])
    return lambda record: bool(record["names"]) and base.isdisjoint(record["names"])


_CHECKS: dict[str, Callable[[], None]] = {}  # whether a data set's files are there


def _views(split: Split, names: Mapping[str, str | None]) -> list[Split]:
    return [replace(split, name=name, view=view) for name, view in names.items()]


def _avsbench_ov() -> list[Split]:
    """The published split, as its authors' files have it."""
    folder = "AVSBench-openvoc"
    train = Split(
        name="avsbench_ov_train_base",
        json_file=f"{folder}/{AUTHORS_FILES['train']}",
        image_root=f"{folder}/train/JPEGImages",
        sound_root="AVSBench-semantic",
        names=AVSBENCH_NAMES,
        base_ids=AVSBENCH_BASE_IDS,
        protocol_name="AVSBench-OV",
        origin="it comes from the authors of AVSBench-OV, see datasets/README.md",
        training=True,
    )
    val = replace(
        train,
        json_file=f"{folder}/{AUTHORS_FILES['val']}",
        image_root=f"{folder}/val/JPEGImages",
        training=False,
    )
    test = replace(
        val,
        json_file=f"{folder}/{AUTHORS_TEST_FILE}",
        image_root=f"{folder}/test/JPEGImages",
        origin=f"make it with `{_PREPARE}` from the authors' files, see datasets/README.md",
    )
    return [train, *_all_views("avsbench_ov_val", val), *_all_views("avsbench_ov_test", test)]


def _all_views(prefix: str, split: Split) -> list[Split]:
    names = {f"{prefix}_all": None, f"{prefix}_base": "base", f"{prefix}_novel": "novel"}
    return _views(split, names)


def _avsbench_derived() -> list[Split]:
    """A split of our own, for those who have AVSBench-semantic alone."""
    train = Split(
        name="avsbench_derived_train_base",
        json_file=f"AVSBench-derived/{DERIVED_FILES['train']}",
        image_root="AVSBench-semantic",
        sound_root="AVSBench-semantic",
        names=AVSBENCH_NAMES,
        base_ids=AVSBENCH_BASE_IDS,
        protocol_name="AVSBench, derived open-vocabulary split (not AVSBench-OV)",
        origin=f"make it with `{_PREPARE}` from AVSBench-semantic, see datasets/README.md",
        training=True,
    )
    return [train, *_derived_tests("avsbench_derived", train)]


def _derived_tests(prefix: str, train: Split) -> list[Split]:
    folder = os.path.dirname(train.json_file)
    val = replace(
        train,
        name=f"{prefix}_val_base",
        json_file=f"{folder}/{DERIVED_FILES['val']}",
        training=False,
    )
    test = replace(val, json_file=f"{folder}/{DERIVED_FILES['test']}")
    return [val, *_all_views(f"{prefix}_test", test)]


def _avsbench_semantic() -> list[Split]:
    """The closed set: all names in training and test, as AVSBench-semantic's authors split it."""
    split = Split(
        name="avsbench_semantic_train",
        json_file=f"AVSBench-closed/{CLOSED_FILES['train']}",
        image_root="AVSBench-semantic",
        sound_root="AVSBench-semantic",
        names=AVSBENCH_NAMES,
        base_ids=tuple(range(1, len(AVSBENCH_NAMES) + 1)),
        protocol_name="AVSBench-semantic, closed set (IoU over the test set)",
        origin=f"make it with `{_PREPARE}` from AVSBench-semantic, see datasets/README.md",
        training=True,
    )
    others = [
        replace(
            split,
            name=f"avsbench_semantic_{part}",
            json_file=f"AVSBench-closed/{CLOSED_FILES[part]}",
            training=False,
        )
        for part in ("val", "test")
    ]
    return [split, *others]


def _toy() -> list[Split]:
    train = Split(
        name="toy_ov_train_base",
        json_file=f"toy/openvoc/{DERIVED_FILES['train']}",
        image_root="toy/AVSBench-semantic",
        sound_root="toy/AVSBench-semantic",
        names=TOY_NAMES,
        base_ids=TOY_BASE_IDS,
        protocol_name="Toy world (AVSBench-OV's protocol)",
        origin="make the toy world with `python datasets/prepare_toy.py`",
        training=True,
    )
    val, test, *_ = _derived_tests("toy_ov", train)
    views = {f"toy_ov_test_{view}": view for view in ("base", "novel_silent", "novel_sounding")}
    return [train, val, test, *_views(replace(test, views_file="toy/views.json"), views)]


for _split in (*_avsbench_ov(), *_avsbench_derived(), *_avsbench_semantic(), *_toy()):
    register_split(_split)
