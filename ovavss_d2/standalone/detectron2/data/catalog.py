"""`DatasetCatalog` and `MetadataCatalog`: data sets by name, and what is known of them."""

import logging
import types
from collections import UserDict
from collections.abc import Callable

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

logger = logging.getLogger(__name__)


class _DatasetCatalog(UserDict):
    """Maps the names of data sets to functions that return their records (`list[dict]`)."""

    def register(self, name: str, func: Callable) -> None:
        """Add a data set.

        Args:
            name: of the data set, such as "coco_2014_train".
            func: takes no argument and returns the same records whenever it is called.
        """
        if not callable(func):
            raise AssertionError("You must register a function with `DatasetCatalog.register`!")
        if name in self:
            raise AssertionError(f"Dataset '{name}' is already registered!")
        self[name] = func

    def get(self, name: str):
        """Call the function of a data set and return its records; KeyError if there is none."""
        try:
            load = self[name]
        except KeyError as error:
            known = ", ".join(self.keys())
            raise KeyError(
                f"Dataset '{name}' is not registered! Available datasets are: {known}"
            ) from error
        return load()

    def list(self) -> list[str]:
        """Names of all data sets."""
        return list(self.keys())

    def remove(self, name: str) -> None:
        """Forget a data set."""
        self.pop(name)

    def __str__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self.keys())})"

    __repr__ = __str__


class Metadata(types.SimpleNamespace):
    """Facts about a data set as attributes, each of which can be set once.

    Setting an attribute again is allowed only with an equal value. `class_names` is an old name of
    `thing_classes`.
    """

    name: str = "N/A"

    _RENAMED = {"class_names": "thing_classes"}

    def __init__(self, **facts):
        super().__init__(**facts)

    def __getattr__(self, key):
        if key in self._RENAMED:
            return getattr(self, self._new_name(key))
        raise AttributeError(
            f"Attribute '{key}' does not exist in the metadata of dataset '{self.name}': "
            + (
                f"available keys are {list(vars(self))}."
                if len(vars(self)) > 1
                else "metadata is empty."
            )
        )

    def __setattr__(self, key, value):
        if key in self._RENAMED:
            key = self._new_name(key)
        if key in vars(self) and vars(self)[key] != value:
            raise AssertionError(
                f"Attribute '{key}' in the metadata of '{self.name}' cannot be set "
                f"to a different value!\n{vars(self)[key]} != {value}"
            )
        super().__setattr__(key, value)

    def _new_name(self, key: str) -> str:
        new = self._RENAMED[key]
        logger.warning(f"Metadata '{key}' was renamed to '{new}'!")
        return new

    def as_dict(self) -> dict:
        """A copy of all facts; changing it does not change the metadata."""
        return dict(vars(self))

    def set(self, **facts) -> "Metadata":
        """Set several facts; returns the metadata itself."""
        for key, value in facts.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default=None):
        """A fact, or `default` if it is not known."""
        return getattr(self, key, default)


class _MetadataCatalog(UserDict):
    """Maps the names of data sets to their `Metadata`, one object a name, made on demand."""

    def get(self, name: str) -> Metadata:
        """The metadata of a data set; the same object at every call."""
        if not name:
            raise AssertionError("MetadataCatalog.get(name) expects the name of a data set")
        if name not in self:
            self[name] = Metadata(name=name)
        return self[name]

    def list(self) -> list[str]:
        """Names of all data sets that have metadata."""
        return list(self.keys())

    def remove(self, name: str) -> None:
        """Forget the metadata of a data set."""
        self.pop(name)

    def __str__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self.keys())})"

    __repr__ = __str__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
