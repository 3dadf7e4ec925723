"""Log set-up (a format for the screen, one for files, a file per process) and sparing log calls."""

import atexit
import functools
import logging
import os
import sys
import time
from collections import Counter
from typing import IO

from tabulate import tabulate
from termcolor import colored

from .file_io import PathManager

__all__ = [
    "setup_logger",
    "log_first_n",
    "log_every_n",
    "log_every_n_seconds",
    "create_small_table",
]

DATE_FORMAT = "%m/%d %H:%M:%S"
FILE_FORMAT = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"


class _ShortNames(logging.Formatter):
    """Shows the root logger's name abbreviated: "detectron2.utils" as "d2.utils"."""

    def __init__(self, pattern: str, *, root_name: str, abbreviation: str):
        super().__init__(pattern, datefmt=DATE_FORMAT)
        self._root = root_name + "."
        self._abbreviation = abbreviation + "." if abbreviation else ""

    def formatMessage(self, record: logging.LogRecord) -> str:
        full_name = record.name
        record.name = full_name.replace(self._root, self._abbreviation)
        try:
            return self._compose(record)
        finally:
            record.name = full_name  # other handlers get the same record

    def _compose(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record)


class _Coloured(_ShortNames):
    """The format of the screen: levels above INFO are marked by a coloured word."""

    def _compose(self, record: logging.LogRecord) -> str:
        line = super()._compose(record)
        if record.levelno == logging.WARNING:
            return colored("WARNING", "red", attrs=["blink"]) + " " + line
        if record.levelno >= logging.ERROR:
            return colored("ERROR", "red", attrs=["blink", "underline"]) + " " + line
        return line


@functools.cache  # a second call for the same logger adds no second handler
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Send the logs below `name` to the screen (rank 0 only) and to a file, from DEBUG upwards.

    Args:
        output: a log file (.txt or .log) or the folder of `log.txt`; None for no file. Ranks
            above 0 append ".rankN" to it.
        distributed_rank: this process's rank.
        color: mark time stamps and levels by colours on the screen.
        name: the logger's name, a package's as a rule.
        abbrev_name: how the lines call it; "d2" for detectron2 if None.
        enable_propagation: hand lines on to parent loggers too.
        configure_stdout: write to the screen.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    plain = _ShortNames(FILE_FORMAT, root_name=name, abbreviation=abbrev_name)
    if configure_stdout and distributed_rank == 0:
        pattern = colored("[%(asctime)s %(name)s]: ", "green") + "%(message)s"
        coloured = _Coloured(pattern, root_name=name, abbreviation=abbrev_name)
        _add_handler(logger, sys.stdout, coloured if color else plain)
    if output is not None:
        _add_handler(logger, _open_log(_log_path(output, distributed_rank)), plain)
    return logger


def _add_handler(logger: logging.Logger, stream: IO[str], formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _log_path(output: str, rank: int) -> str:
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return path if rank == 0 else f"{path}.rank{rank}"


@functools.cache  # loggers with the same file share one stream
def _open_log(path: str) -> IO[str]:
    PathManager.mkdirs(os.path.dirname(path))
    # Line by line on a local disk; remote storage takes larger pieces.
    stream = PathManager.open(path, "a", buffering=1 if "://" not in path else 1024 * 1024)
    atexit.register(stream.close)
    return stream


def _caller() -> tuple[str, tuple[str, int, str]]:
    """The first frame outside this file: its module's name and its (file, line, function)."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    module = frame.f_globals["__name__"]
    place = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    # A script run as __main__ logs under the runtime's name, for which handlers exist.
    return ("detectron2" if module == "__main__" else module), place


_counts: Counter = Counter()
_last_times: dict = {}


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log the first `n` times only.

    Args:
        lvl: the level, such as logging.INFO.
        msg: the line.
        n: how often.
        name: the logger; the caller's module if None.
        key: what counts as the same line: "caller", "message" or both in a tuple.
    """
    module, place = _caller()
    keys = (key,) if isinstance(key, str) else tuple(key)
    identity = tuple({"caller": place, "message": msg}[part] for part in keys)
    _counts[identity] += 1
    if _counts[identity] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first and then every `n`-th call from the same line."""
    module, place = _caller()
    _counts[place] += 1
    if n == 1 or _counts[place] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log from the same line at most once in `n` seconds."""
    module, place = _caller()
    now = time.monotonic()
    if place not in _last_times or now - _last_times[place] >= n:
        _last_times[place] = now
        logging.getLogger(name or module).log(lvl, msg)


def create_small_table(small_dict: dict) -> str:
    """A table of one row whose headings are the keys."""
    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
