"""The config keys of DeepLab."""


def add_deeplab_config(cfg) -> None:
    """Add DeepLab's keys with their defaults to a config."""
    cfg.SOLVER.POLY_LR_POWER = 0.9  # of the polynomial schedule
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0  # part of the rate below which it does not fall
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0  # of a crop; 1 for any
    head = cfg.MODEL.SEM_SEG_HEAD
    head.LOSS_TYPE = "hard_pixel_mining"
    head.PROJECT_FEATURES = ["res2"]
    head.PROJECT_CHANNELS = [48]
    head.ASPP_CHANNELS = 256
    head.ASPP_DILATIONS = [6, 12, 18]
    head.ASPP_DROPOUT = 0.1
    head.USE_DEPTHWISE_SEPARABLE_CONV = False
    resnets = cfg.MODEL.RESNETS
    resnets.RES4_DILATION = 1
    resnets.RES5_MULTI_GRID = [1, 2, 4]
    resnets.STEM_TYPE = "deeplab"
