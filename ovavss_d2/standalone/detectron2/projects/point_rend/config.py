"""The config keys of PointRend."""

from detectron2.config import CfgNode


def add_pointrend_config(cfg) -> None:
    """Add PointRend's keys with their defaults to a config."""
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0  # of a crop; 1 for any
    cfg.INPUT.COLOR_AUG_SSD = False  # colour augmentation of SSD
    mask_head = cfg.MODEL.ROI_MASK_HEAD
    mask_head.IN_FEATURES = ("p2",)
    mask_head.FC_DIM = 1024
    mask_head.NUM_FC = 2
    mask_head.OUTPUT_SIDE_RESOLUTION = 7
    mask_head.POINT_HEAD_ON = False
    point_head = cfg.MODEL.POINT_HEAD = CfgNode()
    point_head.NAME = "StandardPointHead"
    point_head.NUM_CLASSES = 80
    point_head.IN_FEATURES = ("p2",)
    point_head.TRAIN_NUM_POINTS = 14 * 14
    point_head.OVERSAMPLE_RATIO = 3
    point_head.IMPORTANCE_SAMPLE_RATIO = 0.75
    point_head.SUBDIVISION_STEPS = 5
    point_head.SUBDIVISION_NUM_POINTS = 28 * 28
    point_head.FC_DIM = 256
    point_head.NUM_FC = 3
    point_head.CLS_AGNOSTIC_MASK = False
    point_head.COARSE_PRED_EACH_LAYER = True
    point_head.COARSE_SEM_SEG_HEAD_NAME = "SemSegFPNHead"
    implicit = cfg.MODEL.IMPLICIT_POINTREND = CfgNode()
    implicit.IMAGE_FEATURE_ENABLED = True
    implicit.POS_ENC_ENABLED = True
    implicit.PARAMS_L2_REGULARIZER = 1e-5
