"""`seed_all_rng`, which seeds all random number generators."""

import logging
import os
import random
import secrets

import numpy as np
import torch

__all__ = ["seed_all_rng"]

logger = logging.getLogger(__name__)


def seed_all_rng(seed: int | None = None) -> None:
    """Seed the random numbers of Python, NumPy and PyTorch.

    Args:
        seed: below 2**32; a random one if None.
    """
    if seed is None:
        seed = secrets.randbits(31)
        logger.info(f"Random seed: {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)  # for processes started later
