"""Lists of videos, label folders, label maps, masks, AVSBench-semantic's videos and metadata."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.data.avsbench import VideoInfo, read_metadata, scan_video
from ovavss_d2.data.folder import load_folder
from ovavss_d2.data.masks import decode_masks
from ovavss_d2.data.records import load_records
from ovavss_d2.evaluation.saved_predictions import read_label_map
from ovavss_d2.vocabulary import voc_palette
from tests.fuzz.case import ANY, ODD_VALUES, REFUSED, Case, Kind, maybe_damaged, odd_json, to_json
from tests.fuzz.media import audio_files, picture_bytes, pictures, wav_bytes

NAMES = ["dog", "cat", "red car"]
SIZE = HEIGHT, WIDTH = 32, 48
BOX = np.zeros(SIZE, np.uint8)
BOX[4:20, 4:20] = 1
RLE = {"size": list(SIZE), "counts": rle.encode(np.asfortranarray(BOX))["counts"].decode()}
POLYGON = [[4, 4, 20, 4, 20, 20, 4, 20]]
MASKS = (  # segmentation and number of pixels
    (RLE, 256), (POLYGON, 256), (None, 0), ([], 0),
    ({"size": list(SIZE), "counts": [100, 20, HEIGHT * WIDTH - 120]}, 20),
)  # fmt: skip
BROKEN_MASKS = (
    {"size": [10**6, 10**6], "counts": [1, 2]}, {"size": list(SIZE), "counts": [1, 2]},
    {"size": list(SIZE), "counts": [2**31] * 4}, {"size": list(SIZE), "counts": [-1, 5]},
    {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, {"size": list(SIZE), "counts": "zz"},
    {"size": list(SIZE), "counts": "\x7f" * 40}, {"size": [HEIGHT], "counts": "a"},
    {"size": "ab", "counts": "a"}, {"counts": "a"}, {"size": list(SIZE), "counts": [1.5, 9]},
    {"size": [-1, -1], "counts": [1]}, [[float("nan")] * 6], [[1, 2, 3]], [["a"] * 6], "abc",
)  # fmt: skip
ODD_MASKS = (
    [[0, 0, 1e9, 1e9, 5, 5]], [[1e30] * 6], {"size": list(SIZE), "counts": ""}, [[0.5] * 6],
    [[-50, -50, -20, -50, -20, -20]], [[1, 1, 2, 2, 3, 3]] * 100,
)  # fmt: skip
NO_LISTS = (
    b"[" * 100_000, b'{"a":' * 50_000, b"", b"null", b"[]", b"3", b"\xff\xfe{}", b"1e999", b"{}",
)  # fmt: skip


@st.composite
def masks(draw: Callable) -> Case:
    """One segmentation as JSON has it."""
    segmentation, pixels = draw(st.sampled_from(MASKS))
    changed = odd_json(segmentation) | ODD_VALUES | st.sampled_from(ODD_MASKS)
    segmentation, expected = draw(
        st.just((segmentation, {"pixels": pixels}))
        | st.tuples(st.sampled_from(BROKEN_MASKS), st.just(REFUSED))
        | st.tuples(changed, st.just(ANY))
    )
    return Case({}, {"segmentation": segmentation}, expected)


def check_mask(expected: dict[str, Any] | None, segmentation: Any) -> None:
    found, again = (decode_masks([segmentation], HEIGHT, WIDTH) for _ in range(2))
    assert found.shape == (1, *SIZE) and found.max() <= 1, "not a mask of zeros and ones"
    assert np.array_equal(found, again), "another mask the second time"
    assert expected is None or found.sum() == expected["pixels"], found.sum()


def _list(*, plain: bool) -> dict[str, Any]:
    """A list of two videos with two frames; a plain one has only keys of YouTube-VIS."""
    videos, annotations = [], []
    for i in (1, 2):
        video: dict[str, Any] = {"id": i, "length": 2, "height": HEIGHT, "width": WIDTH}
        video["file_names"] = [f"v{i}/{j}.jpg" for j in range(2)]
        if not plain:
            video |= {"name": f"v{i}", "label": "v2", "times": [0.0, 1.0], "names": ["dog"]}
            video["audio_file"] = f"v{i}/audio.wav"
        videos.append(video)
        annotation = {"id": 100 * i, "video_id": i, "category_id": 1, "iscrowd": 0}
        annotations.append(annotation | {"segmentations": [RLE, [] if plain else POLYGON]})
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    return {"categories": categories, "videos": videos, "annotations": annotations}


@st.composite
def lists(draw: Callable) -> Case:
    """A list of the project or of YouTube-VIS, one with odd values, or another text."""
    plain = draw(st.booleans())
    expected = {"pixels": 512 if plain else 1024}
    content = draw(
        st.just(to_json(_list(plain=plain)))
        | odd_json(_list(plain=plain)).map(to_json)
        | st.sampled_from(NO_LISTS)
    )
    if content != to_json(_list(plain=plain)):
        expected = REFUSED if content in NO_LISTS else ANY
    case = Case({"list.json": content}, {"training": draw(st.booleans())}, expected)
    return case if content in NO_LISTS else draw(maybe_damaged(case))


def check_list(expected: dict[str, Any] | None, training: bool) -> None:
    records = load_records(
        "list.json", image_root=".", audio_root=".", names=NAMES, training=training,
        label_images=False,
    )  # fmt: skip
    pixels = sum(map(_check_record, records))
    ids = [record["video_id"] for record in records]
    assert len(set(ids)) == len(ids), f"two videos have one id: {ids}"
    assert expected is None or (len(ids) == 2 and pixels == expected["pixels"]), (ids, pixels)


def _check_record(record: dict[str, Any]) -> int:
    """Check a record; the number of pixels in all its masks."""
    length, times = len(record["file_names"]), record["times"]
    assert length and len(times) == length and np.isfinite(times).all(), "times"
    assert record["label_files"] is None or len(record["label_files"]) == length
    assert set(record["names"]) <= set(NAMES), "a name that is not in the vocabulary"
    height, width = record["height"], record["width"]
    assert isinstance(height, int) and isinstance(width, int) and min(height, width) > 0
    lists = [annotation["segmentations"] for annotation in record.get("annotations", ())]
    assert all(len(masks) == length for masks in lists), "masks of another number"
    return sum(int(decode_masks(masks, height, width).sum()) for masks in lists)


@functools.cache
def label_bytes(form: str, label: int) -> bytes:
    """A PNG with a box of a label, as colors, indexed colors or gray ids."""
    ids, target = BOX * np.uint8(label), io.BytesIO()
    pixels = {"colors": voc_palette(4)[ids], "ids16": ids.astype(np.uint16)}
    image = Image.fromarray(pixels.get(form, ids))
    if form == "indexed":
        image.putpalette(voc_palette(256).tobytes())
    image.save(target, "PNG")
    return target.getvalue()


@st.composite
def label_images(draw: Callable) -> Case:
    """A label map `l.png`, or any picture under that name."""
    if draw(st.integers(0, 3)) == 0:
        content = next(iter(draw(pictures()).files.values()))
        return Case({"l.png": content})
    label = draw(st.integers(0, 3))
    form = draw(st.sampled_from(["colors", "indexed", "ids", "ids16"]))
    return draw(maybe_damaged(Case({"l.png": label_bytes(form, label)}, {}, {"label": label})))


def check_label_map(expected: dict[str, Any] | None) -> None:
    ids = read_label_map("l.png", len(NAMES) + 1)
    assert ids.ndim == 2 and 0 <= ids.min(initial=0) <= ids.max(initial=0) <= len(NAMES)
    assert expected is None or np.array_equal(ids, BOX * expected["label"]), "other ids"


def _video_files(folder: str) -> dict[str, bytes | None]:
    frame, silence = picture_bytes("jpg", "RGB"), wav_bytes(np.zeros(32000, "<i2"))
    files = {"frames/0.jpg": frame, "frames/1.jpg": frame, "audio.wav": silence}
    files["labels_rgb/0.png"] = label_bytes("colors", 1)
    return {f"{folder}/{name}": content for name, content in files.items()}


LEFT_BEHIND = ("frames/._0.jpg", "frames/Thumbs.db", "frames/.DS_Store", "frames/0.jpg.tmp",
               "audio.txt", "audio.json", "audio.wav.md5", "._audio.wav")  # fmt: skip


@st.composite
def folders(draw: Callable) -> Case:
    """A folder for `load_folder`, with a file that other programs leave, or a strange one."""
    files, rate, expected = _video_files("data/v"), draw(st.sampled_from([0.5, 1, 25])), ANY
    match draw(st.sampled_from(["extra", "rate", "frame", "label", "audio", "gone"])):
        case "extra":
            files["data/v/" + draw(st.sampled_from(LEFT_BEHIND))] = b"\0\5\x16\7"
            files["data/notes/"], expected = b"", {"times": [0.0, 1 / rate]}
        case "rate":
            rate, expected = draw(st.sampled_from([0, -1.0, float("inf"), float("nan")])), REFUSED
        case "frame":
            files["data/v/frames/1.jpg"] = next(iter(draw(pictures()).files.values()))
        case "label":
            files["data/v/labels_rgb/0.png"] = draw(label_images()).files["l.png"]
        case "audio":
            del files["data/v/audio.wav"]
            path, content = next(iter(draw(audio_files()).files.items()))
            files["data/v/audio" + path[1:]], expected = content, {"times": [0.0, 1 / rate]}
        case "gone":
            files[draw(st.sampled_from(sorted(files)))] = draw(st.none() | st.just(b""))
    return Case(files, {"rate": rate, "training": draw(st.booleans())}, expected)


def check_folder(expected: dict[str, Any] | None, rate: float, training: bool) -> None:
    for record in load_folder("data", NAMES, rate, training):
        _check_record(record)
        assert len(record["file_names"]) <= 2, "a file that is no frame"
        if expected is not None:
            assert np.allclose(record["times"], expected["times"]) and record["names"] == ["dog"]
            assert Path(record["audio_file"]).suffix not in (".txt", ".json", ".md5")


@st.composite
def trees(draw: Callable) -> Case:
    """A video of AVSBench-semantic with a strange or damaged file; it never stops the check."""
    files = _video_files("v2/v")
    path = draw(st.sampled_from(sorted(files)))
    strange = audio_files() if path.endswith("wav") else pictures()
    content = next(iter(draw(strange.flatmap(maybe_damaged)).files.values()))
    return Case({**files, path: content}, {}, {})


def check_tree(expected: dict[str, Any] | None) -> None:
    scan = scan_video(".", VideoInfo("v", "v2", "train", ("dog",)), NAMES)
    assert scan.problems, "frames 2 to 9 are missing"
    assert scan.video is None or scan.video["length"] in (1, 2)


@st.composite
def metadata(draw: Callable) -> Case:
    """metadata.csv and label2idx.json, in any order of columns, changed or damaged."""
    row = {"vid": "a", "uid": "a_0", "s_min": "0", "s_sec": "5", "a_obj": "dog_red car"}
    row |= {"split": draw(st.sampled_from(["train", "val", "test"])), "label": "v1m"}
    ids = {"background": 0} | {name: i for i, name in enumerate(NAMES, start=1)}
    names, expected, encoding, separator = to_json(ids), {"split": row["split"]}, "utf-8-sig", ","
    if draw(st.booleans()):
        row[draw(st.sampled_from(sorted(row)))] = draw(st.text(max_size=9))
        names, expected = draw(odd_json(ids).map(to_json) | st.sampled_from(NO_LISTS)), ANY
        encoding = draw(st.sampled_from(["utf-8", "utf-16", "latin-1"]))
        separator = draw(st.sampled_from(",;\t"))
    columns = draw(st.permutations(sorted(row)))
    text = "\r\n".join([separator.join(columns), separator.join(row[c] for c in columns)])
    files = {"metadata.csv": text.encode(encoding, "replace"), "label2idx.json": names}
    return draw(maybe_damaged(Case(files, {}, expected)))


def check_metadata(expected: dict[str, Any] | None) -> None:
    videos, names = read_metadata(".")
    assert len({video.uid for video in videos}) == len(videos)
    assert all(isinstance(name, str) and name for name in names), f"names {names}"
    if expected is not None:
        assert list(names) == NAMES
        assert videos == [VideoInfo("a_0", "v1m", expected["split"], ("dog", "red car"))]


KINDS = {
    "mask": Kind(masks(), check_mask),
    "list": Kind(lists(), check_list),
    "label map": Kind(label_images(), check_label_map),
    "folder": Kind(folders(), check_folder),
    "tree": Kind(trees(), check_tree),
    "metadata": Kind(metadata(), check_metadata),
}
