"""Log lines as a logger gets them, whatever handlers and propagation the runtime has set up."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Recorder(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def recorded_lines(name: str) -> Iterator[list[str]]:
    """The messages that loggers called `name` or below get inside the block."""
    logger, recorder = logging.getLogger(name), _Recorder()
    level = logger.level
    logger.addHandler(recorder)
    logger.setLevel(logging.DEBUG)
    try:
        yield recorder.lines
    finally:
        logger.removeHandler(recorder)
        logger.setLevel(level)
