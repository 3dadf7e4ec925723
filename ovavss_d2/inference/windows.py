"""Overlapping windows over a stream of frames, merged so that nothing jumps at their borders.

A model looks at T frames together and gives each object one name in all of them. Where two windows
overlap, objects keep the names that they have (`names.py`), and both windows speak for a frame,
each with a weight that falls towards its ends: a pixel takes the name with the most weighted score.

Shape letters: T frames of a window, H W pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ovavss_d2.inference.names import NameKeeper
from ovavss_d2.inference.results import FrameResult, Segment
from ovavss_d2.media.audio_stream import HeardFrame
from ovavss_d2.vocabulary import display_name

_CRUMB = 0.2  # a piece smaller than this part of its mask goes to the object beside it


def overlapping_windows(
    frames: Iterable[HeardFrame], size: int, overlap: int
) -> Iterator[tuple[int, list[HeardFrame]]]:
    """Cut a stream into windows of `size` frames that share `overlap` with the one before.

    The last window reaches back so that it is as long as the others. Memory holds one window.

    Yields:
        How many of a window's frames are new, and the window.
    """
    recent: deque[HeardFrame] = deque(maxlen=size)
    new = 0
    due = size
    for frame in frames:
        recent.append(frame)
        new += 1
        if new == due:
            yield new, list(recent)
            new, due = 0, size - overlap
    if new:
        yield new, list(recent)


@dataclass
class _Vote:
    """What one window says about one frame."""

    weight: float
    segments: list[tuple[int, Segment]]  # with labels, best first


@dataclass
class _Pending:
    frame: HeardFrame
    votes: list[_Vote] = field(default_factory=list)


class WindowMerger:
    """Puts the outputs of overlapping windows together, frame after frame."""

    def __init__(self, *, overlap: int, threshold: float):
        """
        Args:
            overlap: frames that a window shares with the next one.
            threshold: of the scores that are painted.
        """
        self.overlap = overlap
        self.threshold = threshold
        self._keeper = NameKeeper(overlap)
        self._pending: list[_Pending] = []
        self._done = 0

    def add(self, new: int, window: list[HeardFrame], output: dict) -> Iterator[FrameResult]:
        """Take the model's output for a window; its last `overlap` frames wait for the next one.

        Args:
            new: how many of its frames are new.
            window: its frames.
            output: with "label_map" (T, H, W), "names" and "segments", as `OVAVSS` gives it.
        """
        self._pending += [_Pending(frame) for frame in window[len(window) - new :]]
        votes = _votes_of(self._settled(new, output), len(window))
        for pending, vote in zip(self._pending[::-1], votes[::-1], strict=False):
            pending.votes.append(vote)
        ready = max(len(self._pending) - self.overlap, 0)
        yield from self._finish(ready, output["names"])

    def _settled(self, new: int, output: dict) -> dict:
        """The output with the names that its objects keep."""
        segments = [
            {**segment, "masks": segment["masks"].cpu().numpy()} for segment in output["segments"]
        ]
        labels = self._keeper.settle(
            new,
            [segment["label"] for segment in segments],
            [segment["score"] for segment in segments],
            [segment["masks"] for segment in segments],
        )
        for segment, label in zip(segments, labels, strict=True):
            segment |= {"label": label, "name": output["names"][label - 1]}
        return {**output, "segments": segments}

    def flush(self, names: tuple[str, ...]) -> Iterator[FrameResult]:
        """Give the last frames."""
        yield from self._finish(len(self._pending), names)

    def _finish(self, count: int, names: tuple[str, ...]) -> Iterator[FrameResult]:
        ready, self._pending = self._pending[:count], self._pending[count:]
        for pending in ready:
            size = pending.frame.image.shape[:2]
            label_map, segments = _merge(pending.votes, size, self.threshold)
            yield FrameResult(
                index=self._done,
                time=pending.frame.time,
                image=pending.frame.image,
                names=tuple(map(display_name, names)),
                label_map=label_map,
                segments=segments,
            )
            self._done += 1


def _votes_of(output: dict, length: int) -> list[_Vote]:
    """What an output says about each frame of its window; a pixel belongs to the best segment."""
    painted = output["label_map"].cpu().numpy() > 0
    votes = []
    for place in range(length):
        free = painted[place]
        found = []
        for segment in output["segments"]:
            mask = segment["masks"][place] & free
            if mask.any():
                free = free & ~mask
                name = display_name(segment["name"])
                found.append((segment["label"], Segment(name, float(segment["score"]), mask)))
        votes.append(_Vote(min(place + 1, length - place), found))
    return votes


def _merge(
    votes: list[_Vote], size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """A frame's label map (H, W) and segments."""
    labels = sorted({label for vote in votes for label, _ in vote.segments})
    label_map = np.zeros(size, np.int32)
    if not labels:
        return label_map, ()
    total = sum(vote.weight for vote in votes)
    evidence = np.zeros((len(labels), *size), np.float32)
    for vote in votes:
        for label, segment in vote.segments:
            share = segment.score * vote.weight / total
            evidence[labels.index(label)][segment.mask] += share
    # A window that paints nothing on a pixel counts as 0 though its scores may be just below the
    # threshold: half of it on average is the fair bar.
    bar = threshold if len(votes) == 1 else threshold / 2
    painted = evidence.max(0) > bar
    label_map[painted] = np.asarray(labels, np.int32)[evidence.argmax(0)[painted]]
    return label_map, _segments(votes, label_map)


def _segments(votes: list[_Vote], label_map: np.ndarray) -> tuple[Segment, ...]:
    """Share the painted pixels out among the objects of the windows, heaviest window first."""
    free = label_map > 0
    found: list[tuple[int, Segment]] = []
    for vote in sorted(votes, key=lambda vote: -vote.weight):
        for label, segment in vote.segments:
            mask = segment.mask & free & (label_map == label)
            if not mask.any():
                continue
            free &= ~mask
            beside = next((i for i, (other, _) in enumerate(found) if other == label), None)
            if beside is not None and mask.sum() < _CRUMB * segment.mask.sum():
                mask |= found[beside][1].mask
                found[beside] = (label, Segment(segment.name, found[beside][1].score, mask))
            else:
                found.append((label, Segment(segment.name, segment.score, mask)))
    return tuple(sorted((segment for _, segment in found), key=lambda segment: -segment.score))
