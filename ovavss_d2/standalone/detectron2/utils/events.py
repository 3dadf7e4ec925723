"""`EventStorage` collects the metrics of a run; writers send them to log, JSON and TensorBoard."""

import datetime
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from .file_io import PathManager

__all__ = [
    "get_event_storage",
    "has_event_storage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "CommonMetricPrinter",
    "EventStorage",
]

_open_storages: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the storage of the innermost `with EventStorage(...)` around the caller."""
    assert has_event_storage(), "get_event_storage() works only inside `with EventStorage(...)`"
    return _open_storages[-1]


def has_event_storage() -> bool:
    """Whether the caller runs inside `with EventStorage(...)`."""
    return len(_open_storages) > 0


class EventStorage:
    """Histories of named scalars, and images and histograms that are not yet written."""

    def __init__(self, start_iter: int = 0):
        self._iter = start_iter
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._prefix = ""
        # Read by writers.
        self._vis_data: list[tuple[str, Any, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Store an RGB image (3, H, W), uint8 or float in [0, 1], for TensorBoard."""
        self._vis_data.append((img_name, img_tensor, self._iter))

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Append a number to the history of `name`.

        Args:
            name: of the scalar; the current name scope becomes its prefix.
            value: anything that float() takes.
            smoothing_hint: whether writers should smooth it; the same in every call.
            cur_iter: iteration of the value; the current one if None.
        """
        name = self._prefix + name
        step = self._iter if cur_iter is None else cur_iter
        value = float(value)
        self._histories[name].update(value, step)
        self._latest[name] = (value, step)
        known = self._smoothing_hints.setdefault(name, smoothing_hint)
        assert known == smoothing_hint, (
            f"Scalar {name} has smoothing_hint={smoothing_hint}, but had {known} before"
        )

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any
    ) -> None:
        """Append several scalars: `put_scalars(loss=1.0, accuracy=0.5)`."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Store the histogram of a tensor of any shape for TensorBoard."""
        low, high = hist_tensor.min().item(), hist_tensor.max().item()
        counts = torch.histc(hist_tensor, bins=bins)
        edges = torch.linspace(start=low, end=high, steps=bins + 1, dtype=torch.float32)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": hist_tensor.numel(),
                "sum": float(hist_tensor.sum()),
                "sum_squares": float(torch.sum(hist_tensor**2)),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> HistoryBuffer:
        """Return the history of one scalar; KeyError if it was never recorded."""
        if name not in self._histories:
            raise KeyError(f"No history of {name!r}, expected one of {sorted(self._histories)}")
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return all histories by name."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return the latest value of each scalar, with its iteration."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, but smoothed scalars are medians of the last `window_size` iterations."""
        smoothed = {}
        for name, (value, step) in self._latest.items():
            if self._smoothing_hints[name]:
                value = self._histories[name].median(self.count_samples(name, window_size))
            smoothed[name] = (value, step)
        return smoothed

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Return the number of values of a scalar in its last `window_size` iterations."""
        samples = self._histories[name].values()
        first = samples[-1][1] - window_size
        return sum(step > first for _, step in samples[-window_size:])

    def smoothing_hints(self) -> dict[str, bool]:
        """Return the smoothing hint of each scalar."""
        return self._smoothing_hints

    def step(self) -> None:
        """Advance to the next iteration; setting `iter` does the same."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration; in a trainer the same as `trainer.iter`."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The older name of `iter`."""
        return self._iter

    def __enter__(self) -> "EventStorage":
        _open_storages.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert _open_storages[-1] is self, (
            "storages have to be closed in the reverse order of opening"
        )
        _open_storages.pop()

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Add the prefix "name/" to scalars in the block; an inner scope replaces the outer one."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def clear_images(self) -> None:
        """Delete the stored images."""
        self._vis_data = []

    def clear_histograms(self) -> None:
        """Delete the stored histograms."""
        self._histograms = []


class EventWriter:
    """Base class of writers, which write the new values of the current storage."""

    def write(self) -> None:
        """Write the new values."""
        raise NotImplementedError

    def close(self) -> None:
        """Close files and other resources."""


def _new_values(
    storage: EventStorage, window_size: int, after: int
) -> list[tuple[str, float, int]]:
    """(name, value, iteration) of the scalars that were recorded after iteration `after`."""
    latest = storage.latest_with_smoothing_hint(window_size)
    return [(name, value, step) for name, (value, step) in latest.items() if step > after]


