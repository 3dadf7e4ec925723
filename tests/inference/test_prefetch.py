"""Threads that work ahead: order, bounds, errors, and an end without leftovers."""

import threading
from contextlib import closing

import pytest

from ovavss_d2.inference.prefetch import Worker, ahead


def test_items_come_in_order_and_no_more_are_made_than_wait():
    made = []
    items = ahead((made.append(i) or i for i in range(100)), 3)
    for i in items:
        assert made == sorted(made) and len(made) <= i + 6
    assert made == list(range(100))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("broken")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(KeyError, match="broken"):
        next(found)


def test_closing_ends_the_thread_and_closes_the_source():
    closed, before = [], threading.active_count()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    with closing(ahead(ahead(items(), 2), 2)) as found:
        next(found)
    assert closed == [True] and threading.active_count() == before


def test_a_worker_works_in_order_and_finishes():
    done = []
    with Worker(lambda a, b: done.append(a + b), size=2) as worker:
        for i in range(50):
            worker.put(i, 1)
    assert done == list(range(1, 51))


def test_a_workers_error_is_raised_where_its_items_come_from():
    def fail(i):
        if i == 3:
            raise OSError("full")

    with pytest.raises(OSError, match="full"), Worker(fail, size=1) as worker:
        for i in range(1000):
            worker.put(i)
    with pytest.raises(OSError, match="full"), Worker(fail, size=9) as worker:
        worker.put(3)


def test_an_error_around_a_worker_leaves_its_items_undone():
    done, gate = [], threading.Event()
    with (
        pytest.raises(KeyError),
        Worker(lambda i: gate.wait() and done.append(i), size=5) as worker,
    ):
        for i in range(4):
            worker.put(i)
        gate.set()
        raise KeyError
    assert len(done) <= 4 and not worker._thread.is_alive()
