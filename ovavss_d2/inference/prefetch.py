"""Working ahead: an iterator that runs in a thread of its own.

Decoding, the model and encoding all leave Python while they work, so that threads let them overlap.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield the items of an iterable that runs up to `size` of them ahead in a thread.

    Its error is raised here, after the items before it. When this iterator is closed or dropped,
    the thread ends.
    """
    waiting: queue.Queue = queue.Queue(maxsize=size)
    closed = threading.Event()
    thread = threading.Thread(target=_produce, args=(items, waiting, closed), daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        closed.set()
        _drain(waiting)
        thread.join()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


def _produce(items: Iterable, waiting: queue.Queue, closed: threading.Event) -> None:
    iterator = iter(items)
    try:
        for item in iterator:
            if not _put(waiting, item, closed):
                return
    except BaseException as error:  # handed over, whatever it is
        _put(waiting, _Failure(error), closed)
    finally:
        if hasattr(iterator, "close"):
            iterator.close()  # in the thread that ran it
        _put(waiting, _END, closed)


def _put(waiting: queue.Queue, item: object, closed: threading.Event) -> bool:
    while not closed.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _drain(waiting: queue.Queue) -> None:
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        return


class Worker:
    """Runs a function on items in the order in which they are put, in a thread.

    with Worker(write_frame, size=8) as worker:
        worker.put(frame)
    """

    def __init__(self, function: Callable[..., None], size: int):
        """
        Args:
            function: called with what `put` gets.
            size: items that may wait.
        """
        self._function = function
        self._waiting: queue.Queue = queue.Queue(maxsize=size)
        self._error: BaseException | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Worker":
        self._thread.start()
        return self

    def put(self, *arguments) -> None:
        """Hand over arguments; an error of an earlier call is raised here or at the end."""
        while self._error is None and not _put_once(self._waiting, arguments):
            pass
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (arguments := self._waiting.get()) is not _END:
            if self._closed.is_set():
                continue
            try:
                self._function(*arguments)
            except BaseException as error:  # raised again where the items come from
                self._error = error
                return

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self._closed.set()
            _drain(self._waiting)
        while self._thread.is_alive() and not _put_once(self._waiting, _END):
            pass
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error


def _put_once(waiting: queue.Queue, item: object) -> bool:
    try:
        waiting.put(item, timeout=0.1)
    except queue.Full:
        return False
    return True
