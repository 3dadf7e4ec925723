"""`Instances`: the objects of one image, one field for each of their properties."""

import itertools
from collections.abc import Callable
from typing import Any

import torch


class Instances:
    """Fields of equal length N, such as boxes, masks, classes and scores, and the image's size.

    Fields are read and written as attributes: `instances.scores = ...`. Attributes that start with
    "_" are not fields. `instances[index]` indexes every field.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any):
        """
        Args:
            image_size: (height, width).
            **kwargs: fields.
        """
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Unpickling and copying ask for attributes before `_fields` exists.
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"Cannot find field '{name}' in the given Instances!")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Set a field; its length must be that of the other fields."""
        length = len(value)
        if self._fields and length != len(self):
            raise AssertionError(
                f"Adding a field of length {length} to a Instances of length {len(self)}"
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether the field exists."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Delete a field."""
        del self._fields[name]

    def get(self, name: str) -> Any:
        """Return a field; KeyError if it does not exist."""
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return the fields by name; changing the dict changes the instances."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Return the instances with every field moved that has a `to`."""
        return self._map(lambda v: v.to(*args, **kwargs) if hasattr(v, "to") else v)

    def _map(self, function: Callable[[Any], Any]) -> "Instances":
        result = Instances(self._image_size)
        for name, value in self._fields.items():
            result.set(name, function(value))
        return result

    def __getitem__(self, item: int | slice | torch.Tensor) -> "Instances":
        """Index all fields; an integer gives one instance."""
        if type(item) is int:
            if not -len(self) <= item < len(self):
                raise IndexError("Instances index out of range!")
            item = slice(item, None, len(self))
        return self._map(lambda value: value[item])

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Empty Instances does not support __len__!")

    def __iter__(self) -> Any:
        raise NotImplementedError("`Instances` object is not iterable!")

    @staticmethod
    def cat(instance_lists: list["Instances"]) -> "Instances":
        """Concatenate a list of instances with the same image size and fields."""
        if not instance_lists or not all(isinstance(part, Instances) for part in instance_lists):
            raise AssertionError("expected a non-empty list of Instances")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        if any(part.image_size != first.image_size for part in instance_lists):
            raise AssertionError("Instances of different image sizes cannot be joined")
        result = Instances(first.image_size)
        for name in first.get_fields():
            result.set(name, _join([part.get(name) for part in instance_lists]))
        return result

    def __str__(self) -> str:
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        height, width = self._image_size
        return (
            f"Instances(num_instances={len(self)}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )

    __repr__ = __str__


def _join(values: list) -> Any:
    kind = type(values[0])
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values, dim=0)
    if isinstance(values[0], list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(kind, "cat"):
        return kind.cat(values)
    raise ValueError(f"Unsupported type {kind} for concatenation")
