"""`configurable`: constructors and functions that take a config in place of arguments."""

import functools
import inspect
from collections.abc import Callable, Mapping

from detectron2.config.config import CfgNode

_USAGE = "Incorrect use of @configurable. Check API documentation for examples."
_NO_FROM_CONFIG = "Class with @configurable must have a 'from_config' classmethod."


def configurable(init_func: Callable | None = None, *, from_config: Callable | None = None):
    """Let a constructor or a function take a config, which `from_config` turns into arguments.

    Two ways to use it:

        class A:
            @configurable
            def __init__(self, *, width, depth=2): ...

            @classmethod
            def from_config(cls, cfg):  # the first argument must be called cfg
                return {"width": cfg.WIDTH}

        A(width=3), A(cfg), A(cfg, depth=5)  # keywords win over what from_config returns

        @configurable(from_config=lambda cfg: {"width": cfg.WIDTH})
        def build(width, depth=2): ...

    Arguments that `from_config` itself accepts are passed to it, all others to the constructor.
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


def _configurable_init(init_func):
    @functools.wraps(init_func)
    def wrapped(self, *args, **kwargs):
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


def _configurable_function(function, *, from_config):
    if not inspect.isfunction(function):
        raise AssertionError(_USAGE)

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if _called_with_config(args, kwargs):
            return function(**_arguments(from_config, args, kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config
    return wrapped


def _called_with_config(args, kwargs) -> bool:
    candidate = args[0] if args else kwargs.get("cfg")
    return isinstance(candidate, CfgNode) or _is_omegaconf(candidate)


def _is_omegaconf(value) -> bool:
    # Detectron2 accepts OmegaConf's nodes too; asked by module so that it need not be installed.
    return isinstance(value, Mapping) and type(value).__module__.startswith("omegaconf.")


def _arguments(from_config, args, kwargs) -> dict:
    """Arguments of the wrapped callable: those of `from_config`, overridden by spare keywords."""
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        owner = getattr(from_config, "__self__", from_config)
        raise TypeError(f"{owner}.from_config must take 'cfg' as the first argument!")
    kinds = {parameter.kind for parameter in parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return from_config(*args, **kwargs)
    own = {name: value for name, value in kwargs.items() if name in parameters}
    spare = {name: value for name, value in kwargs.items() if name not in parameters}
    return {**from_config(*args, **own), **spare}
