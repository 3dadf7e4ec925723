"""Running an iterator or a function in a background thread.

Decoding, the model and encoding release Python's lock while they work, so threads run them at the
same time.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
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


class BackgroundCalls:
    """Calls a function in a background thread, in the order in which its arguments are put.

    with BackgroundCalls(write_frame, size=8) as calls:
        calls.put(frame)
    """

    def __init__(self, function: Callable[..., None], size: int):
        """
        Args:
            function: called with the arguments of `put`.
            size: calls that may wait; `put` blocks if there are more.
        """
        self._function = function
        self._size = size
        self._waiting: deque[Future] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> "BackgroundCalls":
        return self

    def put(self, *arguments: object) -> None:
        """Add a call; the error of an earlier call is raised here or at the end of the block."""
        while len(self._waiting) >= self._size or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._function, *arguments))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the waiting calls; after an error in the block, drop them."""
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            for future in self._waiting:
                future.result()
