"""Config keys of the project, each with its meaning, and the one way to read a config file."""

import logging
import os

import torch
import yaml
from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from ovavss_d2.vocabulary import BACKGROUND_NAMES

logger = logging.getLogger(__name__)


def add_ovavss_config(cfg):
    """Add the project's keys to a Detectron2 config; defaults are the reference configuration."""
    cfg.MODEL.META_ARCHITECTURE = "OVAVSS"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.280, 103.530]  # RGB
    cfg.MODEL.PIXEL_STD = [58.395, 57.120, 57.375]
    # training: compute the backbone's stages and the layers of both decoders again for the gradient
    # instead of keeping what is in between: less memory, more time, the same losses
    cfg.MODEL.CHECKPOINTING = False
    cfg.MODEL.CHANNELS_LAST = True  # memory format of the backbone's maps, the faster one mostly
    cfg.MODEL.COMPILE = False  # the backbone by torch.compile, which needs a C++ compiler
    cfg.MODEL.BACKBONE.NAME = "TimmBackbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    _add_backbone_keys(cfg)
    _add_audio_keys(cfg)
    _add_head_keys(cfg)
    _add_classifier_keys(cfg)
    _add_input_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def _add_backbone_keys(cfg):
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "resnet50"  # any timm model that supports `features_only`
    cfg.MODEL.TIMM.OUT_INDICES = [
        1,
        2,
        3,
        4,
    ]  # timm's feature indices that become res2, res3, res4, res5
    cfg.MODEL.TIMM.FREEZE_NORM = True  # batch norms keep their statistics and their weights
    cfg.MODEL.TIMM.DROP_PATH = 0.0  # stochastic depth rate
    cfg.MODEL.TIMM.PAD_BEFORE_SHIFT = (
        True  # Swin: pad to whole windows before the cyclic shift (Mask2Former's way)
    )
    cfg.MODEL.TIMM.KWARGS = CN(new_allowed=True)  # further arguments of timm.create_model


def _add_audio_keys(cfg):
    cfg.MODEL.AUDIO = CN()
    cfg.MODEL.AUDIO.ENCODER = (
        "VGGish"  # name in the audio encoder registry: VGGish or LogMelEncoder
    )
    cfg.MODEL.AUDIO.WEIGHTS = (
        ""  # file with the encoder's own weights, read where MODEL.WEIGHTS holds none
    )
    cfg.MODEL.AUDIO.FREEZE = True  # no gradient for the encoder
    # folder in which training and evaluation keep a frozen encoder's embeddings, so that each sound
    # is embedded once; empty: none
    cfg.MODEL.AUDIO.CACHE = ""
    cfg.MODEL.AUDIO.DIM = 128  # channels of an audio embedding
    cfg.MODEL.AUDIO.WIDTH = 32  # LogMelEncoder: channels of its first convolution
    # "time": a frame hears the second that starts at its time. "released": frame i hears the
    # 0.96 s example i, and missing examples are zeros in log-mel space.
    cfg.MODEL.AUDIO.PAIRING = "time"


def _add_head_keys(cfg):
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "AudioVisualHead"
    head.PIXEL_DECODER_NAME = "AudioConditionedPixelDecoder"
    head.PREDICTOR_NAME = "AudioConditionedMaskDecoder"
    head.IN_FEATURES = [
        "res2",
        "res3",
        "res4",
        "res5",
    ]  # the first one only feeds the mask features
    head.CONVS_DIM = 256  # channels of the pixel decoder
    head.MASK_DIM = 256  # channels of the mask features
    head.TRANSFORMER_ENC_LAYERS = 6  # deformable encoder layers
    head.TRANSFORMER_ENC_FFN = 1024
    head.DEFORMABLE_POINTS = 4  # sampling points per head and level

    cfg.MODEL.FUSION = CN()
    cfg.MODEL.FUSION.ENABLED = True  # audio-visual early fusion before the deformable encoder
    cfg.MODEL.FUSION.EMBED_DIM = 1024
    cfg.MODEL.FUSION.NHEADS = 8
    cfg.MODEL.FUSION.DROPOUT = 0.1
    cfg.MODEL.FUSION.INIT_GAMMA = 1.0 / 6  # start of the per-channel weight of the update

    mask = cfg.MODEL.MASK_FORMER = CN()
    mask.NUM_OBJECT_QUERIES = 100
    mask.HIDDEN_DIM = 256
    mask.NHEADS = 8
    mask.DIM_FEEDFORWARD = 2048
    mask.DEC_LAYERS = 9  # mask decoder layers; there is one prediction more
    mask.AUDIO_QUERIES = True  # queries attend to the audio tokens
    mask.NUM_AUDIO_TOKENS = 5  # learnt audio positions, interpolated for clips of another length
    mask.NO_OBJECT_WEIGHT = 0.1
    mask.CLASS_WEIGHT = 2.0  # object / no object
    mask.MASK_WEIGHT = 5.0
    mask.DICE_WEIGHT = 5.0
    mask.NAME_WEIGHT = 2.0  # text-embedding classifier
    mask.TRAIN_NUM_POINTS = 112 * 112
    mask.OVERSAMPLE_RATIO = 3.0
    mask.IMPORTANCE_SAMPLE_RATIO = 0.75
    mask.SIZE_DIVISIBILITY = 32  # frames are padded to a multiple of this


