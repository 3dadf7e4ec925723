"""Runs a function over many items in several processes, with a progress bar."""

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import cv2
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str, unit: str
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Processes are spawned, because a fork of a process with threads (torch, OpenCV) can hang.

    Args:
        function: can be pickled, and so can its results.
        items: what to process.
        workers: processes; with 0 or 1, this process does the work.
        title: of the progress bar.
        unit: name of an item in the progress bar.
    """
    progress = functools.partial(tqdm, total=len(items), desc=title, unit=unit, disable=None)
    if workers <= 1:
        yield from progress(map(function, items))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=_use_one_thread) as pool:
        yield from progress(pool.imap(function, items, chunksize=16))


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
