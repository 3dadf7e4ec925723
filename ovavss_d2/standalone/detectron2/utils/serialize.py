"""A wrapper that lets closures travel to other processes."""

import pickle
from importlib.util import find_spec
from typing import Any


class PicklableWrapper:
    """Stands for an object (called, its attributes read) and arrives as that object.

    Closures need the package cloudpickle; without it only what pickle itself takes can travel.
    """

    def __init__(self, obj: Any):
        self._obj = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple:
        if find_spec("cloudpickle") is not None:
            import cloudpickle

            return pickle.loads, (cloudpickle.dumps(self._obj),)
        try:
            return pickle.loads, (pickle.dumps(self._obj),)
        except (AttributeError, pickle.PicklingError) as error:
            raise TypeError(
                f"{self._obj!r} cannot be pickled ({error}): define it at the top level of a "
                "module, or install cloudpickle"
            ) from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_obj":  # while being unpickled or copied
            raise AttributeError(name)
        return getattr(self._obj, name)
