"""A tiny toy world and a tiny model, for end-to-end tests."""

import os
from dataclasses import replace

from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.engine.trainer import Trainer, argument_parser, read_config
from ovavss_d2.toy.clip_model import TOY_CLIP, train_clip
from ovavss_d2.toy.dataset import write_dataset
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES
from tests.helpers.paths import REPOSITORY

ROOT = str(REPOSITORY)
CONFIG = os.path.join(ROOT, "configs", "ovavss_toy.yaml")


def make_world(root):
    """Write data sets of a few clips and a barely trained CLIP stand-in to `root`."""
    counts = {"train": 10, "val": 2, "test": 3}
    semantic = write_dataset(TOY, root, counts, size=(40, 48), workers=1)
    lists = derived_lists(root / "toy" / "split_lists", TOY_NAMES, TOY_BASE_IDS)
    write_lists(semantic, lists, TOY_NAMES)
    train_clip(root / "toy" / "clip", TOY, replace(TOY_CLIP, steps=2, scenes=8))
    return root


TINY_MODEL = {
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 32,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 32,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 4,
    "MODEL.MASK_FORMER.DEC_LAYERS": 1,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 32,
    "MODEL.AUDIO.WIDTH": 4,
}


def tiny_options(root, model=TINY_MODEL, **changes):
    """KEY VALUE pairs that shrink the toy configuration: the model, the data, and `changes`."""
    keys = {
        **model,
        "MODEL.WEIGHTS": "",
        "MODEL.CLIP.ARCHITECTURE": f"{root}/toy/clip/toy_clip.json",
        "MODEL.CLIP.WEIGHTS": f"{root}/toy/clip/toy_clip.pt",
        "INPUT.MIN_SIZE_TRAIN": (40,),
        "INPUT.MIN_SIZE_TEST": 40,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 4,
        "SOLVER.STEPS": (3,),
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "SEED": 1,
        "OUTPUT_DIR": f"{root}/output",
        **changes,
    }
    return [str(x) for pair in keys.items() for x in pair]


class TrainerWithoutTest(Trainer):
    """A trainer that does not evaluate."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {}


def read_tiny_config(root, **changes):
    """The config of a tiny training, as train_net.py reads it."""
    line = ["--config-file", CONFIG, *tiny_options(root, **changes)]
    return read_config(argument_parser("").parse_args(line))
