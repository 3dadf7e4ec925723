"""Are the installed packages ones that work together?"""

import sys
from importlib.metadata import PackageNotFoundError, version


class TorchMismatch(ImportError):
    """torch does not load, or torchvision or torchaudio was built for another one."""


def check_torch_family() -> None:
    """Import torch, and torchvision and torchaudio, which load only beside the torch they were
    built for.

    Raises:
        TorchMismatch: they do not load; a script ends with its one line.
    """
    try:
        import torch  # noqa: F401
        import torchaudio  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        _say_without_traceback()
        reason = (str(error).splitlines() or [""])[0]
        raise TorchMismatch(
            f"{_installed('torch')}, {_installed('torchvision')} and {_installed('torchaudio')} do "
            f"not go together ({reason}); "
            "install the tested set: pip install torch==2.14.1 torchvision==0.29.1 "
            "torchaudio==2.11.0"
        ) from None


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _say_without_traceback() -> None:
    """Scripts show a `TorchMismatch` as one line; other exceptions keep their traceback."""
    usual = sys.excepthook

    def hook(kind, error, traceback):
        if issubclass(kind, TorchMismatch):
            sys.stderr.write(f"error: {error}\n")
        else:
            usual(kind, error, traceback)

    sys.excepthook = hook
