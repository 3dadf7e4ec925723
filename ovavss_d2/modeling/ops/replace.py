"""Replacing modules of a model by subclasses that share their parameters."""

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

Kind = TypeVar("Kind", bound=nn.Module)


def share(module: nn.Module, kind: type[Kind]) -> Kind:
    """An instance of a subclass of the module's class, with the same parameters and attributes."""
    twin = kind.__new__(kind)
    twin.__setstate__(module.__dict__)
    return twin


def replace_modules(model: nn.Module, kinds: Mapping[type[nn.Module], type[nn.Module]]) -> None:
    """Replace the modules in a model, in place. Names and parameters stay the same.

    Args:
        model: replaced are the modules in it, not the model itself.
        kinds: subclass by class; instances of exactly these classes are replaced.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in kinds:
                setattr(parent, name, share(child, kinds[type(child)]))
