"""How scripts tell a user's mistake: one line on stderr and exit code 1."""

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

DEBUG_VARIABLE = "OVAVSS_DEBUG"
# What the project raises for wrong input (json's and PyAV's errors are among them), and what broken
# files raise.
USER_MISTAKES = (ValueError, OSError, EOFError, yaml.YAMLError, pickle.UnpicklingError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and exit code 1; as `with` or as a decorator.

    With the environment variable OVAVSS_DEBUG=1 the error goes through with its traceback. Ctrl-C
    ends with one line and 130, as shells expect. Every other exception is a fault of ours and keeps
    its traceback.
    """
    try:
        yield
    except USER_MISTAKES as error:
        if debugging():
            raise
        _exit(f"error: {one_line(error)}", 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def debugging() -> bool:
    """Whether the user wants tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


def one_line(error: BaseException) -> str:
    """The error's message on one line; its kind where it has none.

    An error of a loader's worker carries the worker's traceback: its last line is the message.
    """
    message = str(error)
    if "Traceback (most recent call last)" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(message.split()) or type(error).__name__


def _exit(message: str, code: int) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(code)
