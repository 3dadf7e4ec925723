"""What comes out of the segmenter: what sounds in a frame, and from when to when.

Shape letters: H W pixels of a frame.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segment:
    """A sounding object in one frame.

    Attributes:
        name: what it is.
        score: 0 to 1.
        mask: bool (H, W), the pixels that it is painted on; no pixel belongs to two segments.
    """

    name: str
    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class FrameResult:
    """What sounds in one frame.

    Attributes:
        index: its place among the segmented frames, from 0.
        time: seconds since the first frame.
        image: uint8 (H, W, 3) RGB.
        names: the vocabulary, one name a class.
        label_map: int32 (H, W): 0 background, k the k-th of `names`.
        segments: the objects, best first.
    """

    index: int
    time: float
    image: np.ndarray
    names: tuple[str, ...]
    label_map: np.ndarray
    segments: tuple[Segment, ...]

    def scores(self) -> dict[str, float]:
        """The best score of every name that sounds, best first."""
        best: dict[str, float] = {}
        for segment in self.segments:
            best[segment.name] = max(segment.score, best.get(segment.name, 0.0))
        return best


@dataclass
class Span:
    """A name sounds from `start` to `end`, in seconds, with this mean score."""

    name: str
    start: float
    end: float
    score: float


class Timeline:
    """What sounded when, as spans of time; it grows by the changes, not by the frames."""

    def __init__(self, step: float):
        """
        Args:
            step: seconds for which a result holds.
        """
        self.step = step
        self.spans: list[Span] = []
        self._open: dict[str, tuple[Span, int]] = {}

    def add(self, result: FrameResult) -> None:
        """Note the next result."""
        scores = result.scores()
        for name in list(self._open):
            if name not in scores:
                del self._open[name]
        for name, score in scores.items():
            span, count = self._open.get(name, (None, 0))
            if span is None:
                span = Span(name, result.time, result.time, score)
                self.spans.append(span)
            span.score += (score - span.score) / (count + 1)
            span.end = result.time + self.step
            self._open[name] = (span, count + 1)
