"""Cutting a video into the windows of frames that the model processes together."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def split_windows(items: Iterable[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    """Split a stream into disjoint windows, with one window in memory.

    If the number of items is not a multiple of `size`, the last window starts early enough to be
    full: its first items belong to the window before, and only the others are new. A stream shorter
    than a window gives one short window.

    Args:
        items: frames, or indices of frames.
        size: items per window.

    Yields:
        The number of new items, which are the last ones of the window; and the window.
    """
    recent: deque[Item] = deque(maxlen=size)
    new = 0
    for item in items:
        recent.append(item)
        new += 1
        if new == size:
            yield new, list(recent)
            new = 0
    if new:
        yield new, list(recent)
