"""What makes an interrupted training end with the weights of one without interruption."""

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from ovavss_d2.data.clip_sampler import ClipSampler, seed_of


class SeededSteps(HookBase):
    """Random numbers of a step (dropout, stochastic depth) depend on seed, step and process alone.

    So a resumed training draws what it would have drawn, and an evaluation between two steps
    changes nothing.
    """

    def __init__(self, sampler: ClipSampler):
        """
        Args:
            sampler: of the training's clips; it has the run's seed.
        """
        self._sampler = sampler

    def before_step(self) -> None:
        torch.manual_seed(seed_of(self._sampler.seed, self.trainer.iter, comm.get_rank(), "step"))


def stream_state(sampler: ClipSampler, steps: int, clips_per_step: int) -> dict[str, int]:
    """The state of a training's clips after so many steps, for its checkpoint."""
    return {"seed": sampler.seed, "clips": steps * clips_per_step}


def restore_stream(sampler: ClipSampler, state: dict[str, int]) -> None:
    """Undo `stream_state`: go on with the clip after those that were seen."""
    sampler.seed, sampler.first = state["seed"], state["clips"]
