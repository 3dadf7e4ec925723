"""Times of frames and packets, on a clock that continues when the file's clock restarts."""

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

import av

_OVERLAP = 1.0  # seconds that a clock may step back; more is a restart
_GAP = 3600.0  # seconds that a clock may step forward

Part = TypeVar("Part", bound=av.VideoFrame | av.AudioFrame | av.Packet)


def timed(
    parts: Iterable[Part], start: float = 0.0, seconds: float = 0.0
) -> Iterator[tuple[float, Part]]:
    """Pair a stream's frames or packets with their times in seconds.

    The times are the file's. Where its clock restarts or jumps, as in joined recordings, a part
    follows the one before it. In an overlap of joined recordings, times step back.

    Args:
        parts: in the order in which they are presented.
        start: time of the first part if it has none.
        seconds: duration of a part that states none.
    """
    last, end, shift, overlap = start, start, 0.0, math.inf
    for part in parts:
        time = end
        if part.pts is not None and part.time_base is not None:
            stated = float(part.pts * part.time_base)
            shifts = (s for s in (0.0, shift) if -overlap <= stated + s - last <= _GAP)
            shift = next(shifts, end - stated)
            time = stated + shift
        yield time, part
        last, end, overlap = time, time + (_duration(part) or seconds), _OVERLAP


def _duration(part: av.VideoFrame | av.AudioFrame | av.Packet) -> float:
    if isinstance(part, av.AudioFrame):
        return part.samples / part.sample_rate
    return float((part.duration or 0) * (part.time_base or 0))
