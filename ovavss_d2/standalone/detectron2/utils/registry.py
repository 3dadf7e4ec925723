"""`Registry` (fvcore's own) and `locate`, which finds an object by its dotted name."""

import pydoc
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """Import and return the object called `name`, such as "torch.nn.Linear".

    Raises ImportError if no module or attribute of that name exists.
    """
    found = pydoc.locate(name)
    if found is None:
        raise ImportError(
            f"Cannot locate {name!r}: expected the dotted name of an importable object; "
            "check its spelling"
        )
    return found
