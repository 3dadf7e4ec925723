"""Timing of functions that take turns, so that a busy machine slows all of them equally."""

import ctypes
import gc
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

MIB = 2**20
Result = TypeVar("Result")


def measure(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 3,
    warm_up: int = 1,
    seconds: float = float("inf"),
) -> dict[str, float]:
    """Median seconds of functions that take turns; each round starts with another one.

    Args:
        functions: functions to run, by name.
        repeats: timed rounds.
        warm_up: rounds before them.
        seconds: no further round is started after this time; at least one is timed.
    """
    names = list(functions)
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(warm_up):
        for name in names:
            functions[name]()
    end = time.perf_counter() + seconds
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(timed(functions[name])[0])
        if time.perf_counter() > end:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that a call takes, including the GPU's work, and its result."""
    synchronize()
    start = time.perf_counter()
    result = function()
    synchronize()
    return time.perf_counter() - start, result


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class PeakMemory:
    """Peak memory during a `with` block, in MiB.

    Attributes:
        host: of the process; on other systems than Linux since its start.
        gpu: of PyTorch's tensors, None without a GPU.
    """

    host: float
    gpu: float | None

    def __enter__(self) -> "PeakMemory":
        self.host, self.gpu = 0.0, None
        gc.collect()
        with suppress(OSError, AttributeError):  # glibc: return free memory to the system
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # Linux: reset the peak
            Path("/proc/self/clear_refs").write_text("5")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        self.host = _peak_of_process()
        if torch.cuda.is_available():
            self.gpu = torch.cuda.max_memory_allocated() / MIB


def _peak_of_process() -> float:
    with suppress(OSError, StopIteration):
        return int(_line_of("/proc/self/status", "VmHWM").split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _line_of(path: str, key: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next(x.split(":", 1)[1].strip() for x in lines if x.startswith(key))


def machine() -> dict[str, Any]:
    """The machine, the versions, and the load when the measurement starts."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        processor = _line_of("/proc/cpuinfo", "model name")
    return {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "commit": commit(),
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """The commit of this code, with "+" if it was changed since; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    with suppress(OSError):
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() or "unknown"
    return "unknown"
