"""A fuzz case, and strategies that damage valid inputs."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

ANY = "any result or one line of error"
REFUSED = "one line of error"
PORT = b"PORT0"  # in files: becomes the port of a listener, to which nothing may connect


@dataclass(frozen=True)
class Case:
    """An input of a kind.

    Attributes:
        files: content by path; None is a named pipe, and a path that ends with "/" is a folder.
        arguments: of the kind's check; JSON values.
        expected: facts of the right result, `REFUSED` or `ANY`.
    """

    files: dict[str, bytes | None] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    expected: Any = ANY

    def __repr__(self) -> str:
        sizes = {name: content and len(content) for name, content in self.files.items()}
        return f"Case({sizes}, {str(self.arguments)[:400]}, {str(self.expected)[:200]})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # Hypothesis's messages
        printer.text(repr(self))


@dataclass(frozen=True)
class Kind:
    """A strategy for inputs of one kind, and a check that reads an input.

    Attributes:
        cases: makes the cases.
        check: called with the facts of the right result (None: not known) and the arguments, in the
            folder of the files; it returns, raises a user's error, or fails an assertion.
        cost: of a case, relative to the cheapest kinds.
    """

    cases: st.SearchStrategy[Case]
    check: Callable[..., None]
    cost: int = 1


# Values that often become a size, a count or a rate.
_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


@st.composite
def damaged(draw: Callable, content: bytes) -> bytes:
    """The content with up to three changes: cut, overwritten, removed, repeated or inserted."""
    for _ in range(draw(st.integers(1, 3))):
        size = draw(st.sampled_from([1, 2, 4, 8, 64, 1024]))
        last = max(len(content) - 1, 0)
        i = draw(st.integers(0, min(last, 200)) | st.integers(0, last))
        head, piece, tail = content[:i], content[i : i + size], content[i + size :]
        match draw(st.sampled_from(["number", "flip", "cut", "remove", "repeat", "insert"])):
            case "number":
                number = draw(st.sampled_from(_NUMBERS)) % 256**size
                order = draw(st.sampled_from(["little", "big"]))
                content = head + number.to_bytes(size, order) + tail
            case "flip":
                flipped = bytes(x ^ 1 << draw(st.integers(0, 7)) for x in piece[:4])
                content = head + flipped + piece[4:] + tail
            case "cut":
                content = head
            case "remove":
                content = head + tail
            case "repeat":
                content = head + 2 * piece + tail
            case "insert":
                content = head + draw(st.binary(max_size=8)) + piece + tail
    return content


@st.composite
def maybe_damaged(draw: Callable, case: Case) -> Case:
    """The case or, half of the time, the case with a damaged first file."""
    name, content = next(iter(case.files.items()))
    if draw(st.booleans()) or not content:
        return case
    return replace(case, files={**case.files, name: draw(damaged(content))}, expected=ANY)


ODD_TEXTS = st.sampled_from(
    ["", " ", "0", "none", "../../etc/passwd", "/etc/passwd", "a" * 5000, "\0", "\n", "é", "狗"]
    + ["%s", "{}", "-1", "1e999", "nan", "a/b", ".", "..", "x" * 300, "hf-hub:a/b", "[1,2", "()"]
)
ODD_VALUES = ODD_TEXTS | st.sampled_from(
    [0, -1, 1, 2, 0.5, 255, 256, 65536, 10**6, 2**31, 2**63, 10**30, 1e-9, 1e30, -1e30, None, True]
    + [float("inf"), float("nan"), [], {}, [[]], [None], [0] * 300, {"a": 1}, [[1e30] * 6]]
)


@st.composite
def odd_json(draw: Callable, value: Any) -> Any:
    """JSON with up to three values replaced, removed or repeated somewhere in it."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        containers = list(_containers(value))
        if not containers:
            break
        container = draw(st.sampled_from(containers))
        keys = list(container) if isinstance(container, dict) else range(len(container))
        key = draw(st.sampled_from(keys))
        change = draw(st.sampled_from(["replace", "replace", "remove", "repeat"]))
        if change == "replace":
            container[key] = copy.deepcopy(draw(ODD_VALUES))
        elif change == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return value


def _containers(value: Any) -> Iterator[Any]:
    """All lists and dicts in a value that are not empty."""
    if isinstance(value, dict | list) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def to_json(value: Any) -> bytes:
    """JSON as other programs write it, with NaN and Infinity."""
    return json.dumps(value).encode()
