"""Configuration: the config node, its defaults, and classes that are built from it."""

from .config import CfgNode, get_cfg
from .configurable import configurable

__all__ = ["CfgNode", "configurable", "get_cfg"]
