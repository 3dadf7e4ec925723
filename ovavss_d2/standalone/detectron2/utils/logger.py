"""`setup_logger`, for log lines on the screen and in files, and `log_every_n_seconds`."""

import atexit
import functools
import logging
import os
import sys
import time
from types import FrameType
from typing import IO

from termcolor import colored

from .file_io import PathManager

__all__ = ["log_every_n_seconds", "setup_logger"]

DATE_FORMAT = "%m/%d %H:%M:%S"
FILE_FORMAT = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"


class _ShortNames(logging.Formatter):
    """Abbreviates the root logger's name: "detectron2.utils" becomes "d2.utils"."""

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


class _Colored(_ShortNames):
    """The format of the screen, with a colored word for levels above INFO."""

    def _compose(self, record: logging.LogRecord) -> str:
        line = super()._compose(record)
        if record.levelno == logging.WARNING:
            return colored("WARNING", "red", attrs=["blink"]) + " " + line
        if record.levelno >= logging.ERROR:
            return colored("ERROR", "red", attrs=["blink", "underline"]) + " " + line
        return line


@functools.cache  # a second call with the same arguments does not add handlers
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
    """Write the logs of `name` and its children to the screen and to a file, from level DEBUG.

    Args:
        output: a log file (.txt or .log) or the folder of `log.txt`; None for no file. Ranks
            above 0 append ".rankN" to the name.
        distributed_rank: rank of this process; only rank 0 writes to the screen.
        color: use colors on the screen.
        name: name of the logger, usually that of a package.
        abbrev_name: replaces `name` in the lines; None: "d2" for detectron2, else `name`.
        enable_propagation: pass lines to parent loggers, too.
        configure_stdout: write to the screen.

    Returns:
        The logger.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    plain = _ShortNames(FILE_FORMAT, root_name=name, abbreviation=abbrev_name)
    if configure_stdout and distributed_rank == 0:
        pattern = colored("[%(asctime)s %(name)s]: ", "green") + "%(message)s"
        colored_format = _Colored(pattern, root_name=name, abbreviation=abbrev_name)
        _add_handler(logger, sys.stdout, colored_format if color else plain)
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
    # Line by line on a local disk; in larger blocks to remote storage.
    stream = PathManager.open(path, "a", buffering=1 if "://" not in path else 1024 * 1024)
    atexit.register(stream.close)
    return stream


def _caller() -> tuple[str, tuple[str, int, str]]:
    """The module name and the (file, line, function) of the first frame outside this file."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    assert frame is not None
    module = frame.f_globals["__name__"]
    line = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    # A script that runs as __main__ uses the runtime's logger, which has handlers.
    return ("detectron2" if module == "__main__" else module), line


_last_times: dict[tuple[str, int, str], float] = {}


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message at most once in `n` seconds from the same line of code.

    Args:
        lvl: the level, such as logging.INFO.
        msg: the message.
        n: number of seconds.
        name: of the logger; the caller's module if None.
    """
    module, line = _caller()
    now = time.monotonic()
    if line not in _last_times or now - _last_times[line] >= n:
        _last_times[line] = now
        logging.getLogger(name or module).log(lvl, msg)
