"""Hooks: timing, writers, checkpoints, learning rate, evaluation, batch norm statistics."""

import datetime
import itertools
import logging
import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import torch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver import LRMultiplier
from detectron2.solver import LRScheduler as _TorchLRScheduler
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from .train_loop import HookBase

__all__ = [
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
]

logger = logging.getLogger(__name__)


class CallbackHook(HookBase):
    """Calls functions, each with the trainer as its argument."""

    def __init__(
        self,
        *,
        before_train: Callable | None = None,
        after_train: Callable | None = None,
        before_step: Callable | None = None,
        after_step: Callable | None = None,
    ):
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step

    def before_train(self) -> None:
        if self._before_train:
            self._before_train(self.trainer)

    def after_train(self) -> None:
        if self._after_train:
            self._after_train(self.trainer)
        # The functions may reference the trainer; dropping them lets it be freed.
        self._before_train = self._after_train = None
        self._before_step = self._after_step = None

    def before_step(self) -> None:
        if self._before_step:
            self._before_step(self.trainer)

    def after_step(self) -> None:
        if self._after_step:
            self._after_step(self.trainer)


class IterationTimer(HookBase):
    """Records the duration of each step as "time" and logs the speed at the end.

    It measures from its own `before_step` to its own `after_step`, so it should be the first hook.

    Args:
        warmup_iter: timing starts with this step of the run, counted from 1.
    """

    def __init__(self, warmup_iter: int = 3):
        self._warmup_iter = warmup_iter
        self._step_timer = Timer()
        self._start = time.perf_counter()
        self._steps_done = 0
        self._timed_steps = 0
        self._timed_seconds = 0.0
        self._step_seconds = 0.0

    def before_train(self) -> None:
        self._start = time.perf_counter()

    def before_step(self) -> None:
        self._step_timer.reset()

    def after_step(self) -> None:
        seconds = self._step_timer.seconds()
        self._steps_done += 1
        self._step_seconds += seconds
        if self._steps_done >= self._warmup_iter:
            self.trainer.storage.put_scalars(time=seconds)
            self._timed_steps += 1
            self._timed_seconds += seconds

    def after_train(self) -> None:
        total = time.perf_counter() - self._start
        if self._timed_steps > 0:
            logger.info(
                "Overall training speed: %d iterations in %s (%.4f s / it)",
                self._timed_steps,
                _as_duration(self._timed_seconds),
                self._timed_seconds / self._timed_steps,
            )
        hooks = _as_duration(total - self._step_seconds)
        logger.info("Total training time: %s (%s on hooks)", _as_duration(total), hooks)


def _as_duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


