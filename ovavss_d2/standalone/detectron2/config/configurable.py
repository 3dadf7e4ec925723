"""`configurable`: lets constructors and functions take a config instead of their arguments."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from detectron2.config.config import CfgNode

_USAGE = "Incorrect use of @configurable. Check API documentation for examples."
_NO_FROM_CONFIG = "Class with @configurable must have a 'from_config' classmethod."


def configurable(
    init_func: Callable | None = None, *, from_config: Callable | None = None
) -> Callable:
    """Let a constructor or a function take a config, which `from_config` converts to arguments.

    Usage:

        class A:
            @configurable
            def __init__(self, *, width, depth=2): ...

            @classmethod
            def from_config(cls, cfg):  # the first argument must be called cfg
                return {"width": cfg.WIDTH}

        A(width=3), A(cfg), A(cfg, depth=5)  # keywords override what from_config returns

        @configurable(from_config=lambda cfg: {"width": cfg.WIDTH})
        def build(width, depth=2): ...

    Arguments that `from_config` accepts are passed to it, all others to the constructor.
    """
    if init_func is not None:
        is_init = inspect.isfunction(init_func) and init_func.__name__ == "__init__"
        if from_config is not None or not is_init:
            raise AssertionError(_USAGE)
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    if not inspect.isfunction(from_config):
        raise AssertionError("from_config argument of configurable must be a function!")
    return functools.partial(_configurable_function, from_config=from_config)


def _configurable_init(init_func: Callable) -> Callable:
    @functools.wraps(init_func)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            from_config = type(self).from_config
        except AttributeError as error:
            raise AttributeError(_NO_FROM_CONFIG) from error
        if not inspect.ismethod(from_config):
            raise TypeError(_NO_FROM_CONFIG)
        if _called_with_config(args, kwargs):
            init_func(self, **_arguments(from_config, args, kwargs))
        else:
            init_func(self, *args, **kwargs)

    return wrapped


def _configurable_function(function: Callable, *, from_config: Callable) -> Callable:
    if not inspect.isfunction(function):
        raise AssertionError(_USAGE)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _called_with_config(args, kwargs):
            return function(**_arguments(from_config, args, kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config
    return wrapped


def _called_with_config(args: tuple, kwargs: dict[str, Any]) -> bool:
    return isinstance(args[0] if args else kwargs.get("cfg"), CfgNode)


def _arguments(from_config: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the wrapped callable: those of `from_config`, overridden by other keywords."""
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        owner = getattr(from_config, "__self__", from_config)
        raise TypeError(f"{owner}.from_config must take 'cfg' as the first argument!")
    kinds = {parameter.kind for parameter in parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return from_config(*args, **kwargs)
    own = {name: value for name, value in kwargs.items() if name in parameters}
    other = {name: value for name, value in kwargs.items() if name not in parameters}
    return {**from_config(*args, **own), **other}
