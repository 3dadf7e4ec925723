"""Exact resume: an interrupted training ends with the same weights as an uninterrupted one."""

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from ovavss_d2.data.clip_sampler import ClipSampler, seed_of


class SeededSteps(HookBase):
    """Seed the random numbers of each step (dropout, stochastic depth) from seed, step and rank.

    A resumed training then draws the same numbers, and an evaluation between two steps does not
    change them.
    """

    def __init__(self, sampler: ClipSampler) -> None:
        """
        Args:
            sampler: the sampler of the training clips, which has the seed of the run.
        """
        self._sampler = sampler

    def before_step(self) -> None:
        """Seed PyTorch."""
        torch.manual_seed(seed_of(self._sampler.seed, self.trainer.iter, comm.get_rank(), "step"))
