"""Recording of log messages, independent of the handlers and propagation of the runtime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recorded_lines(name: str) -> Iterator[list[str]]:
    """Record the messages of the logger `name` and its children in the block."""
    lines: list[str] = []
    logger, handler = logging.getLogger(name), logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
