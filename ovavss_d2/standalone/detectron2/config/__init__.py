"""Configs: the config node, its defaults, and `configurable`; lazy configs are not implemented."""

from .config import CfgNode, get_cfg
from .configurable import configurable

__all__ = ["CfgNode", "configurable", "get_cfg"]
