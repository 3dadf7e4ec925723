"""Random seeds and the environment's set-up."""

import importlib
import logging
import os
import random
from datetime import datetime

import numpy as np
import torch

__all__ = ["seed_all_rng"]

# (major, minor) of torch, for comparisons.
TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


def seed_all_rng(seed: int | None = None) -> None:
    """Seed Python's, NumPy's and PyTorch's random numbers.

    Args:
        seed: the seed; a fresh one of time, process and system entropy if None.
    """
    if seed is None:
        clock = int(datetime.now().strftime("%S%f"))
        seed = os.getpid() + clock + int.from_bytes(os.urandom(2), "big")
        logging.getLogger(__name__).info(f"Using a generated random seed {seed}")
    np.random.seed(seed)
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


_set_up = False


def setup_environment() -> None:
    """Once run `setup_environment()` of the module named by $DETECTRON2_ENV_MODULE, if set."""
    global _set_up
    if _set_up:
        return
    _set_up = True
    name = os.environ.get("DETECTRON2_ENV_MODULE")
    if name:
        importlib.import_module(name).setup_environment()
