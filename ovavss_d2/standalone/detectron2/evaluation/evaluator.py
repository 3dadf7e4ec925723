"""The evaluator interface, and the loop that runs a model over a data set and times it."""

import datetime
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.utils.comm import get_world_size, is_main_process
from detectron2.utils.logger import log_every_n_seconds
from torch import nn

logger = logging.getLogger(__name__)

# First batches are slow (caches, memory); they do not count in the times.
WARMUP_BATCHES = 5
SECONDS_BETWEEN_LINES = 5
CALLBACKS = ("on_start", "before_inference", "after_inference", "on_end")


class DatasetEvaluator:
    """Base class: collects what it needs from each pair of inputs and outputs, then sums it up."""

    def reset(self) -> None:
        """Prepare for a new round."""

    def process(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Take one batch.

        Args:
            inputs: what the model was given, a list with one entry per item.
            outputs: what the model returned for them.
        """

    def evaluate(self) -> Mapping[str, Any] | None:
        """Sum up: {task name: {metric name: figure}}, or None (on all processes but the first)."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one; their results are joined."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]):
        super().__init__()
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[Any], outputs: list[Any]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> OrderedDict[str, Any]:
        joined = OrderedDict()
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if results is None or not is_main_process():
                continue
            for task, figures in results.items():
                assert task not in joined, f"two evaluators have a result called {task!r}"
                joined[task] = figures
        return joined


@dataclass
class _Clock:
    """Seconds spent per stage, counted from the end of the warm-up."""

    start: float
    data: float = 0.0
    compute: float = 0.0
    evaluation: float = 0.0
    batches: int = 0

    def per_batch(self) -> float:
        return (time.perf_counter() - self.start) / self.batches

    def line(self, done: int, total: int) -> str:
        eta = datetime.timedelta(seconds=int(self.per_batch() * (total - done)))
        return (
            f"Inference done {done}/{total}. "
            f"Dataloading: {self.data / self.batches:.4f} s/iter. "
            f"Inference: {self.compute / self.batches:.4f} s/iter. "
            f"Eval: {self.evaluation / self.batches:.4f} s/iter. "
            f"Total: {self.per_batch():.4f} s/iter. ETA={eta}"
        )

    def log_summary(self) -> None:
        elapsed = time.perf_counter() - self.start
        pure = datetime.timedelta(seconds=int(self.compute))
        devices = get_world_size()
        logger.info(
            f"Total inference time: {datetime.timedelta(seconds=elapsed)} "
            f"({elapsed / self.batches:.6f} s / iter per device, on {devices} devices)"
        )
        logger.info(
            f"Total inference pure compute time: {pure} "
            f"({self.compute / self.batches:.6f} s / iter per device, on {devices} devices)"
        )


def inference_on_dataset(
    model: Callable[[Any], Any],
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator | list[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> Mapping[str, Any]:
    """Run the model, in eval mode and without gradients, over a loader and evaluate its outputs.

    Args:
        model: called with each batch; a module is put back into its mode afterwards.
        data_loader: an iterable with a length.
        evaluator: one, several, or None to measure the speed only.
        callbacks: functions without arguments to call at "on_start", "before_inference" and
            "after_inference" (of each batch) and "on_end".

    Returns:
        What `evaluator.evaluate()` returns; an empty dict in place of None.
    """
    total = len(data_loader)
    logger.info(f"Start inference on {total} batches")
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        _run(model, data_loader, evaluator, callbacks or {}, total)
    results = evaluator.evaluate()
    return {} if results is None else results


def _run(
    model: Callable[[Any], Any],
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator,
    callbacks: Mapping[str, Callable[[], Any]],
    total: int,
) -> None:
    on_start, before, after, on_end = (callbacks.get(name, _nothing) for name in CALLBACKS)
    warmup = min(WARMUP_BATCHES, total - 1)
    clock = _Clock(start=time.perf_counter())
    on_start()
    data_start = time.perf_counter()
    for index, inputs in enumerate(data_loader):
        data_end = time.perf_counter()
        if index == warmup:
            clock = _Clock(start=data_end)
        before()
        compute_start = time.perf_counter()
        outputs = model(inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        compute_end = time.perf_counter()
        after()
        evaluation_start = time.perf_counter()
        evaluator.process(inputs, outputs)
        now = time.perf_counter()
        clock.batches += 1
        clock.data += data_end - data_start if index > warmup else 0.0
        clock.compute += compute_end - compute_start
        clock.evaluation += now - evaluation_start
        if index >= 2 * warmup or clock.per_batch() > SECONDS_BETWEEN_LINES:
            line = clock.line(index + 1, total)
            log_every_n_seconds(logging.INFO, line, n=SECONDS_BETWEEN_LINES)
        data_start = time.perf_counter()
    on_end()
    if clock.batches:
        clock.log_summary()


def _nothing() -> None:
    """Stands in for a callback that was not given."""


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for the block, and back into its mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
