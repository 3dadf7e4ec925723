"""A second and a third try when a GPU's memory does not suffice."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

__all__ = ["retry_if_cuda_oom"]

logger = logging.getLogger(__name__)

# How PyTorch's error begins.
_OUT_OF_MEMORY = "CUDA out of memory. "


def retry_if_cuda_oom(func: Callable) -> Callable:
    """Make a function without state try again when CUDA runs out of memory.

    First after PyTorch's cache was emptied, then with the arguments moved to the CPU; in that case
    results may be on the CPU too. Only arguments themselves are moved, not what lies in containers.
    """

    @wraps(func)
    def patient(*args: Any, **kwargs: Any) -> Any:
        for prepare in (_leave, _empty_cache):
            prepare()
            try:
                return func(*args, **kwargs)
            except RuntimeError as error:
                if _OUT_OF_MEMORY not in str(error):
                    raise
        logger.info(f"{func} does not fit into the GPU's memory: its arguments go to the CPU")
        moved = {name: _to_cpu(value) for name, value in kwargs.items()}
        return func(*map(_to_cpu, args), **moved)

    return patient


def _leave() -> None:
    """The first try needs no preparation."""


def _empty_cache() -> None:
    torch.cuda.empty_cache()


def _to_cpu(value: Any) -> Any:
    """A tensor, or what has its `device` and `to`, on the CPU; anything else as it is."""
    device = getattr(value, "device", None)
    if getattr(device, "type", None) == "cuda" and hasattr(value, "to"):
        return value.to(device="cpu")
    return value
