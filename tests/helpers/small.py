"""A small configuration of the network for tests: seconds on one core."""

import functools

from detectron2.config import get_cfg

from ovavss_d2.config import add_ovavss_config


def small_config(**changes):
    """The reference configuration made small; `changes` are keys below MODEL, `__` for dots."""
    cfg = get_cfg()
    add_ovavss_config(cfg)
    keys = {
        "DEVICE": "cpu",
        "TIMM.NAME": "resnet18",
        "TIMM.KWARGS": {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]},
        "AUDIO.ENCODER": "LogMelEncoder",
        "AUDIO.WIDTH": 4,
        "AUDIO.DIM": 16,
        "AUDIO.FREEZE": False,
        "SEM_SEG_HEAD.CONVS_DIM": 32,
        "SEM_SEG_HEAD.MASK_DIM": 24,
        "SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1,
        "SEM_SEG_HEAD.TRANSFORMER_ENC_FFN": 32,
        "FUSION.EMBED_DIM": 32,
        "MASK_FORMER.NUM_OBJECT_QUERIES": 6,
        "MASK_FORMER.HIDDEN_DIM": 32,
        "MASK_FORMER.NHEADS": 4,
        "MASK_FORMER.DIM_FEEDFORWARD": 32,
        "MASK_FORMER.DEC_LAYERS": 3,
    }
    keys.update({name.replace("__", "."): value for name, value in changes.items()})
    for key, value in keys.items():
        *path, last = key.split(".")
        node = functools.reduce(dict.get, path, cfg.MODEL)
        if isinstance(value, dict):
            node[last].update(value)
        else:
            node[last] = value
    return cfg
