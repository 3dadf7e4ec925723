"""Timing in turn, memory and what is told about the machine."""

import numpy as np
import torch

from tools.benchmark.timing import PeakMemory, Timing, commit, machine, matmul_peak, measure


def test_variants_take_turns_and_each_round_starts_with_another():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = measure(runs, repeats=3, warm_up=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert all(len(timing.seconds) == 3 for timing in timings.values())


def test_one_round_is_timed_however_little_time_there_is():
    timings = measure({"a": lambda: None}, repeats=9, warm_up=0, seconds=0)
    assert len(timings["a"].seconds) == 1


def test_median_and_spread():
    timing = Timing([3.0, 1.0, 2.0])
    assert timing.median == 2 and timing.spread == 1


def test_the_peak_of_a_block_is_seen():
    with PeakMemory() as small:
        pass
    with PeakMemory() as large:
        np.ones(64 * 2**20 // 8).sum()
    assert large.host >= small.host + 32
    assert (large.gpu is None) == (not torch.cuda.is_available())


def test_the_machine_is_described():
    described = machine()
    assert described["cores"] >= 1 and described["torch"] == torch.__version__
    assert described["commit"] == commit() != ""
    assert matmul_peak(64, seconds=0.01) > 0
