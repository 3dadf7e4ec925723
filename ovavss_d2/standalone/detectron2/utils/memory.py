"""A second and a third try when a GPU's memory does not suffice."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

__all__ = ["retry_if_cuda_oom"]


@contextmanager
def _ignore_cuda_oom() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "CUDA out of memory. " not in str(error):
            raise


def _to_cpu(value: Any) -> Any:
    is_on_gpu = getattr(getattr(value, "device", None), "type", None) == "cuda"
    return value.to(device="cpu") if is_on_gpu and hasattr(value, "to") else value


def retry_if_cuda_oom(func: Callable) -> Callable:
    """Make a function without state try again when CUDA runs out of memory.

    First after PyTorch's cache was emptied, then with the arguments moved to the CPU; in that case
    results may be on the CPU too. Only arguments themselves are moved, not what lies in containers.
    """

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with _ignore_cuda_oom():
            return func(*args, **kwargs)
        torch.cuda.empty_cache()
        with _ignore_cuda_oom():
            return func(*args, **kwargs)
        logging.getLogger(__name__).info(
            f"Attempting to copy inputs of {func} to CPU due to CUDA OOM"
        )
        on_cpu = {name: _to_cpu(value) for name, value in kwargs.items()}
        return func(*(_to_cpu(value) for value in args), **on_cpu)

    return wrapped
