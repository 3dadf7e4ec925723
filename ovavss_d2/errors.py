"""How scripts report a user's mistake: one line on stderr and exit code 1."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

DEBUG_VARIABLE = "OVAVSS_DEBUG"
# Raised for wrong input by the project (json's and PyAV's errors are subclasses), and for broken
# files by libraries.
USER_ERRORS = (ValueError, OSError, EOFError, yaml.YAMLError, pickle.UnpicklingError)
# Raised by libraries that build modules from wrong arguments.
BUILD_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a user's mistake as one line and exit with code 1; for `with` or as a decorator.

    With the environment variable OVAVSS_DEBUG=1 the error keeps its traceback. Ctrl-C exits with
    code 130, and SIGTERM with code 143, after `finally` blocks have removed temporary files. Other
    exceptions are bugs and keep their traceback.
    """
    try:
        with _exit_on_sigterm():
            yield
    except USER_ERRORS as error:
        if debugging():
            raise
        _exit(f"error: {one_line(error)}", 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print a user's mistake in the block as one line and go on; with OVAVSS_DEBUG=1 raise it."""
    try:
        yield
    except USER_ERRORS as error:
        if debugging():
            raise
        sys.stderr.write(f"error: {one_line(error)}\n")


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit in the main thread of a program.

    Processes that it starts end at once: one that waits for the others could not raise anything.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or multiprocessing.parent_process() is not None:
        yield
        return

    def leave(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        sys.exit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def debugging() -> bool:
    """Whether the user wants tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


def one_line(error: BaseException) -> str:
    """The message of an error on one line, or its type if it has no message.

    An error in a data loader's worker contains a traceback, whose last line is the message.
    """
    message = str(error)
    if "Traceback (most recent call last)" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(message.split()) or type(error).__name__


def shortened(message: str, length: int = 300) -> str:
    """A message on one line, without the middle of a long one; libraries can list all they know."""
    message = " ".join(message.split())
    half = length // 2 - 2
    return message if len(message) <= length else f"{message[:half]}... {message[-half:]}"


def _exit(message: str, code: int) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(code)