def _add_classifier_keys(cfg):
    cfg.MODEL.CLIP = CN()
    cfg.MODEL.CLIP.ARCHITECTURE = (
        "ViT-L-14-336-quickgelu"  # open_clip's name, or a JSON file in its form
    )
    cfg.MODEL.CLIP.WEIGHTS = ""  # file with CLIP's weights, read where MODEL.WEIGHTS holds none
    cfg.MODEL.CLIP.BATCH = 32  # crops per pass of the image tower
    # folder in which text embeddings are kept between runs, for any number of processes and models;
    # it can be deleted at any time; empty: none
    cfg.MODEL.CLIP.TEXT_CACHE = ""
    # Approximations that save time (docs/PERFORMANCE.md has their cost); the defaults make none.
    cfg.MODEL.CLIP.PRECISION = "float32"  # of the image tower; "half" where the device has it
    # most crops of a query in a window, spread evenly over its frames; 0: one per frame
    cfg.MODEL.CLIP.CROP_FRAMES = 0
    cfg.MODEL.CLIP.DENSE_SIZE = 0  # "dense": short side of the frames CLIP sees; 0: its image size
    cfg.MODEL.CLIP.DENSE_COVER = True  # "dense": black out what lies under none of the masks

    cfg.MODEL.CLASSIFIER = CN()
    cfg.MODEL.CLASSIFIER.NAME = "ensemble"  # crop, query, ensemble or dense
    cfg.MODEL.CLASSIFIER.ENSEMBLE_WITH = "crop"  # what the ensemble sees pixels by: crop or dense
    cfg.MODEL.CLASSIFIER.TEXT_HEAD = True  # build and train the text-embedding classifier head
    cfg.MODEL.CLASSIFIER.ENSEMBLE_WEIGHT_SEEN = (
        0.4  # exponent of the crop probability, names seen in training
    )
    cfg.MODEL.CLASSIFIER.ENSEMBLE_WEIGHT_UNSEEN = 0.8  # the same for all other names
    cfg.MODEL.CLASSIFIER.BACKGROUND_NAMES = list(BACKGROUND_NAMES)  # never painted
    cfg.MODEL.CLASSIFIER.VOCABULARY = []  # names to look for; empty: those of the test data set
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = []  # empty: the training set's base names


def _add_input_keys(cfg):
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.SAMPLING_FRAME_NUM = 5  # frames of a training clip, and of a window at test time
    cfg.INPUT.SAMPLING_FRAME_RANGE = (
        20  # frames are drawn within this distance of a reference frame
    )
    cfg.INPUT.MIN_SIZE_TRAIN = (240, 360, 480)
    cfg.INPUT.MAX_SIZE_TRAIN = 1333
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
    cfg.INPUT.MIN_SIZE_TEST = 360
    cfg.INPUT.MAX_SIZE_TEST = 1333
    cfg.INPUT.RANDOM_FLIP = "horizontal"  # per clip: horizontal or none
    # probability that a training clip gets the audio of another video, one that shares no name with
    # it, in some or all of its frames; no object sounds in these frames
    cfg.INPUT.SWAPPED_AUDIO = 0.0
    cfg.INPUT.COLOR_AUG = False  # per clip colour jitter


def _add_solver_keys(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 1  # clips per step, over all processes
    cfg.SOLVER.OPTIMIZER = "ADAMW"  # ADAMW or SGD
    cfg.SOLVER.BASE_LR = 1e-4
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # embeddings and Swin's position tables
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1  # learning rate of the backbone, relative
    cfg.SOLVER.MAX_ITER = 96228
    cfg.SOLVER.STEPS = (72171, 88209)
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WARMUP_FACTOR = 1.0
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"  # besides Detectron2's "value" and "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01


def _add_test_keys(cfg):
    cfg.TEST.SCORING = (
        "score"  # "score": object x name probability; "released": the ten best (query, name) pairs
    )
    cfg.TEST.PAINT_THRESHOLD = 0.3  # pairs above this score are painted
    cfg.TEST.SILENCE_RMS = (
        1e-4  # frames whose sound is quieter (of full scale 1) are not painted; 0 turns it off
    )
    cfg.TEST.AUDIO = "own"  # audio at test time: own, silence, or other (another video's)
    cfg.TEST.SAVE_PREDICTIONS = False  # write the label maps as PNG beside the results
    # --eval-only: score the label maps in this folder (ours or another system's) without a model
    cfg.TEST.PREDICTIONS = ""


def load_config(config_file, opts=()):
    """Read a YAML on top of Detectron2's and the project's defaults.

    Args:
        config_file: path of a YAML file.
        opts: pairs `KEY VALUE ...` that override it.

    Returns:
        A `CfgNode` (not frozen) whose device exists on this machine.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key is unknown, or a value is of the wrong type.
    """
    if not os.path.isfile(config_file):
        raise FileNotFoundError(
            f"no config file at '{config_file}'; the shipped ones are in configs/"
        )
    cfg = get_cfg()
    add_ovavss_config(cfg)
    try:
        cfg.merge_from_file(config_file, allow_unsafe=False)  # YAML tags can run code
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError, ValueError, yaml.YAMLError) as error:
        # str() of a KeyError is its message in quotes
        reason = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
        raise ValueError(f"config '{config_file}' with {list(opts)}: {reason}") from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No GPU found: running on the CPU.")
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def first_data_set(cfg, part: str) -> str:
    """The first name in `DATASETS.TRAIN` or `DATASETS.TEST` (part: "TRAIN" or "TEST").

    Raises:
        ValueError: there is none.
    """
    names = cfg.DATASETS[part]
    if not names:
        raise ValueError(f"DATASETS.{part} is empty, expected a data set: name one there")
    return names[0]


def keys_set_by(config_file, opts=()):
    """Full names of the keys that a YAML with its bases, and `KEY VALUE` pairs, set."""
    return {*_leaves(CN.load_yaml_with_base(config_file), ""), *opts[::2]}


def _leaves(node, prefix):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key
