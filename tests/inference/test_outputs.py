"""What programs read: label maps, YouTube-VIS JSON, the contact sheet, the strip."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.inference.contact_sheet import MOST_FRAMES, ContactSheet, clock
from ovavss_d2.inference.outputs import LabelMaps, VisJson
from ovavss_d2.inference.painter import colors_of
from ovavss_d2.inference.results import FrameResult, Segment, Span, Timeline
from ovavss_d2.inference.timeline_strip import Strip, waveform

NAMES = ("cat|kitten", "dog")
SIZE = (20, 30)


def make_result(index, step=0.5, **scores):
    """A frame with some of the names, each on columns of its own."""
    label_map, segments = np.zeros(SIZE, np.int32), []
    for name, score in scores.items():
        k = ("cat", "dog").index(name) + 1
        mask = np.zeros(SIZE, bool)
        mask[:, 10 * k - 5 : 10 * k + index] = True
        label_map[mask] = k
        segments.append(Segment(name, score, mask))
    image = np.full((*SIZE, 3), 100, np.uint8)
    return FrameResult(index, index * step, image, ("cat", "dog"), label_map, tuple(segments))


RESULTS = [
    make_result(0, cat=0.5),
    make_result(1, cat=0.7, dog=0.4),
    make_result(2),
    make_result(3, cat=0.9),
]


def test_label_maps_are_indexed_in_the_colours_of_the_names(tmp_path):
    maps = LabelMaps(tmp_path / "labels", NAMES)
    for result in RESULTS:
        maps.add(result)
    assert [path.name for path in sorted((tmp_path / "labels").iterdir())][-1] == "000003.png"
    image = Image.open(tmp_path / "labels" / "000001.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.array(image), RESULTS[1].label_map)
    colors = np.array(image.convert("RGB"))
    assert tuple(colors[0, 6]) == colors_of(("cat", "dog"))["cat"] and not colors[0, 0].any()


def test_label_maps_of_many_names_have_16_bits(tmp_path):
    maps = LabelMaps(tmp_path / "labels", [str(i) for i in range(300)])
    result = make_result(0, cat=0.5)
    result.label_map[0, 0] = 299
    maps.add(result)
    image = np.array(Image.open(tmp_path / "labels" / "000000.png"))
    assert image[0, 0] == 299


def write_json(tmp_path, results=RESULTS):
    writer = VisJson(tmp_path / "a.json", video="a.mp4", names=NAMES, fps=2)
    for result in results:
        writer.add(result)
    writer.finish()
    return json.loads((tmp_path / "a.json").read_text())


def test_json_is_youtube_vis_and_pycocotools_reads_its_masks(tmp_path):
    content = write_json(tmp_path)
    assert content["categories"][0] == {"id": 1, "name": "cat", "synonyms": ["kitten"]}
    (video,) = content["videos"]
    assert (video["length"], video["height"], video["width"]) == (4, *SIZE)
    assert video["times"] == [0, 0.5, 1, 1.5]
    cat, dog = content["annotations"]
    assert cat["scores"] == [0.5, 0.7, None, 0.9] and dog["scores"] == [None, 0.4, None, None]
    for annotation in (cat, dog):
        assert len(annotation["segmentations"]) == len(annotation["bboxes"]) == 4
        for result, code, area in zip(
            RESULTS, annotation["segmentations"], annotation["areas"], strict=True
        ):
            truth = result.label_map == annotation["category_id"]
            mask = np.zeros(SIZE, bool) if code is None else rle.decode(code).astype(bool)
            np.testing.assert_array_equal(mask, truth)
            assert (area or 0) == truth.sum()
    assert dog["bboxes"][1] == [15, 0, 6, 20]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells open files")
def test_json_of_many_names_needs_one_open_file_until_it_is_written(tmp_path):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    names = tuple(f"thing {i}" for i in range(30))
    label_map = np.tile(np.arange(1, 31, dtype=np.int32), (4, 1))
    segments = tuple(Segment(n, 0.5, label_map == i) for i, n in enumerate(names, start=1))
    before = open_files()
    writer = VisJson(tmp_path / "a.json", video="a.mp4", names=names, fps=1)
    writer.add(FrameResult(0, 0.0, np.zeros((4, 30, 3), np.uint8), names, label_map, segments))
    assert open_files() <= before + 1
    writer.finish()
    assert open_files() <= before
    assert len(json.loads((tmp_path / "a.json").read_text())["annotations"]) == 30


def test_json_tells_from_when_to_when(tmp_path):
    spans = [
        (s["name"], s["start"], s["end"], s["score"]) for s in write_json(tmp_path)["sounding"]
    ]
    assert spans == [("cat", 0, 1, 0.6), ("dog", 0.5, 1, 0.4), ("cat", 1.5, 2, 0.9)]


def test_json_of_silence_and_of_nothing_is_whole(tmp_path):
    assert write_json(tmp_path, RESULTS[2:3])["annotations"] == []
    assert write_json(tmp_path, [])["videos"][0]["length"] == 0


def test_a_timeline_grows_by_the_changes():
    timeline = Timeline(1.0)
    for i in range(1000):
        timeline.add(make_result(i, 1.0, cat=0.5))
    assert timeline.spans == [Span("cat", 0.0, 1000.0, 0.5)]


@pytest.mark.parametrize("count", [1, 5, 12, 13, 100, 1001])
def test_a_contact_sheet_keeps_evenly_spaced_frames(tmp_path, count):
    sheet = ContactSheet(tmp_path / "a.jpg", colors=colors_of(("cat", "dog")))
    for i in range(count):
        sheet.add(float(i), np.full((*SIZE, 3), 100, np.uint8))
    times = [time for time, _ in sheet._kept]
    assert times[0] == 0 and len(times) <= MOST_FRAMES
    assert len(times) > min(count, MOST_FRAMES) / 2 - 1
    assert len(set(np.diff(times))) <= 1
    sheet.end = count
    sheet.write([Span("cat", 0, 1, 0.5)] if count > 1 else [])
    assert Image.open(tmp_path / "a.jpg").size[0] >= 640


def test_clocks_are_written_as_people_do():
    assert [clock(t) for t in (0, 7.25, 59.9, 60, 125, 3600)] == [
        "0 s", "7.25 s", "59.9 s", "1:00", "2:05", "1:00:00"
    ]  # fmt: skip


def test_a_waveform_is_as_high_as_it_is_loud():
    sound = np.zeros(1600, np.float32)
    sound[800:1200] = 1
    drawn = waveform(sound, 40, 15).sum(axis=0)
    assert (drawn[:19] <= 1).all() and (drawn[21:29] == 15).all() and (drawn[31:] <= 1).all()
    assert waveform(np.zeros(0, np.float32), 8, 5).shape == (5, 8)


def test_the_strip_shows_what_has_sounded_so_far_at_its_time():
    colors = {"cat": (255, 0, 0), "dog": (0, 255, 0)}
    strip = Strip(sound=iter([np.ones(160000, np.float32)]), duration=10, colors=colors)
    for i in range(50):
        image = np.full((240, 400, 3), 100, np.uint8)
        strip.draw(image, i / 10, ["cat"] if i < 20 else ["dog"])
    assert (image[:190] == 100).all()
    red = np.flatnonzero((image == colors["cat"]).all(axis=2).any(axis=0))
    green = np.flatnonzero((image == colors["dog"]).all(axis=2).any(axis=0))
    assert (red.min(), red.max()) == (0, pytest.approx(80, abs=5))
    assert (green.min(), green.max()) == (pytest.approx(80, abs=5), pytest.approx(196, abs=5))


def test_a_long_video_has_a_strip_a_minute_and_a_low_frame_none():
    read = []
    sound = (read.append(i) or np.ones(16000, np.float32) for i in range(600))
    strip = Strip(sound=sound, duration=600, colors={"cat": (255, 0, 0)})
    strip.draw(np.zeros((200, 100, 3), np.uint8), 1.0, ["cat"])
    assert len(read) == 60
    later = np.zeros((200, 100, 3), np.uint8)
    strip.draw(later, 125.0, [])
    assert len(read) == 180
    assert not (later == (255, 0, 0)).all(axis=2).any()
    low = np.full((60, 100, 3), 9, np.uint8)
    strip.draw(low, 126.0, ["cat"])
    assert (low == 9).all()
