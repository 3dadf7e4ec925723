"""Clear errors for the parts of Detectron2 that the standalone runtime does not have.

A finder at the front of `sys.meta_path` loads the modules of the runtime. It turns the import of a
module, or of a name in a package, that does not exist into a `ModuleNotFoundError` that says to
install Detectron2, and gives every module a `__getattr__` that says the same for attributes.
"""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader

_MESSAGE = (
    "the standalone Detectron2 runtime of ovavss_d2 has no '{}'; install Detectron2 itself to use "
    "it (https://detectron2.readthedocs.io/tutorials/install.html)"
)


def missing_attribute(module_name: str, is_package: bool) -> Callable:
    """The `__getattr__` of a module of the runtime.

    A package raises AttributeError, after which `from package import name` asks the finder. A plain
    module raises ImportError, because the import statement would replace an AttributeError with a
    message of its own; dunder names, which tools look up freely, always give AttributeError.
    """

    def module_getattr(name: str):
        error = AttributeError if is_package or name.startswith("__") else ImportError
        raise error(_MESSAGE.format(f"{module_name}.{name}"))

    return module_getattr


class _RuntimeLoader(SourceFileLoader):
    """Loads a module, then gives it the `__getattr__` that explains what is missing."""

    def exec_module(self, module):
        super().exec_module(module)
        is_package = hasattr(module, "__path__")
        module.__getattr__ = missing_attribute(module.__name__, is_package)


class _RuntimeFinder(MetaPathFinder):
    """Finds the modules of one top-level package and refuses those that it does not have."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        """Spec of a module of the runtime; None for modules of other packages."""
        if not fullname.startswith(self.package + "."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            # The error's `name` is the top-level package: with the module's own name, the
            # statement `from package import part` would swallow this error and its message.
            raise ModuleNotFoundError(_MESSAGE.format(fullname), name=self.package)
        if type(spec.loader) is SourceFileLoader:
            spec.loader = _RuntimeLoader(spec.loader.name, spec.loader.path)
        return spec


def install_finder(package: str) -> None:
    """Use the finder for the modules of `package` (imported from its `__init__`)."""
    if not any(isinstance(finder, _RuntimeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RuntimeFinder(package))
    root = sys.modules[package]
    root.__getattr__ = missing_attribute(package, is_package=True)
