"""Background threads: order, bounds, errors, and no thread left at the end."""

import threading
from contextlib import closing

import pytest

from ovavss_d2.inference.prefetch import background_calls, prefetch


def test_items_come_in_order_and_few_are_computed_in_advance():
    made = []
    items = prefetch((made.append(i) or i for i in range(100)), 3)
    for i in items:
        assert made == sorted(made) and len(made) <= i + 6
    assert made == list(range(100))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("broken")

    found = prefetch(items(), 2)
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

    with closing(prefetch(prefetch(items(), 2), 2)) as found:
        next(found)
    assert closed == [True] and threading.active_count() == before


def test_calls_run_in_order_and_are_finished():
    done = []
    with background_calls(lambda a, b: done.append(a + b), size=2) as call:
        for i in range(50):
            call(i, 1)
    assert done == list(range(1, 51))


def test_the_error_of_a_call_is_raised_by_a_later_one_or_at_the_end():
    def fail(i):
        if i == 3:
            raise OSError("full")

    with pytest.raises(OSError, match="full"), background_calls(fail, size=1) as call:
        for i in range(1000):
            call(i)
    with pytest.raises(OSError, match="full"), background_calls(fail, size=9) as call:
        call(3)


def test_an_error_in_the_block_drops_the_waiting_calls():
    done, gate, before = [], threading.Event(), threading.active_count()
    with (
        pytest.raises(KeyError),
        background_calls(lambda i: gate.wait() and done.append(i), size=5) as call,
    ):
        for i in range(4):
            call(i)
        gate.set()
        raise KeyError
    assert len(done) <= 4 and threading.active_count() == before
