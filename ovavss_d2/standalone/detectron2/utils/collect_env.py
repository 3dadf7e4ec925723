"""A table of versions for logs and bug reports."""

import importlib.metadata
import os
import sys

import detectron2
import numpy as np
import torch
from tabulate import tabulate

__all__ = ["collect_env_info"]

_PACKAGES = ("Pillow", "torchvision", "fvcore", "iopath", "opencv-python", "timm", "pycocotools")


def collect_env_info() -> str:
    """Describe the system, Python, packages, GPUs and the build of PyTorch."""
    rows: list[tuple[str, object]] = [
        ("sys.platform", sys.platform),
        ("Python", sys.version.replace("\n", "")),
        ("numpy", np.__version__),
        ("detectron2", f"{detectron2.__version__} @{os.path.dirname(detectron2.__file__)}"),
        ("PyTorch", f"{torch.__version__} @{os.path.dirname(torch.__file__)}"),
        ("PyTorch debug build", torch.version.debug),
        *_gpu_rows(),
        *((package, _version(package)) for package in _PACKAGES),
    ]
    return tabulate(rows) + "\n" + torch.__config__.show()


def _gpu_rows() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        return [("GPU available", "No: torch.cuda.is_available() == False")]
    names = [
        (f"GPU {index}", torch.cuda.get_device_name(index))
        for index in range(torch.cuda.device_count())
    ]
    return [("GPU available", "Yes"), *names]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
