"""Hooks that look at time and memory."""

import logging
import os
from collections.abc import Callable, Iterable

import torch
from detectron2.utils.file_io import PathManager

from .train_loop import HookBase, TrainerBase

logger = logging.getLogger(__name__)


class TorchProfiler(HookBase):
    """Runs `torch.profiler` in chosen steps; each writes a Chrome trace and a table to the output
    folder.

    Args:
        enable_predicate: takes the trainer and says, before each step, whether to profile it.
        output_dir: folder for the files.
        activities: see `torch.profiler.profile`.
        save_tensorboard: also write for TensorBoard, to `output_dir/log`.
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        activities: Iterable | None = None,
        save_tensorboard: bool = True,
    ):
        self._enable_predicate = enable_predicate
        self._activities = activities
        self._output_dir = output_dir
        self._save_tensorboard = save_tensorboard
        self._profiler = None

    def before_step(self) -> None:
        if self._enable_predicate(self.trainer):
            self._profiler = self._make_profiler()
            self._profiler.__enter__()

    def _make_profiler(self):
        on_ready = None
        if self._save_tensorboard:
            on_ready = torch.profiler.tensorboard_trace_handler(
                os.path.join(self._output_dir, "log", f"profiler-tensorboard-iter{self._step}"),
            )
        return torch.profiler.profile(
            activities=self._activities,
            on_trace_ready=on_ready,
            record_shapes=True,
            profile_memory=True,
            with_stack=True,
        )

    def after_step(self) -> None:
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        if not self._save_tensorboard:
            PathManager.mkdirs(self._output_dir)
            name = f"profiler-trace-iter{self._step}.json"
            profiler.export_chrome_trace(os.path.join(self._output_dir, name))
        logger.info("Profile of step %d:\n%s", self._step, _table(profiler))

    @property
    def _step(self) -> int:
        return self.trainer.iter


def _table(profiler) -> str:
    averages = (
        profiler.key_averages() if hasattr(profiler, "key_averages") else profiler.function_events
    )
    return averages.table(sort_by="cpu_time_total", row_limit=10)


class AutogradProfiler(TorchProfiler):
    """The same with the older `torch.autograd.profiler`, without TensorBoard.

    Args:
        enable_predicate: see `TorchProfiler`.
        output_dir: see `TorchProfiler`.
        use_cuda: also time what runs on the GPU, where there is one.
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        use_cuda: bool = True,
    ):
        super().__init__(enable_predicate, output_dir, save_tensorboard=False)
        self._use_cuda = use_cuda

    def _make_profiler(self):
        device = "cuda" if self._use_cuda and torch.cuda.is_available() else None
        return torch.autograd.profiler.profile(use_device=device)


class TorchMemoryStats(HookBase):
    """Logs CUDA's memory figures every `period` steps, `max_runs` times at the most; nothing
    without a GPU.
    """

    def __init__(self, period: int = 20, max_runs: int = 10):
        self._period = period
        self._max_runs = max_runs
        self._runs = 0

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period != 0 and done != self.trainer.max_iter:
            return
        if self._runs >= self._max_runs or not torch.cuda.is_available():
            return
        self._runs += 1
        figures = {
            "reserved": torch.cuda.memory_reserved(),
            "most reserved": torch.cuda.max_memory_reserved(),
            "allocated": torch.cuda.memory_allocated(),
            "most allocated": torch.cuda.max_memory_allocated(),
        }
        text = ", ".join(f"{name} {value / 2**20:.0f} MiB" for name, value in figures.items())
        logger.info("GPU memory at step %d: %s", self.trainer.iter, text)
        torch.cuda.reset_peak_memory_stats()