class PeriodicWriter(HookBase):
    """Calls writers every `period` steps and after the last one.

    Args:
        writers: `EventWriter`s.
        period: in steps; it does not change the smoothing of the writers.
    """

    def __init__(self, writers: list[EventWriter], period: int = 20):
        for writer in writers:
            assert isinstance(writer, EventWriter), f"expected an EventWriter, got {writer!r}"
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            # Other hooks may have recorded results at the end.
            writer.write()
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's `PeriodicCheckpointer` as a hook: every `period` steps and after the last one."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Saves a checkpoint whenever an evaluation result is the best so far.

    It should be registered after `EvalHook`.

    Args:
        eval_period: the period of `EvalHook`.
        checkpointer: saves the checkpoint.
        val_metric: name of the result in the storage, such as "sem_seg/mIoU".
        mode: "max" if higher is better, "min" if lower is better.
        file_prefix: name of the file.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        assert mode in ("max", "min"), f"mode '{mode}' is unknown: expected 'max' or 'min'"
        self._period = eval_period
        self._checkpointer = checkpointer
        self._val_metric = val_metric
        self._better = operator.gt if mode == "max" else operator.lt
        self._file_prefix = file_prefix
        self._best: tuple[float, int] | None = None

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._save_if_best()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._save_if_best()

    def _save_if_best(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning("No '%s' was recorded: no best checkpoint is saved", self._val_metric)
            return
        value, step = latest
        best = -math.inf if self._best is None else self._best[0]
        if not math.isfinite(value):
            logger.info("%s is %s: not saved as the best", self._val_metric, value)
        elif self._best is None or self._better(value, best):
            self._checkpointer.save(self._file_prefix, iteration=step)
            self._best = latest
            logger.info("Saved the best model: %s is %.5f at step %d", self._val_metric, *latest)
        else:
            logger.info("Not saved: %s is %.5f, the best was %.5f", self._val_metric, value, best)


class LRScheduler(HookBase):
    """Steps the learning-rate schedule after each training step and records the rate as "lr".

    Args:
        optimizer: the trainer's if None.
        scheduler: a torch scheduler, or an fvcore schedule that multiplies the rates; the
            trainer's if None.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: _TorchLRScheduler | ParamScheduler | None = None,
    ):
        self._optimizer = optimizer
        self._scheduler = scheduler

    @property
    def scheduler(self) -> _TorchLRScheduler:
        return self._scheduler or self.trainer.scheduler

    def before_train(self) -> None:
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer,
                self.scheduler,
                self.trainer.max_iter,
                last_iter=self.trainer.iter - 1,
            )
        self._group = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """Return the index of the group whose rate is recorded.

        It is the largest group or, if each group has one parameter, the first one with the most
        frequent rate.
        """
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in groups]
        return rates.index(Counter(rates).most_common()[0][0])

    def after_step(self) -> None:
        rate = self._optimizer.param_groups[self._group]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict:
        return self.scheduler.state_dict() if self._has_state() else {}

    def load_state_dict(self, state_dict: dict) -> None:
        if self._has_state():
            logger.info("Loading scheduler from state_dict ...")
            self.scheduler.load_state_dict(state_dict)

    def _has_state(self) -> bool:
        return isinstance(self.scheduler, _TorchLRScheduler)


class EvalHook(HookBase):
    """Evaluates every `eval_period` steps and after the last one, and records the results.

    Args:
        eval_period: in steps; 0: only after the last one.
        eval_function: takes no argument and returns a nested dict of floats or None; called in
            all processes.
        eval_after_train: whether to evaluate after the last step.

    Raises:
        ValueError: (in training) a result is not a number.
    """

    def __init__(
        self,
        eval_period: int,
        eval_function: Callable[[], dict | None],
        eval_after_train: bool = True,
    ):
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        # `iter` reaches `max_iter` only if the training did not fail.
        if self._eval_after_train and self.trainer.iter >= self.trainer.max_iter:
            self._evaluate()
        # The function may reference the trainer; dropping it lets the trainer be freed.
        del self._func

    def _evaluate(self) -> None:
        results = self._func()
        if results:
            assert isinstance(results, dict), f"Eval function must return a dict. Got {results}"
            numbers = {
                name: _as_number(name, value)
                for name, value in flatten_results_dict(results).items()
            }
            self.trainer.storage.put_scalars(**numbers, smoothing_hint=False)
        # Processes may need different times; the next step starts together.
        comm.synchronize()


def _as_number(name: str, value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "[EvalHook] eval_function should return a nested dict of float."
            f" Got '{name}: {value}' instead."
        ) from error


class PreciseBN(HookBase):
    """Replaces the moving averages of batch norms with averages over a number of batches.

    Args:
        period: in steps; 0: only after the last one.
        model: its batch norms in training mode are updated.
        data_loader: batches for `model(batch)`.
        num_iter: number of batches.
    """

    def __init__(self, period: int, model: nn.Module, data_loader: Iterable, num_iter: int):
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._disabled = not get_bn_modules(model)
        if self._disabled:
            logger.info("PreciseBN is disabled: the model has no batch norm in training mode")
        self._batches: Iterator | None = None

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        due = self._period > 0 and done % self._period == 0
        if due or done == self.trainer.max_iter:
            self.update_stats()

    def update_stats(self) -> None:
        """Update the statistics now."""
        if self._disabled:
            return
        if self._batches is None:
            self._batches = iter(self._data_loader)
        logger.info("Running precise-BN for %d iterations...", self._num_iter)
        # What the model records here does not belong to the training.
        with EventStorage():
            batches = itertools.islice(self._batches, self._num_iter)
            update_bn_stats(self._model, batches, self._num_iter)