class JSONWriter(EventWriter):
    """Appends one JSON object per line: "iteration" and the scalars of this iteration."""

    def __init__(self, json_file: str, window_size: int = 20):
        """
        Args:
            json_file: the file; lines are appended to an existing one.
            window_size: number of iterations for the median of smoothed scalars.
        """
        self._file = PathManager.open(json_file, "a")
        self._window_size = window_size
        self._last_write = -1

    def write(self) -> None:
        values = _new_values(get_event_storage(), self._window_size, self._last_write)
        by_step: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, step in values:
            by_step[step][name] = value
        for step, scalars in by_step.items():
            scalars["iteration"] = step
            self._file.write(json.dumps(scalars, sort_keys=True) + "\n")
        if by_step:
            self._last_write = max(by_step)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms for TensorBoard."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any):
        """
        Args:
            log_dir: folder of the event files.
            window_size: number of iterations for the median of smoothed scalars.
            **kwargs: further arguments of `torch.utils.tensorboard.SummaryWriter`.
        """
        self._window_size = window_size
        self._writer_args = {"log_dir": log_dir, **kwargs}
        self._last_write = -1

    @cached_property
    def _writer(self) -> Any:
        # TensorBoard is slow to import and creates a file, so it waits for the first value.
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._writer_args)

    def write(self) -> None:
        storage = get_event_storage()
        values = _new_values(storage, self._window_size, self._last_write)
        for name, value, step in values:
            self._writer.add_scalar(name, value, step)
        self._last_write = max([self._last_write, *(step for _, _, step in values)])
        for name, image, step in storage._vis_data:
            self._writer.add_image(name, image, step)
        storage.clear_images()
        for histogram in storage._histograms:
            self._writer.add_histogram_raw(**histogram)
        storage.clear_histograms()

    def close(self) -> None:
        if "_writer" in self.__dict__:  # it may never have been used
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs the remaining time, iteration, losses, times, learning rate and memory in one line."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        """
        Args:
            max_iter: length of the run, for the remaining time; None for no estimate.
            window_size: number of iterations for the median of the losses.
        """
        self.logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None  # iteration and clock of the last line

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return  # hooks may call this again after the last iteration
        eta = self._remaining_time(storage)
        memory = ""
        if torch.cuda.is_available():
            memory = f"max_mem: {torch.cuda.max_memory_allocated() / 1024.0**2:.0f}M"
        self.logger.info(
            f" {f'eta: {eta}  ' if eta else ''}iter: {storage.iter}  "
            f"{self._medians(storage, 'loss')}  {self._medians(storage, '[metric]')}  "
            f"{self._times(storage)} lr: {self._learning_rate(storage)}  {memory}"
        )

    def _remaining_time(self, storage: EventStorage) -> str | None:
        if self._max_iter is None:
            return None
        remaining = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * remaining
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            return str(datetime.timedelta(seconds=int(seconds)))
        # No hook measures the iterations: use the time between two lines.
        now, before = (storage.iter, time.perf_counter()), self._last_write
        self._last_write = now
        if before is None or before[0] == now[0]:
            return None
        seconds = (now[1] - before[1]) / (now[0] - before[0]) * remaining
        return str(datetime.timedelta(seconds=int(seconds)))

    def _medians(self, storage: EventStorage, word: str) -> str:
        """The medians of the scalars with `word` in their names."""
        return "  ".join(
            f"{name}: {history.median(storage.count_samples(name, self._window_size)):.4g}"
            for name, history in storage.histories().items()
            if word in name
        )

    def _times(self, storage: EventStorage) -> str:
        histories = storage.histories()
        text = ""
        if "time" in histories:
            average, last = histories["time"].global_avg(), histories["time"].latest()
            text += f"time: {average:.4f}  last_time: {last:.4f}  "
        if "data_time" in histories:
            samples = storage.count_samples("data_time", self._window_size)
            average, last = histories["data_time"].avg(samples), histories["data_time"].latest()
            text += f"data_time: {average:.4f}  last_data_time: {last:.4f}  "
        return text

    def _learning_rate(self, storage: EventStorage) -> str:
        if "lr" not in storage.histories():
            return "N/A"
        return f"{storage.history('lr').latest():.5g}"
