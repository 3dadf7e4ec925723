"""How scripts report a user's mistake: one line on stderr and exit code 1."""

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

DEBUG_VARIABLE = "OVAVSS_DEBUG"
# Raised for wrong input by the project (json's and PyAV's errors are subclasses), and for broken
# files by libraries.
USER_ERRORS = (ValueError, OSError, EOFError, yaml.YAMLError, pickle.UnpicklingError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a user's mistake as one line and exit with code 1; for `with` or as a decorator.

    With the environment variable OVAVSS_DEBUG=1 the error keeps its traceback. Ctrl-C exits with
    code 130. Other exceptions are bugs and keep their traceback.
    """
    try:
        yield
    except USER_ERRORS as error:
        if debugging():
            raise
        _exit(f"error: {one_line(error)}", 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


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


def _exit(message: str, code: int) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(code)
