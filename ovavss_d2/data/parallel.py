"""Long work on many items: in several processes, with a progress bar."""

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import cv2
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, what: str, unit: str
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Processes are spawned, not forked: a fork of a process that has threads (torch's, OpenCV's)
    can hang.

    Args:
        function: can be pickled, and so can its results.
        items: what to work on.
        workers: processes; with one, the work is done in this process.
        what: label of the progress bar.
        unit: what an item is called there.
    """
    progress = functools.partial(tqdm, total=len(items), desc=what, unit=unit, disable=None)
    if workers <= 1:
        yield from progress(map(function, items))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=_use_one_thread) as pool:
        yield from progress(pool.imap(function, items, chunksize=16))


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
