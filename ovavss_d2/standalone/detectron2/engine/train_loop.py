"""The training loop with hooks, and the training step in full or mixed precision."""

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

logger = logging.getLogger(__name__)


class HookBase:
    """Base class of hooks; all methods do nothing by default.

    The order of calls: `before_train`, then in each step `before_step`, `after_backward` (by
    trainers that call it) and `after_step`; finally `after_train`, also if the training fails.

    Attributes:
        trainer: a weak reference to the trainer, set when the hook is registered.
    """

    trainer: "TrainerBase" = None

    def before_train(self) -> None:
        """Called before the first step."""

    def before_step(self) -> None:
        """Called before each step."""

    def after_backward(self) -> None:
        """Called after the backward pass of each step."""

    def after_step(self) -> None:
        """Called after each step."""

    def after_train(self) -> None:
        """Called after the last step."""

    def state_dict(self) -> dict:
        """Return the state to save; a hook that has one also implements `load_state_dict`."""
        return {}


class TrainerBase:
    """A loop of steps with hooks; subclasses implement `run_step`.

    Attributes:
        iter: the current step, counted from 0.
        start_iter: the first step of this run.
        max_iter: the step at which the training ends.
        storage: the current `EventStorage` during the training.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int
        self.storage: EventStorage

    def register_hooks(self, hooks: list[HookBase | None]) -> None:
        """Add hooks, which are called in the order of registration; None is ignored."""
        given = [hook for hook in hooks if hook is not None]
        for hook in given:
            assert isinstance(hook, HookBase), f"expected a HookBase, got {hook!r}"
            hook.trainer = weakref.proxy(self)
        self._hooks.extend(given)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the steps from `start_iter` to `max_iter` - 1."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        for hook in self._hooks:
            hook.before_train()

    def before_step(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        for hook in self._hooks:
            hook.after_step()

    def after_train(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def run_step(self) -> None:
        """Run one step."""
        raise NotImplementedError(f"{type(self).__name__} does not implement run_step()")

    def state_dict(self) -> dict[str, Any]:
        """Return "iteration", the current step, and "hooks", the hooks' states by class name."""
        state: dict[str, Any] = {"iteration": self.iter}
        hooks: dict[str, dict] = {}
        for hook in self._hooks:
            hook_state = hook.state_dict()
            if hook_state:
                hooks.setdefault(type(hook).__qualname__, hook_state)
        if hooks:
            state["hooks"] = hooks
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state; states of hooks that are not registered are ignored with a warning."""
        self.iter = state_dict["iteration"]
        for name, hook_state in state_dict.get("hooks", {}).items():
            hook = next((h for h in self._hooks if type(h).__qualname__ == name), None)
            if hook is None:
                logger.warning("Cannot find the hook '%s', its state_dict is ignored.", name)
            else:
                hook.load_state_dict(hook_state)


class SimpleTrainer(TrainerBase):
    """Trains one model with one optimizer and one data loader.

    Args:
        model: takes one batch and returns a dict of losses, or one loss.
        data_loader: iterable of batches, enough for all steps.
        optimizer: minimizes the sum of the losses.
        gather_metric_period: number of steps between two records of the losses, which are
            gathered from all processes.
        zero_grad_before_forward: clear gradients before the forward pass instead of before the
            backward pass.
        async_write_metrics: record in a separate thread.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._batches: Iterator | None = None
        # One worker thread keeps the records in order.
        self._recorder = ThreadPoolExecutor(max_workers=1) if async_write_metrics else None

    def run_step(self) -> None:
        """Load a batch, compute losses and gradients, record the losses, and step the optimizer."""
        assert self.model.training, f"[{type(self).__name__}] model was changed to eval mode!"
        batch, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        losses = _named_losses(self.model(batch))
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.optimizer.step()

    def _next_batch(self) -> tuple[Any, float]:
        """Return the next batch and the seconds spent waiting for it."""
        start = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self.data_loader)
        batch = next(self._batches)
        return batch, time.perf_counter() - start

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Delete the data loader, then replace it with `data_loader_builder()`."""
        self._batches = self.data_loader = None
        self.data_loader = data_loader_builder()

    def after_train(self) -> None:
        if self._recorder is not None:
            # Wait for the last record before the hooks write it.
            self._recorder.shutdown(wait=True)
        super().after_train()

    def _write_metrics(
        self, loss_dict: Mapping[str, torch.Tensor], data_time: float, prefix: str = ""
    ) -> None:
        if (self.iter + 1) % self.gather_metric_period != 0:
            return
        losses = {name: loss.detach() for name, loss in loss_dict.items()}
        if self._recorder is None:
            self.write_metrics(losses, data_time, self.iter, prefix)
        else:
            record = self._recorder.submit(
                _record, get_event_storage(), losses, data_time, self.iter, prefix
            )
            record.add_done_callback(_log_failure)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, torch.Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Average losses over all processes and record them in the main process.

        Args:
            loss_dict: scalar losses by name.
            data_time: seconds this process waited for data; the longest wait is recorded.
            cur_iter: the step.
            prefix: of the name of the total.

        Raises:
            FloatingPointError: the total is infinite or NaN.
        """
        _record(get_event_storage(), loss_dict, data_time, cur_iter, prefix)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


def _named_losses(output: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"total_loss": output} if isinstance(output, torch.Tensor) else output


def _record(
    storage: EventStorage,
    losses: Mapping[str, torch.Tensor],
    data_time: float,
    step: int,
    prefix: str,
) -> None:
    """See `SimpleTrainer.write_metrics`."""
    own = {name: loss.detach().cpu().item() for name, loss in losses.items()}
    storage.put_scalar("rank_data_time", data_time, cur_iter=step)
    gathered = comm.gather({**own, "data_time": data_time})
    if not comm.is_main_process():
        return
    slowest = max(one["data_time"] for one in gathered)
    storage.put_scalar("data_time", slowest, cur_iter=step)
    means = {name: float(np.mean([one[name] for one in gathered])) for name in own}
    total = sum(means.values())
    if not np.isfinite(total):
        raise FloatingPointError(
            f"Loss became infinite or NaN at iteration={step}!\nloss_dict = {means}"
        )
    storage.put_scalar(f"{prefix}total_loss", total, cur_iter=step)
    if len(means) > 1:
        storage.put_scalars(cur_iter=step, **means)


def _log_failure(future: Future) -> None:
    if future.exception() is not None:
        logger.error("Exception in writing metrics: ", exc_info=future.exception())


class AMPTrainer(SimpleTrainer):
    """`SimpleTrainer` with automatic mixed precision on a GPU.

    Args:
        grad_scaler: scales the loss; a new `GradScaler` if None.
        precision: of the forward pass.
        log_grad_scaler: record the scale in each step.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        if isinstance(model, DistributedDataParallel):
            devices = model.device_ids
            assert not (devices and len(devices) > 1), "AMPTrainer needs one device per process"
        assert not isinstance(model, DataParallel), "AMPTrainer does not support DataParallel"
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
        )
        self.grad_scaler = torch.amp.GradScaler("cuda") if grad_scaler is None else grad_scaler
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def run_step(self) -> None:
        """Run a step with the forward pass in low precision and a scaled loss."""
        assert self.model.training, f"[{type(self).__name__}] model was changed to eval mode!"
        assert torch.cuda.is_available(), "[AMPTrainer] CUDA is required for AMP training!"
        batch, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with torch.autocast("cuda", dtype=self.precision):
            losses = _named_losses(self.model(batch))
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self.grad_scaler.scale(sum(losses.values())).backward()
        if self.log_grad_scaler:
            self.storage.put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
