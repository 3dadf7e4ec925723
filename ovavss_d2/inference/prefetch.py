"""Running an iterator or a function in a background thread.

Decoding, the model and encoding release Python's lock while they work, so threads run them at the
same time.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def prefetch(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield the items of an iterable, of which a thread computes up to `size` in advance.

    Its error is raised after the items before it. When this generator is closed or dropped, the
    iterator is closed and the thread ends.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, iterator, _END) for _ in range(size))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            if isinstance(iterator, Generator):
                thread.submit(iterator.close).result()


@contextmanager
def background_calls(
    function: Callable[..., None], size: int
) -> Generator[Callable[..., None], None, None]:
    """Call a function in a background thread, in order.

    with background_calls(writer.write, size=8) as write:
        write(frame)

    The calls are finished at the end of the block; after an error in it, waiting ones are dropped.
    The error of a call is raised by a later call or at the end of the block.

    Args:
        function: the function.
        size: calls that may wait; a call blocks while there are more.
    """
    waiting: deque[Future] = deque()
    thread = ThreadPoolExecutor(max_workers=1)

    def call(*arguments: object) -> None:
        while len(waiting) >= size or (waiting and waiting[0].done()):
            waiting.popleft().result()
        waiting.append(thread.submit(function, *arguments))

    try:
        yield call
        for future in waiting:
            future.result()
    finally:
        thread.shutdown(cancel_futures=True)
