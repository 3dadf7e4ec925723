"""Check that the installed versions of torch, torchvision and torchaudio work together."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType

PACKAGES = ("torch", "torchvision", "torchaudio")
TESTED_VERSIONS = "torch==2.14.1 torchvision==0.29.1 torchaudio==2.11.0"


class TorchMismatch(ImportError):
    """torch cannot be imported, or torchvision or torchaudio was built for another version."""


def check_torch_packages() -> None:
    """Import torch, torchvision and torchaudio, which must be built for each other.

    Raises:
        TorchMismatch: one cannot be imported; scripts show it as one line.
    """
    try:
        for package in PACKAGES:
            importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:
        _hide_traceback()
        installed = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
        reason = (str(error).splitlines() or [""])[0]
        raise TorchMismatch(
            f"the installed {installed} do not work together ({reason}); "
            f"install the tested versions: pip install {TESTED_VERSIONS}"
        ) from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(missing)"


def _hide_traceback() -> None:
    """Show a `TorchMismatch` that ends the program as one line."""
    default_hook = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, TorchMismatch):
            sys.stderr.write(f"error: {error}\n")
        else:
            default_hook(kind, error, trace)

    sys.excepthook = hook
