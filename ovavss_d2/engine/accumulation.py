"""Gradient accumulation: a batch is processed in parts, with the gradient of the whole batch."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class AccumulatingTrainer(SimpleTrainer):
    """`SimpleTrainer` that computes the gradient of a batch part by part, in less memory.

    The losses of a part are divided by the counts of the whole batch, so their sum is the loss of
    the whole batch.
    """

    def __init__(self, trainer: SimpleTrainer, parts: int) -> None:
        """
        Args:
            trainer: a `SimpleTrainer` or `AMPTrainer` to replace.
            parts: parts of a batch; they may differ in size by one clip.
        """
        super().__init__(trainer.model, trainer.data_loader, trainer.optimizer)
        self.parts = parts
        self.grad_scaler = getattr(trainer, "grad_scaler", None)
        self._batches: Iterator | None = None

    def run_step(self) -> None:
        """Load a batch, add up the gradients of its parts, and step the optimizer."""
        start = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self.data_loader)
        batch = next(self._batches)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        totals: Counter[str] = Counter()
        parts = split(self._with_counts(batch), self.parts)
        for i, part in enumerate(parts):
            with self._gradients_shared(last=i == len(parts) - 1):
                losses = self._losses(part)
                total = torch.stack(list(losses.values())).sum()
                scaled = total if self.grad_scaler is None else self.grad_scaler.scale(total)
                scaled.backward()
            totals.update({name: loss.detach() for name, loss in losses.items()})
        self.write_metrics(dict(totals), data_time, self.iter)
        if self.grad_scaler is None:
            self.optimizer.step()
        else:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()

    def _with_counts(self, batch: Sequence[dict]) -> list[dict]:
        """The clips of a batch, each with the counts of the whole batch."""
        counts = _unwrapped(self.model).count_targets(batch)
        return [{**clip, "batch_counts": counts} for clip in batch]

    def _losses(self, part: Sequence[dict]) -> dict[str, Tensor]:
        with torch.autocast("cuda", enabled=self.grad_scaler is not None):
            return self.model(part)

    def _gradients_shared(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients once, after the last part."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.grad_scaler is not None:
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if self.grad_scaler is not None and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _unwrapped(model: nn.Module) -> Any:
    return model.module if isinstance(model, DistributedDataParallel) else model


def split(batch: Sequence[dict], parts: int) -> list[Sequence[dict]]:
    """Split a batch into at most `parts` parts of nearly equal size."""
    size = -(-len(batch) // parts)
    return [batch[i : i + size] for i in range(0, len(batch), size)]
