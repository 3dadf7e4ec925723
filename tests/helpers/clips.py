"""Random training clips with two rectangular objects, and a small model for them."""

import torch
from detectron2.structures import BitMasks, Instances

from tests.helpers.small import small_config
from tests.helpers.tiny_clip import write_architecture

NAMES = ["red circle", "blue square", "green star"]
SIZE = (40, 56)


def make_clip(seed, frames=5, objects=2, labeled=None, loudness=0.1, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(objects, frames, *size, dtype=torch.bool)
    for i in range(objects):
        masks[i, :, 4 + 10 * i : 20 + 10 * i, 4 + 16 * i : 24 + 16 * i] = True
    classes = torch.arange(objects)
    return {
        "image": torch.randint(0, 256, (frames, 3, *size), generator=generator).byte(),
        "audio": loudness * torch.randn(frames, 16000, generator=generator),
        "audio_valid": torch.ones(frames, dtype=torch.bool),
        "times": [float(i) for i in range(frames)],
        "height": size[0],
        "width": size[1],
        "clip_seed": seed,
        "labeled": torch.ones(frames, dtype=torch.bool) if labeled is None else labeled,
        "instances": [
            Instances(size, gt_classes=classes, gt_ids=classes, gt_masks=BitMasks(masks[:, t]))
            for t in range(frames)
        ],
    }


def model_config(folder, **changes):
    """A small model with a tiny CLIP, written to the folder, that paints every mask."""
    cfg = small_config(FUSION__DROPOUT=0.0, MASK_FORMER__TRAIN_NUM_POINTS=64, **changes)
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(folder)
    cfg.MODEL.CLASSIFIER.VOCABULARY = NAMES
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = ["red circle", "blue triangle"]
    cfg.DATASETS.TRAIN = ("toy_ov_train_base",)
    cfg.TEST.SCORE_THRESHOLD = 1e-9
    return cfg
