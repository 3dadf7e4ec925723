"""The model; importing it registers its parts with Detectron2.

Shape letters, the same in all of `modeling/`:

    B  clips of a batch                       H W  pixels of a frame
    T  frames of a clip, window or video      h w  size of a feature map
    N  frames of a batch (B * T)              L    positions of a flattened map, or of several maps
    Q  queries                                V    levels of a feature pyramid
    K  names of a vocabulary                  P    sampling points
    G  ground-truth objects                   J    attention heads
    M  matches of queries and objects         R    rows of a table
    C  channels                               A    audio channels
    D  size of a CLIP embedding               E    width of an attention
    S  audio samples
"""

import re
from collections.abc import Callable
from typing import Any

import detectron2.modeling
import torch
from detectron2.config import CfgNode, get_cfg

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.config_checks import leaves
from ovavss_d2.errors import BUILD_ERRORS, one_line, shortened
from ovavss_d2.modeling import (  # noqa: F401  (each registers its parts)
    audio_classifier,
    audio_encoder,
    backbone,
    clap,
    mask_decoder,
    meta_arch,
    pixel_decoder,
    text_classifier,
)

__all__ = ["build_model"]


def build_model(
    cfg: CfgNode, build: Callable[[CfgNode], Any] = detectron2.modeling.build_model
) -> Any:
    """Build the model of a config with initial weights.

    Args:
        cfg: the config.
        build: builds it.

    Raises:
        ValueError: no model can have these values; the message names the key, if only one is wrong.
    """
    try:
        return build(cfg)
    except BUILD_ERRORS as error:
        names_a_key = re.search(r"\b(MODEL|INPUT|TEST|DATASETS)\.", str(error))
        key = "" if names_a_key else _wrong_key(cfg)
        if not key:
            raise
        value = leaves(cfg)[key]
        raise ValueError(
            f"no model can be built with {key} {value!r}: {shortened(one_line(error), 200)}"
        ) from error


def _wrong_key(cfg: CfgNode) -> str:
    """The key that prevents a model from being built: with its default there is one; or ""."""
    default = get_cfg()
    add_ovavss_config(default)
    defaults = leaves(default)
    if _can_be_built(cfg):
        return ""
    for key, value in leaves(cfg).items():
        changed = key.startswith("MODEL.") and value != defaults.get(key, value)
        if changed and _can_be_built(cfg, key, defaults[key]):
            return key
    return ""


def _can_be_built(cfg: CfgNode, *change: object) -> bool:
    """Whether a config, with a key set to another value, has a model."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([*change, "MODEL.DEVICE", "meta"])
    try:
        with torch.device("meta"):  # without memory for the weights
            detectron2.modeling.build_model(cfg)
    except BUILD_ERRORS:
        return False
    return True
