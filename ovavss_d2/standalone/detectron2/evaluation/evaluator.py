"""Base class of evaluators, and the inference loop over a data set with its timing."""

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

# The first batches are slow (caches, memory); the times do not include them.
WARMUP_BATCHES = 5
SECONDS_BETWEEN_LINES = 5
CALLBACKS = ("on_start", "before_inference", "after_inference", "on_end")


class DatasetEvaluator:
    """Base class: processes pairs of inputs and outputs, then computes metrics."""

    def reset(self) -> None:
        """Prepare for a new evaluation."""

    def process(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Process one batch.

        Args:
            inputs: the inputs of the model, one entry per item.
            outputs: the outputs of the model for them.
        """

    def evaluate(self) -> Mapping[str, Any] | None:
        """Compute {task name: {metric name: value}}; None in all processes but the first."""


class DatasetEvaluators(DatasetEvaluator):
    """Combines several evaluators and their results."""

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
        joined: OrderedDict[str, Any] = OrderedDict()
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if results is None or not is_main_process():
                continue
            for task, metrics in results.items():
                assert task not in joined, f"two evaluators have a result called {task!r}"
                joined[task] = metrics
        return joined


@dataclass
class _Clock:
    """Seconds spent in each stage since the end of the warmup."""

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
    """Run a model in eval mode and without gradients over a loader and evaluate its outputs.

    Args:
        model: called with each batch; the mode of a module is restored afterwards.
        data_loader: an iterable with a length.
        evaluator: one, several, or None to only measure the speed.
        callbacks: functions without arguments, called at "on_start", "before_inference" and
            "after_inference" (of each batch), and "on_end".

    Returns:
        The result of `evaluator.evaluate()`; an empty dict if that is None.
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
    """The default callback."""


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for the block and restore its mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
