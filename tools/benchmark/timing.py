"""Fair timing: variants take turns, so that a busy machine slows all of them alike."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from ovavss_d2.modeling.ops.fast_linear import linear

MIB = 2**20
Result = TypeVar("Result")


@dataclass
class Timing:
    """Seconds of one variant, run by run."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Range over median: 0 on a quiet machine."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def measure(
    variants: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 3,
    warm_up: int = 1,
    seconds: float = float("inf"),
) -> dict[str, Timing]:
    """Time callables in turn; each round starts with another one.

    Args:
        variants: what to run, by name.
        repeats: timed rounds.
        warm_up: rounds before them.
        seconds: no further round is started after this time; at least one is timed.
    """
    names = list(variants)
    timings = {name: Timing() for name in names}
    for _ in range(warm_up):
        for name in names:
            variants[name]()
    end = time.perf_counter() + seconds
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            timings[name].seconds.append(timed(variants[name])[0])
        if time.perf_counter() > end:
            break
    return timings


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that a call takes, a GPU's work included, and what it returns."""
    synchronise()
    start = time.perf_counter()
    result = run()
    synchronise()
    return time.perf_counter() - start, result


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class PeakMemory:
    """Most memory in use during a `with` block, in MiB.

    Attributes:
        host: of the process; where the system cannot start anew (other than Linux), of its life.
        gpu: of PyTorch's tensors, None without a GPU.
    """

    def __enter__(self):
        self.host, self.gpu = 0.0, None
        gc.collect()
        with suppress(OSError, AttributeError):  # glibc alone: what is free goes back to the system
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # then the peak is that of the process's life
            Path("/proc/self/clear_refs").write_text("5")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_):
        self.host = _peak_of_process()
        if torch.cuda.is_available():
            self.gpu = torch.cuda.max_memory_allocated() / MIB


def _peak_of_process() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict:
    """What the figures depend on, and how busy the machine was when they began."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the code that runs, with "+" where it has been changed since."""
    here = Path(__file__).parent
    said = {}
    asked = {"number": ["rev-parse", "--short", "HEAD"], "changes": ["diff", "HEAD"]}
    try:
        for key, command in asked.items():
            done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True)
            said[key] = done.stdout.strip() if done.returncode == 0 else ""
    except OSError:  # no git
        return "unknown"
    return said["number"] + ("+" if said["changes"] else "") or "unknown"


def matmul_peak(size: int | None = None, seconds: float = 1.0) -> float:
    """Operations per second of a large float32 matrix product here: what a stage could reach."""
    device, large = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 1024)
    size = size or large
    a = torch.randn(size, size, device=device)
    timing = measure({"product": lambda: linear(a, a)}, repeats=200, warm_up=2, seconds=seconds)
    return 2 * size**3 / timing["product"].median
