"""Clear errors for the parts of Detectron2 that the standalone runtime does not implement.

A finder at the front of `sys.meta_path` loads the runtime's modules. When a module, or a name in a
package, does not exist, its import raises a `ModuleNotFoundError` that says to install Detectron2.
Every module also gets a `__getattr__` that raises the same message for missing attributes, and
classes and registries of which only a part is implemented do the same.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from fvcore.common.registry import Registry

_INSTALL = (
    "install Detectron2 itself to use it (https://detectron2.readthedocs.io/tutorials/install.html)"
)


def missing_message(name: str) -> str:
    """The error message for a missing part of Detectron2."""
    return f"the standalone Detectron2 runtime of ovavss_d2 has no '{name}'; {_INSTALL}"


class PartialClass:
    """Base of classes that implement a part of what Detectron2's class of the same name has."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(missing_message(f"{type(self).__name__}.{name}"))


class PartialRegistry(Registry):
    """A registry in which Detectron2 has entries that the runtime does not have."""

    def get(self, name: str) -> Any:
        """Return the entry called `name`; KeyError if there is none."""
        if name not in self:
            raise KeyError(
                f"No object named '{name}' found in '{self._name}' registry; if it is a part of"
                f" Detectron2, {_INSTALL}"
            )
        return super().get(name)


def missing_attribute(module_name: str, is_package: bool) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module of the runtime.

    A package raises AttributeError, after which `from package import name` asks the finder. A plain
    module raises ImportError, because the import statement would replace an AttributeError by one
    with its own message. Dunder names, which tools look up freely, always raise AttributeError.
    """

    def module_getattr(name: str) -> Any:
        error = AttributeError if is_package or name.startswith("__") else ImportError
        raise error(missing_message(f"{module_name}.{name}"))

    return module_getattr


class _RuntimeLoader(SourceFileLoader):
    """Loads a module and adds the `__getattr__` that explains what is missing."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        is_package = hasattr(module, "__path__")
        module.__getattr__ = missing_attribute(module.__name__, is_package)


class _RuntimeFinder(MetaPathFinder):
    """Finds the modules of one top-level package and explains those that do not exist."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the runtime; None for modules of other packages."""
        if not fullname.startswith(self.package + "."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            # The error's `name` is the top-level package: with the module's own name, the
            # statement `from package import part` would swallow this error and its message.
            raise ModuleNotFoundError(missing_message(fullname), name=self.package)
        if type(spec.loader) is SourceFileLoader:
            spec.loader = _RuntimeLoader(spec.loader.name, spec.loader.path)
        return spec


def install_finder(package: str) -> None:
    """Use the finder for the modules of `package`; called from its `__init__`."""
    if not any(isinstance(finder, _RuntimeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RuntimeFinder(package))
    root = sys.modules[package]
    root.__getattr__ = missing_attribute(package, is_package=True)
