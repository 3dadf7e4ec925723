"""The output folder of a training of the small model."""

import json

import torch
from detectron2.modeling import build_model

from tests.helpers.small import small_config
from tests.helpers.tiny_clip import write_architecture

NAMES = ["dog", "car|automobile", "violin"]
RESULTS = {
    "dataset": "toy_ov_test_all",
    "protocol_name": "Toy world",
    "videos": 3,
    "frames": 15,
    "avsbench_ov": {"mIoU": 50.0, "base": 61.234, "novel": None},
}


def write_trained(folder):
    """Write a config, a checkpoint with random weights, and results; return the checkpoint."""
    cfg = small_config()
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(folder)
    cfg.MODEL.EMBEDDING_CACHE = str(folder / "cache")
    cfg.MODEL.CLASSIFIER.VOCABULARY = NAMES
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = NAMES[:2]
    cfg.DATASETS.TRAIN = ("toy_ov_train_base",)
    cfg.TEST.SCORE_THRESHOLD = 1e-9  # the scores of random weights are low
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.OUTPUT_DIR = str(folder)
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(3)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model_final.pth")
    (folder / "inference").mkdir()
    (folder / "inference" / "results.json").write_text(json.dumps(RESULTS))
    return folder / "model_final.pth"
