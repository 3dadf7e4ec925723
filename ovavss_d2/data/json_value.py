"""Values of JSON files, which are checked when they are used."""

import math
from collections.abc import Iterator
from typing import Any


class JsonValue:
    """A value of a JSON file with its position, such as "videos[3].times".

    The methods return it as the type that is expected, or raise a `ValueError` with the position.
    """

    def __init__(self, value: Any, position: str = ""):
        self.value = value
        self.position = position

    def error(self, problem: str) -> ValueError:
        """An error about this value."""
        return ValueError(f"{self.position or 'the file'}: {problem}")

    def __contains__(self, key: str) -> bool:
        """Whether an object has a key whose value is not null."""
        return self._of_type(dict, "an object").get(key) is not None

    def __getitem__(self, key: str) -> "JsonValue":
        """The value of a key, which the object must have."""
        if key not in self._of_type(dict, "an object"):
            raise self.error(f"it lacks '{key}'")
        return JsonValue(self.value[key], f"{self.position}.{key}".lstrip("."))

    def items(self) -> Iterator["JsonValue"]:
        """The items of a list."""
        for i, value in enumerate(self._of_type(list, "a list")):
            yield JsonValue(value, f"{self.position}[{i}]")

    def text(self) -> str:
        """A text that is not empty."""
        if not self._of_type(str, "text").strip():
            raise self.error("it is empty, expected text")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self._unexpected(f"an integer from {low} to {high}")
        return self.value

    def number(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        if type(self.value) not in (int, float) or not low <= self.value <= high:
            raise self._unexpected(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def identifier(self) -> str:
        """An integer or text, as text: 7 and "7" are the same."""
        whole = isinstance(self.value, float) and math.isfinite(self.value) and self.value % 1 == 0
        value = int(self.value) if whole else self.value
        if type(value) not in (int, str):
            raise self._unexpected("an integer or text")
        return str(value)

    def _of_type(self, kind: type, expected: str) -> Any:
        if not isinstance(self.value, kind):
            raise self._unexpected(expected)
        return self.value

    def _unexpected(self, expected: str) -> ValueError:
        return self.error(f"found {describe(self.value)}, expected {expected}")


def describe(value: Any) -> str:
    """A short description of a value of a JSON file, for messages."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and (
        len(value) > 4 or any(isinstance(v, list | dict) for v in value)
    ):
        return f"a list of length {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
