"""`WarmupPolyLR`: a polynomial fall of the learning rate after a warm-up."""

import torch


class WarmupPolyLR(torch.optim.lr_scheduler.LRScheduler):
    """Learning rate times warm-up times (1 - step / max_iters) ** power."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
        power: float = 0.9,
        constant_ending: float = 0.0,
    ):
        """
        Args:
            optimizer: whose rates are set.
            max_iters: steps of the training.
            warmup_factor: where the warm-up starts, relative.
            warmup_iters: steps of the warm-up.
            warmup_method: "linear" (rising to 1) or "constant".
            last_epoch: last step done.
            power: of the polynomial.
            constant_ending: after the warm-up the relative rate does not fall below this.
        """
        self.max_iters = max_iters
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        self.power = power
        self.constant_ending = constant_ending
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of the parameter groups at the current step."""
        warmup = self._warmup()
        falling = (1.0 - self.last_epoch / self.max_iters) ** self.power
        if warmup == 1.0:
            falling = max(falling, self.constant_ending)
        return [rate * warmup * falling for rate in self.base_lrs]

    def _warmup(self) -> float:
        if self.last_epoch >= self.warmup_iters:
            return 1.0
        if self.warmup_method == "constant":
            return self.warmup_factor
        if self.warmup_method != "linear":
            raise ValueError(f"Unknown warmup method: {self.warmup_method}")
        done = self.last_epoch / self.warmup_iters
        return self.warmup_factor * (1 - done) + done
