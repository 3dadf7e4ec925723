"""The segmenter's results: sounding objects of a frame, and when each name sounds or is heard.

Shape letters: H W pixels of a frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Segment:
    """A sounding object in a frame."""

    name: str  # of its class
    score: float  # 0 to 1
    mask: np.ndarray  # bool (H, W); the masks of a frame do not overlap


@dataclass(frozen=True)
class FrameResult:
    """The sounding objects of a frame."""

    index: int  # among the segmented frames, from 0
    time: float  # seconds since the first frame
    image: np.ndarray  # uint8 (H, W, 3) RGB
    names: tuple[str, ...]  # the vocabulary, one name per class
    label_map: np.ndarray  # int32 (H, W): 0 is background, k the k-th name
    segments: tuple[Segment, ...]  # best first
    # names that are heard with a probability of at least 0.5, according to an audio classifier;
    # best first
    heard: Mapping[str, float] = field(default_factory=dict)

    def scores(self) -> dict[str, float]:
        """The best score of each sounding name, best first."""
        best: dict[str, float] = {}
        for segment in self.segments:
            best[segment.name] = max(segment.score, best.get(segment.name, 0.0))
        return best


@dataclass
class Span:
    """A name sounds, or is heard, from `start` to `end` (seconds) with this mean score."""

    name: str
    start: float
    end: float
    score: float


class Timeline:
    """The time spans of each name."""

    def __init__(self, step: float):
        self.step = step  # seconds that a result is valid for
        self.end = 0.0  # of the last result, in seconds
        self.spans: list[Span] = []  # in the order of their starts
        self._open: dict[str, tuple[Span, int]] = {}  # with the number of results

    def add(self, time: float, scores: Mapping[str, float]) -> None:
        """Add the names and scores of the next result."""
        self.end = time + self.step
        previous, self._open = self._open, {}
        for name, score in scores.items():
            if name not in previous:
                previous[name] = (Span(name, time, self.end, score), 0)
                self.spans.append(previous[name][0])
            span, count = previous[name]
            span.score += (score - span.score) / (count + 1)
            span.end = self.end
            self._open[name] = (span, count + 1)
