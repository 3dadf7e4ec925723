"""Label maps, YouTube-VIS JSON, the contact sheet and the timeline strip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.inference.contact_sheet import MAX_FRAMES, ContactSheet, format_time
from ovavss_d2.inference.outputs import LabelMapWriter, YouTubeVISWriter
from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.results import FrameResult, Segment, Span, Timeline
from ovavss_d2.inference.timeline_strip import TimelineStrip, draw_waveform
from ovavss_d2.media.drawing import name_colors

NAMES = ("cat|kitten", "dog")
SIZE = (20, 30)


def make_result(index, step=0.5, **scores):
    """A frame with some of the names, each on different columns."""
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


def test_label_maps_are_indexed_in_the_colors_of_the_names(tmp_path):
    maps = LabelMapWriter(tmp_path / "labels", NAMES)
    for result in RESULTS:
        maps.add(result)
    assert [path.name for path in sorted((tmp_path / "labels").iterdir())][-1] == "000003.png"
    image = Image.open(tmp_path / "labels" / "000001.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.array(image), RESULTS[1].label_map)
    colors = np.array(image.convert("RGB"))
    assert tuple(colors[0, 6]) == name_colors(("cat", "dog"))["cat"] and not colors[0, 0].any()


def test_label_maps_of_many_names_have_16_bits(tmp_path):
    maps = LabelMapWriter(tmp_path / "labels", [str(i) for i in range(300)])
    result = make_result(0, cat=0.5)
    result.label_map[0, 0] = 299
    maps.add(result)
    assert np.array(Image.open(tmp_path / "labels" / "000000.png"))[0, 0] == 299


def write_json(tmp_path, results=RESULTS):
    writer = YouTubeVISWriter(tmp_path / "a.json", video="a.mp4", names=NAMES, fps=2)
    timeline = Timeline(0.5)
    for result in results:
        timeline.add(result.time, result.scores())
        writer.add(result)
    writer.finish(timeline)
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


def test_json_has_the_spans_of_each_name(tmp_path):
    spans = [tuple(span.values())[1:] for span in write_json(tmp_path)["sounding"]]
    assert spans == [("cat", 0, 1, 0.6), ("dog", 0.5, 1, 0.4), ("cat", 1.5, 2, 0.9)]


def test_json_of_silence_and_of_no_frame_is_complete(tmp_path):
    assert write_json(tmp_path, RESULTS[2:3])["annotations"] == []
    assert write_json(tmp_path, [])["videos"][0]["length"] == 0


def test_a_timeline_grows_with_changes_not_with_frames():
    timeline = Timeline(1.0)
    for i in range(1000):
        timeline.add(float(i), {"cat": 0.5})
    assert timeline.spans == [Span("cat", 0.0, 1000.0, 0.5)]


@pytest.mark.parametrize("count", [1, 5, 12, 13, 100, 1001])
def test_a_contact_sheet_keeps_evenly_spaced_frames(tmp_path, count):
    sheet, timeline = ContactSheet(tmp_path / "a.jpg", Painter(("cat", "dog"))), Timeline(1.0)
    for i in range(count):
        result = make_result(i % 4, 1.0, **({"cat": 0.5} if count > 1 else {}))
        result = replace(result, index=i, time=float(i))
        timeline.add(result.time, result.scores())
        sheet.add(result)
    times = [time for time, _ in sheet.kept]
    assert times[0] == 0 and len(times) <= MAX_FRAMES
    assert len(times) > min(count, MAX_FRAMES) / 2 - 1
    assert len(set(np.diff(times))) <= 1
    sheet.finish(timeline)
    assert Image.open(tmp_path / "a.jpg").size[0] >= 640


def test_times_are_formatted_for_people():
    assert [format_time(t) for t in (0, 7.25, 59.9, 60, 125, 3600)] == [
        "0 s", "7.25 s", "59.9 s", "1:00", "2:05", "1:00:00"
    ]  # fmt: skip


def test_a_waveform_is_as_high_as_it_is_loud():
    audio = np.zeros(1600, np.float32)
    audio[800:1200] = 1
    drawn = draw_waveform(audio, 40, 15).sum(axis=0)
    assert (drawn[:19] <= 1).all() and (drawn[21:29] == 15).all() and (drawn[31:] <= 1).all()
    assert draw_waveform(np.ones(1, np.float32), 8, 5).all()  # fewer samples than columns


def test_the_strip_has_a_bar_where_each_name_has_sounded_so_far():
    colors = {"cat": (255, 0, 0), "dog": (0, 255, 0)}
    strip = TimelineStrip(audio=[np.ones(16000, np.float32)] * 10, duration=10, colors=colors)
    for i in range(50):
        image = np.full((240, 400, 3), 100, np.uint8)
        strip.draw(image, i / 10, ["cat"] if i < 20 else ["dog"])
    assert (image[:190] == 100).all()
    for name, first, last in (("cat", 0, 80), ("dog", 80, 196)):
        columns = np.flatnonzero((image == colors[name]).all(axis=2).any(axis=0))
        assert [columns.min(), columns.max()] == pytest.approx([first, last], abs=5)


def test_a_long_video_has_one_strip_per_minute_and_a_small_frame_has_none():
    read = []
    audio = (read.append(i) or np.ones(16000, np.float32) for i in range(600))
    strip = TimelineStrip(audio=audio, duration=600, colors={"cat": (255, 0, 0)})
    strip.draw(np.zeros((200, 100, 3), np.uint8), 1.0, ["cat"])
    assert len(read) == 60
    later = np.zeros((200, 100, 3), np.uint8)
    strip.draw(later, 125.0, [])
    assert len(read) == 180
    assert not (later == (255, 0, 0)).all(axis=2).any()
    small = np.full((60, 100, 3), 9, np.uint8)
    strip.draw(small, 126.0, ["cat"])
    assert (small == 9).all()
