"""Functions that take turns, peak memory, and the description of the machine."""

import numpy as np
import torch

from tools.benchmark import timing


def test_functions_take_turns_and_each_round_starts_with_another():
    order = []
    functions = {name: lambda name=name: order.append(name) for name in "abc"}
    medians = timing.measure(functions, repeats=3, warm_up=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert list(medians) == ["a", "b", "c"]


def test_the_median_of_the_timed_rounds_is_returned(monkeypatch):
    seconds = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(timing, "timed", lambda function: (next(seconds), None))
    assert timing.measure({"a": lambda: None}, repeats=3) == {"a": 2.0}


def test_one_round_is_timed_even_without_time():
    calls = []
    timing.measure({"a": lambda: calls.append(1)}, repeats=9, warm_up=0, seconds=0)
    assert len(calls) == 1


def test_the_peak_of_a_block_is_measured():
    with timing.PeakMemory() as small:
        pass
    with timing.PeakMemory() as large:
        np.ones(64 * 2**20 // 8).sum()
    assert large.host >= small.host + 32
    assert (large.gpu is None) == (not torch.cuda.is_available())


def test_the_machine_is_described():
    machine = timing.machine()
    assert machine["torch"] == torch.__version__ and machine["processor"]
    assert machine["commit"] == timing.commit() != ""
