"""Checks of config files and of their values: an error names the file or the key."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml

MAX_YAML_SIZE = 200_000  # characters
MAX_VALUES = 10_000
MAX_SIZE = 100_000
# Sizes and counts from 1 to MAX_SIZE.
SIZES = re.compile(
    r"\.(PIXEL_STD|.*DIM|.*_FFN|.*_FEEDFORWARD|.*_POINTS|.*_QUERIES|.*_TOKENS|NHEADS|WIDTH|BATCH"
    r"|.*_FRAME_NUM|.*_CLASSES|SAMPLE_RATE|MIN_SIZE_TRAIN|IMS_PER_BATCH)$"
)

# What a value has to be, by the type of its default.
KINDS: dict[type, tuple[str, Any]] = {
    bool: ("True or False", bool),
    int: ("a number", (int, float)),
    float: ("a number", (int, float)),
    str: ("text", str),
}


def check_yaml(path: str, users: Sequence[str] = (), *, based: bool = True) -> None:
    """Check a YAML config and the files that its `_BASE_` names, which must be local.

    Args:
        path: the file.
        users: the files that lead to it by `_BASE_`.
        based: whether it may have a `_BASE_`.

    Raises:
        ValueError: a file is missing or not of the form `KEY: value`, or based on itself or a URL.
        yaml.YAMLError: a file is not YAML.
    """
    if any(os.path.samefile(path, user) for user in users if os.path.isfile(path)):
        raise ValueError(f"'{path}' is based on itself; check _BASE_")
    if not os.path.isfile(path):
        raise ValueError(f"'{users[-1]}' is based on '{path}', which is not a file; check _BASE_")
    with open(path, encoding="utf-8") as file:
        text = file.read(MAX_YAML_SIZE)
    # The parser takes quadratic time for nested brackets.
    if len(text) == MAX_YAML_SIZE or sum(map(text.count, ("[", "{", "- "))) > MAX_VALUES:
        raise ValueError(f"'{path}' is too large for a config")
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"'{path}' holds {kind}, expected YAML of the form 'KEY: value'")
    leaves(content)
    if type(version := content.get("VERSION", 0)) is not int:
        raise ValueError(f"'{path}' has VERSION '{version}', expected a whole number")
    bases = content.get("_BASE_", [])
    if bases and not based:
        raise ValueError(f"'{path}' has a _BASE_, but the config of an exported model is complete")
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base or "://" in base:
            raise ValueError(f"'{path}' has _BASE_ '{base}', expected the path of a YAML file")
        check_yaml(os.path.join(os.path.dirname(path), os.path.expanduser(base)), (*users, path))


def leaves(node: Mapping[str, Any]) -> dict[str, Any]:
    """The values of nested nodes by full name.

    Raises:
        ValueError: a key is not text, or there are too many values (a YAML alias can repeat them
            without end).
    """
    found: dict[str, Any] = {}
    remaining: list[tuple[str, Any]] = [("", node)]
    count = 0
    while remaining:
        name, value = remaining.pop()
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"the key {key!r} is not text")
            children = [(f"{name}.{key}".lstrip("."), child) for key, child in value.items()]
        else:
            found.setdefault(name, value)
            children = [(name, child) for child in value] if isinstance(value, list | tuple) else []
        count += len(children)
        if count > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        remaining += children
    return found


def check_values(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check what the type of a value does not say; the default shows what a key can be.

    Raises:
        ValueError: a number is not finite, or negative though its default is not; a value or an
            element of a list has another type; the device does not exist.
    """
    known = leaves(defaults)
    for key, value in leaves(cfg).items():
        if key in known:
            _check_value(key, value, known[key])
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if len(cfg["MODEL"][key]) != 3:
            count = len(cfg["MODEL"][key])
            raise ValueError(f"MODEL.{key} has {count} values, expected 3: red, green, blue")
    try:
        torch.device(cfg["MODEL"]["DEVICE"])
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is '{cfg['MODEL']['DEVICE']}', expected cpu, cuda or cuda:NUMBER"
        ) from error


def _check_value(key: str, value: Any, default: Any) -> None:
    is_list = isinstance(default, list | tuple)
    samples = (list(default) or [_sample(key)]) if is_list else [default]
    if type(samples[0]) not in KINDS:
        return
    kind, types = KINDS[type(samples[0])]
    lowest = 0
    if kind == "a number":
        lowest = min(1 if SIZES.search(key) or key == "SOLVER.CHECKPOINT_PERIOD" else 0, *samples)
    for x in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(x, types):
            raise ValueError(f"{key} holds {x!r}, expected {kind}")
        if kind != "a number":
            continue
        if not math.isfinite(x):
            raise ValueError(f"{key} is {x}, expected a finite number")
        if x < lowest:
            raise ValueError(f"{key} is {x}, expected at least {lowest}")
        if x > MAX_SIZE and SIZES.search(key):
            raise ValueError(f"{key} is {x}, expected at most {MAX_SIZE}")


def _sample(key: str) -> str | None:
    """What a list holds that is empty by default: names, if it is a list of data sets or names."""
    return "" if key.startswith(("DATASETS.", "MODEL.")) else None
