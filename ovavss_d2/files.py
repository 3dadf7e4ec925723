"""Read JSON; write files and folders atomically: under its final name each is always complete.

Until then they have a hidden name with random digits. The process that writes them holds a lock on
them, so the next run recognizes what a killed one left, and removes it.
"""

import fcntl
import functools
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_HIDDEN_NAME = re.compile(r"\.[0-9a-f]{16}\.partial(\.[^.]*)?")


@contextmanager
def atomic_path(path: str | os.PathLike, *, durable: bool = True) -> Iterator[Path]:
    """A hidden file in the folder of `path`, renamed to `path` when the block succeeds.

    It keeps the suffix, which sets the format for some writers. If the block fails, the hidden file
    is removed and an existing file at `path` is kept.

    Args:
        path: the file to write; missing folders are created.
        durable: whether the content is on the disk before the file gets its name, so that it is
            complete even after a power cut. Many small files are written faster without it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _hidden_path(path.parent, path.suffix, is_folder=False) as hidden:
        yield hidden
        if durable:
            with open(hidden, "rb") as file:
                os.fsync(file.fileno())
        os.replace(hidden, path)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A hidden folder beside `path`, renamed to `path` when the block succeeds.

    An existing file or folder with content at `path` is an OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hidden_folder(path.parent) as hidden:
        yield hidden
        os.rename(hidden, path)


def hidden_folder(parent: str | os.PathLike) -> AbstractContextManager[Path]:
    """A hidden folder in an existing folder, removed at the end of the block."""
    return _hidden_path(Path(parent), "", is_folder=True)


@contextmanager
def _hidden_path(folder: Path, suffix: str, *, is_folder: bool) -> Iterator[Path]:
    _remove_abandoned(folder.absolute())
    path, descriptor = _create_locked(folder, suffix, is_folder)
    try:
        yield path
    finally:
        _remove(path)
        os.close(descriptor)


def _create_locked(folder: Path, suffix: str, is_folder: bool) -> tuple[Path, int]:
    while True:
        path = folder / f".{secrets.token_hex(8)}.partial{suffix}"
        if is_folder:
            path.mkdir()
        else:
            path.touch(exist_ok=False)
        with suppress(FileNotFoundError):  # another process removed it before it was locked
            descriptor = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks; there nothing is removed either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return path, descriptor
            os.close(descriptor)


@functools.lru_cache(maxsize=256)
def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left in a folder; once per process."""
    for path in folder.glob(".*.partial*"):
        if _HIDDEN_NAME.fullmatch(path.name):
            with suppress(OSError):  # another process writes it, or it is gone
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(path)
                finally:
                    os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_torch(path: str | os.PathLike, content: Any) -> None:
    """Write a torch file atomically; the same content gives the same bytes under any name.

    Raises:
        OSError: it cannot be written, for example because the disk is full.
    """
    with atomic_path(path) as hidden, open(hidden, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch reports so what the file raised
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise OSError(f"cannot write '{path}': {reason}") from error


def write_json(path: str | os.PathLike, content: Any, *, indent: int | None = 2) -> None:
    """Write strict JSON atomically; NaN and infinity become null."""
    with atomic_path(path) as temporary:
        text = json.dumps(_without_nan(content), indent=indent, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike, hint: str) -> Any:
    """Read JSON; a broken file is a `ValueError` that ends with `hint`."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except RecursionError as error:
        raise ValueError(f"'{path}': broken JSON (too many nested brackets); {hint}") from error
    except ValueError as error:
        raise ValueError(f"'{path}': broken JSON ({error}); {hint}") from error


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
