"""The segmenter's results: sounding objects of a frame, and when each name sounds.

Shape letters: H W pixels of a frame.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segment:
    """A sounding object in a frame.

    Attributes:
        name: of its class.
        score: 0 to 1.
        mask: bool (H, W); the masks of a frame do not overlap.
    """

    name: str
    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class FrameResult:
    """The sounding objects of a frame.

    Attributes:
        index: of the frame among the segmented ones, from 0.
        time: seconds since the first frame.
        image: uint8 (H, W, 3) RGB.
        names: the vocabulary, one name per class.
        label_map: int32 (H, W): 0 is background, k the k-th name.
        segments: the objects, best first.
    """

    index: int
    time: float
    image: np.ndarray
    names: tuple[str, ...]
    label_map: np.ndarray
    segments: tuple[Segment, ...]

    def scores(self) -> dict[str, float]:
        """The best score of each sounding name, best first."""
        best: dict[str, float] = {}
        for segment in self.segments:
            best[segment.name] = max(segment.score, best.get(segment.name, 0.0))
        return best


@dataclass
class Span:
    """A name sounds from `start` to `end` (seconds) with this mean score."""

    name: str
    start: float
    end: float
    score: float


class Timeline:
    """The time spans in which each name sounds.

    Attributes:
        step: seconds that a result is valid for.
        end: of the last result, in seconds.
        spans: in the order of their starts.
    """

    def __init__(self, step: float):
        self.step = step
        self.end = 0.0
        self.spans: list[Span] = []
        self._open: dict[str, tuple[Span, int]] = {}  # with the number of results

    def add(self, result: FrameResult) -> None:
        """Add the next result."""
        self.end = result.time + self.step
        scores, previous = result.scores(), self._open
        self._open = {}
        for name, score in scores.items():
            if name in previous:
                span, count = previous[name]
            else:
                span, count = Span(name, result.time, self.end, score), 0
                self.spans.append(span)
            span.score += (score - span.score) / (count + 1)
            span.end = self.end
            self._open[name] = (span, count + 1)
