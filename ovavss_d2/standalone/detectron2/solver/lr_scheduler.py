"""Learning-rate schedules with a warm-up, on top of fvcore's parameter schedulers.

fvcore's schedulers are functions of the *place* in the training, from 0 (start) to 1 (end);
`LRMultiplier` turns one into a torch scheduler that is stepped once per iteration.
"""

import math
from bisect import bisect_right

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupParamScheduler(CompositeParamScheduler):
    """A schedule whose beginning is replaced by a warm-up.

    Args:
        scheduler: the schedule that the warm-up goes before.
        warmup_factor: first value of the warm-up, relative to the first value of `scheduler`.
        warmup_length: share of the whole training that is warm-up, in [0, 1].
        warmup_method: "linear", up to where `scheduler` takes over, or "constant".
        rescale_interval: squeeze the whole of `scheduler` into the time after the warm-up, instead
            of cutting off what the warm-up covers.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ):
        first = warmup_factor * scheduler(0.0)
        if warmup_method == "constant":
            warmup: ParamScheduler = ConstantParamScheduler(first)
        elif warmup_method == "linear":
            # The line ends at the value that the main schedule has when it takes over.
            handover = scheduler(0.0 if rescale_interval else warmup_length)
            warmup = LinearParamScheduler(first, handover)
        else:
            raise ValueError(
                f"Unknown warmup method: {warmup_method} (expected 'linear' or 'constant')"
            )
        super().__init__(
            [warmup, scheduler],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
            lengths=[warmup_length, 1 - warmup_length],
        )


class LRMultiplier(LRScheduler):
    """Every learning rate is its initial value times a fvcore schedule.

    Args:
        optimizer: its groups' learning rates at this moment are the initial values.
        multiplier: the fvcore schedule.
        max_iter: number of training iterations, the end of the schedule.
        last_iter: the last iteration done, -1 at the start.

    Raises:
        ValueError: `multiplier` is no fvcore schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ):
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(
                f"LRMultiplier(multiplier=) must be a fvcore ParamScheduler, got {multiplier!r}"
            )
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict:
        """The place in the schedule. The schedule itself comes from the config, so a resumed run
        may change it.
        """
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float]:
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base * factor for base in self.base_lrs]


class WarmupMultiStepLR(LRScheduler):
    """Step-wise decay, as a torch scheduler of its own; new code uses `LRMultiplier`.

    Args:
        milestones: increasing iterations at which the rate is multiplied by `gamma`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: list[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ):
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones must increase, got {list(milestones)}")
        self.milestones = milestones
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        decay = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        factor = decay * _warmup_factor(self)
        return [base * factor for base in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """Half a cosine from the initial rate to 0, as a torch scheduler of its own; new code uses
    `LRMultiplier`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ):
        self.max_iters = max_iters
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        cosine = (1.0 + math.cos(math.pi * self.last_epoch / self.max_iters)) / 2
        factor = cosine * _warmup_factor(self)
        return [base * factor for base in self.base_lrs]


def _warmup_factor(scheduler: WarmupMultiStepLR | WarmupCosineLR) -> float:
    """What the rate is multiplied by during the warm-up (1 after it)."""
    if scheduler.last_epoch >= scheduler.warmup_iters:
        return 1.0
    if scheduler.warmup_method == "constant":
        return scheduler.warmup_factor
    if scheduler.warmup_method == "linear":
        done = scheduler.last_epoch / scheduler.warmup_iters
        return scheduler.warmup_factor * (1 - done) + done
    raise ValueError(
        f"Unknown warmup method: {scheduler.warmup_method} (expected 'linear' or 'constant')"
    )
