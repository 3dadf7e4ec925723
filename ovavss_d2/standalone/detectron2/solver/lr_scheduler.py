"""Learning-rate schedules with a warmup, on top of fvcore's parameter schedulers.

fvcore's schedulers are functions of the training progress, from 0 (start) to 1 (end).
`LRMultiplier` turns one into a torch scheduler that is stepped once per iteration.
"""

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupParamScheduler(CompositeParamScheduler):
    """A schedule that starts with a warmup.

    Args:
        scheduler: the schedule after the warmup.
        warmup_factor: first value of the warmup, relative to the first value of `scheduler`.
        warmup_length: length of the warmup as a fraction of the training, in [0, 1].
        warmup_method: "linear" (up to the first value after the warmup) or "constant".
        rescale_interval: compress `scheduler` into the time after the warmup, instead of skipping
            its beginning.

    Raises:
        ValueError: `warmup_method` is unknown.
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
            # The line ends at the first value of the main schedule after the warmup.
            last = scheduler(0.0 if rescale_interval else warmup_length)
            warmup = LinearParamScheduler(first, last)
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
    """Multiplies the initial learning rates by an fvcore schedule.

    Args:
        optimizer: its current learning rates are the initial ones.
        multiplier: the fvcore schedule.
        max_iter: number of training iterations.
        last_iter: the last finished iteration, -1 at the start.

    Raises:
        ValueError: `multiplier` is not an fvcore schedule.
    """

    def __init__(
        self, optimizer: Optimizer, multiplier: ParamScheduler, max_iter: int, last_iter: int = -1
    ):
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(
                f"LRMultiplier(multiplier=) must be an fvcore ParamScheduler, got {multiplier!r}"
            )
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict:
        """Return the initial rates and the iteration.

        The schedule itself comes from the config, so a resumed run may change it.
        """
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float]:
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base * factor for base in self.base_lrs]
