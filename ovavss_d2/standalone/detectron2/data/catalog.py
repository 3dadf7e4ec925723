"""`DatasetCatalog` and `MetadataCatalog`: data sets and their metadata by name."""

import types
from collections import UserDict
from collections.abc import Callable
from typing import Any

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]


class _DatasetCatalog(UserDict):
    """Maps the names of data sets to functions that return their records (`list[dict]`)."""

    def register(self, name: str, func: Callable) -> None:
        """Register a data set.

        Args:
            name: of the data set, such as "coco_2014_train".
            func: takes no argument and returns the same records in each call.
        """
        if not callable(func):
            raise AssertionError("You must register a function with `DatasetCatalog.register`!")
        if name in self:
            raise AssertionError(f"Dataset '{name}' is already registered!")
        self[name] = func

    def get(self, name: str) -> Any:
        """Return the records of a data set; KeyError if it is not registered."""
        try:
            load = self[name]
        except KeyError as error:
            known = ", ".join(self.keys())
            raise KeyError(
                f"Dataset '{name}' is not registered! Available datasets are: {known}"
            ) from error
        return load()

    def list(self) -> list[str]:
        """Return the names of all data sets."""
        return list(self.keys())

    def remove(self, name: str) -> None:
        """Remove a data set."""
        self.pop(name)

    def __str__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self.keys())})"

    __repr__ = __str__


class Metadata(types.SimpleNamespace):
    """The metadata of a data set as attributes, which can be set again only to an equal value."""

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(
            f"Attribute '{key}' does not exist in the metadata of dataset '{self.name}': "
            + (
                f"available keys are {list(vars(self))}."
                if len(vars(self)) > 1
                else "metadata is empty."
            )
        )

    def __setattr__(self, key: str, value: Any) -> None:
        if key in vars(self) and vars(self)[key] != value:
            raise AssertionError(
                f"Attribute '{key}' in the metadata of '{self.name}' cannot be set "
                f"to a different value!\n{vars(self)[key]} != {value}"
            )
        super().__setattr__(key, value)

    def as_dict(self) -> dict:
        """Return a copy of all attributes as a dict."""
        return dict(vars(self))

    def set(self, **attributes: Any) -> "Metadata":
        """Set several attributes and return the metadata itself."""
        for key, value in attributes.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, or `default` if it is not set."""
        return getattr(self, key, default)


class _MetadataCatalog(UserDict):
    """Maps the names of data sets to their `Metadata`, one object per name."""

    def get(self, name: str) -> Metadata:
        """Return the metadata of a data set, created in the first call."""
        if not name:
            raise AssertionError("MetadataCatalog.get(name) expects the name of a data set")
        if name not in self:
            self[name] = Metadata(name=name)
        return self[name]

    def list(self) -> list[str]:
        """Return the names of all data sets that have metadata."""
        return list(self.keys())

    def remove(self, name: str) -> None:
        """Remove the metadata of a data set."""
        self.pop(name)

    def __str__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self.keys())})"

    __repr__ = __str__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
