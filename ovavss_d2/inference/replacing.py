"""Replacing the results of an earlier run: all or none, and only what the program wrote.

Every file of results contains a mark: PNG, JPEG and MP4 files in a comment, JSON in its first key.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

MARK = "written by ovavss_d2"
_MARKED_PART = 4096  # bytes at either end of a file, one of which has the mark
_LABEL_NAME = re.compile(r"\d{6,}\.png")


def check_replaceable(path: Path) -> None:
    """Check that there is nothing at a path, or only results of an earlier run.

    Raises:
        ValueError: there is something else, such as a symbolic link.
        OSError: it cannot be read.
    """
    foreign = _foreign_path(path)
    if foreign is not None:
        raise ValueError(
            f"'{foreign}' exists and was not written by this program; move it, or choose another "
            "output folder"
        )


def _foreign_path(path: Path) -> Path | None:
    """What the program did not write: the path, or the first such path in a folder."""
    if not os.path.lexists(path):
        return None
    if not stat.S_ISDIR(path.lstat().st_mode):
        return None if _is_marked(path) else path
    files = list(path.iterdir())
    if not files:
        return path
    return next((f for f in files if not (_LABEL_NAME.fullmatch(f.name) and _is_marked(f))), None)


def _is_marked(path: Path) -> bool:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return False
    with open(path, "rb") as file:
        start = file.read(_MARKED_PART)
        file.seek(max(0, status.st_size - _MARKED_PART))
        return MARK.encode() in start or MARK.encode() in file.read(_MARKED_PART)


def check_not_inputs(paths: Iterable[Path], inputs: Iterable[str | os.PathLike]) -> None:
    """Check that replacing some paths removes none of the inputs, under whatever name.

    Raises:
        ValueError: a path is an input, or a folder that contains one.
    """
    resolved = {Path(path).resolve() for path in inputs}
    folders = {folder for path in resolved for folder in path.parents}
    kept = {_identity(path) for path in resolved | folders} - {None}
    for path in paths:
        if _identity(path) in kept:
            raise ValueError(
                f"'{path}' would be overwritten, but it is an input; choose another output folder"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of what a path leads to, or None if there is nothing."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def check_folder(folder: Path) -> None:
    """Check that a folder can be written to, or made.

    Raises:
        ValueError: it cannot.
    """
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"'{existing}': not a folder that can be written to; choose another one")


def move_all(paths: Mapping[Path, Path], old: Path) -> None:
    """Move files and folders to other paths on the same disk, all or none.

    Args:
        paths: from where to where.
        old: an empty folder to which the results of an earlier run are moved.

    Raises:
        ValueError, OSError: see `check_replaceable`; or a path cannot be moved.
    """
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        moved.append((source, target))
        os.rename(source, target)

    try:
        for source, target in paths.items():
            check_replaceable(target)
            if target.exists():
                move(target, old / target.name)
            move(source, target)
    except BaseException:
        for source, target in reversed(moved):
            with suppress(FileNotFoundError):  # the last move may not have happened
                os.rename(target, source)
        raise
