"""Overlapping windows: every frame once, votes weighted, names kept."""

import numpy as np
import pytest
import torch

from ovavss_d2.inference.windows import WindowMerger, overlapping_windows
from ovavss_d2.media.audio_stream import HeardFrame

NAMES = ("cat|kitten", "dog")
SIZE = (8, 12)


def frames(count):
    silence = np.zeros(16000, np.float32)
    image = np.zeros((*SIZE, 3), np.uint8)
    return [HeardFrame(float(i), image, silence, True) for i in range(count)]


def output(length, *objects):
    """Of objects (label, score, columns): the label map and segments of a window."""
    label_map, segments = torch.zeros(length, *SIZE, dtype=torch.int32), []
    for label, score, columns in objects:
        masks = torch.zeros(length, *SIZE, dtype=torch.bool)
        masks[:, :, columns] = True
        label_map[masks & (label_map == 0)] = label
        found = {"name": NAMES[label - 1], "label": label, "score": score, "masks": masks}
        segments.append({"window": (0, length), **found})
    return {"label_map": label_map, "names": NAMES, "segments": segments}


def merge(count, outputs, overlap=2, size=5):
    merger = WindowMerger(overlap=overlap, threshold=0.3)
    results = []
    windows = overlapping_windows(frames(count), size, overlap)
    for (new, window), out in zip(windows, outputs, strict=True):
        results += merger.add(new, window, out)
    return results + list(merger.flush(NAMES))


@pytest.mark.parametrize("overlap", [0, 1, 2, 4])
@pytest.mark.parametrize("count", [1, 4, 5, 6, 8, 23])
def test_every_frame_is_new_once_and_windows_are_full(count, overlap):
    seen, sizes = [], set()
    for new, window in overlapping_windows(frames(count), 5, overlap):
        seen += [frame.time for frame in window[len(window) - new :]]
        sizes.add(len(window))
        assert [frame.time for frame in window] == list(range(int(window[0].time), len(seen)))
    assert seen == list(range(count))
    assert sizes == {min(count, 5)}


def test_a_window_is_read_only_as_needed():
    read = []
    source = (read.append(frame) or frame for frame in frames(50))
    next(overlapping_windows(source, 5, 2))
    assert len(read) == 5


@pytest.mark.parametrize("count", [1, 5, 8, 9])
def test_windows_that_agree_give_what_each_gives(count):
    windows = len(list(overlapping_windows(frames(count), 5, 2)))
    agreed = output(min(count, 5), (1, 0.9, slice(0, 4)), (2, 0.5, slice(2, 9)))
    results = merge(count, [agreed] * windows)
    assert [result.index for result in results] == list(range(count))
    for result in results:
        np.testing.assert_array_equal(result.label_map, agreed["label_map"][0])
        assert result.names == ("cat", "dog")
        assert [(s.name, s.score) for s in result.segments] == [("cat", 0.9), ("dog", 0.5)]
        assert sum(segment.mask.astype(int) for segment in result.segments).max() == 1


def test_an_object_keeps_its_name_through_a_window_that_sees_it_otherwise():
    cat = output(5, (1, 0.8, slice(0, 6)))
    dog = output(5, (2, 0.6, slice(0, 6)))
    results = merge(11, [cat, dog, cat])
    assert {s.name for result in results for s in result.segments} == {"cat"}
    changed = merge(14, [cat, dog, dog, dog])  # it gives way to windows that stay at it
    assert changed[-1].segments[0].name == "dog"


def test_another_object_has_a_name_of_its_own():
    results = merge(8, [output(5, (1, 0.8, slice(0, 4))), output(5, (2, 0.7, slice(6, 12)))])
    assert [s.name for s in results[0].segments] == ["cat"]
    assert [s.name for s in results[-1].segments] == ["dog"]


def test_the_nearer_window_counts_more():
    results = merge(8, [output(5, (1, 0.9, slice(0, 4))), output(5)])
    # Frames 3 and 4 are in both: 2 to 1 for the first window, then 1 to 2.
    assert [bool(r.segments) for r in results[:6]] == [True, True, True, True, True, False]
    weak = merge(8, [output(5, (1, 0.4, slice(0, 4))), output(5)])
    assert [bool(r.segments) for r in weak[:6]] == [True, True, True, True, False, False]


def test_crumbs_of_an_object_go_to_the_object_beside_them():
    first = output(5, (1, 0.8, slice(0, 10)))
    second = output(5, (1, 0.8, slice(1, 11)))
    for result in merge(8, [first, second]):
        assert len(result.segments) == 1
