"""The reference of the project's config keys, and `load_config`.

Keys of Detectron2 appear where their default differs from Detectron2's.
"""

import logging
import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from ovavss_d2.config_checks import check_values, check_yaml, leaves
from ovavss_d2.errors import one_line, shortened
from ovavss_d2.exported import HUB_NAME, exported_opts, find_config
from ovavss_d2.vocabulary import BACKGROUND_NAMES, BACKGROUND_SOUNDS

logger = logging.getLogger(__name__)

# raised by yaml, yacs and fvcore for what a config holds
CONFIG_ERRORS = (
    AssertionError, KeyError, MemoryError, RecursionError, TypeError, ValueError, yaml.YAMLError
)  # fmt: skip


def add_ovavss_config(cfg: CN) -> None:
    """Add the project's keys to a Detectron2 config; the defaults are the reference recipe."""
    cfg.MODEL.META_ARCHITECTURE = "OVAVSS"
    # mean and standard deviation of RGB
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.280, 103.530]
    cfg.MODEL.PIXEL_STD = [58.395, 57.120, 57.375]
    # training: compute the stages of the backbone and the layers of both decoders again for the
    # gradient instead of keeping their activations: less memory, more time, the same losses
    cfg.MODEL.CHECKPOINTING = False
    # replace modules by faster ones, with the same results up to rounding (modeling/ops)
    cfg.MODEL.ACCELERATE = True
    # compile the backbone with torch.compile, which needs a C++ compiler
    cfg.MODEL.COMPILE = False
    # folder that keeps embeddings of names and, in training and evaluation, those of a frozen audio
    # encoder, for any number of models and processes; it can be deleted at any time; empty: none
    cfg.MODEL.EMBEDDING_CACHE = ""
    cfg.MODEL.BACKBONE.NAME = "TimmBackbone"
    _add_backbone_keys(cfg)
    _add_audio_keys(cfg)
    _add_head_keys(cfg)
    _add_classifier_keys(cfg)
    _add_input_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def _add_backbone_keys(cfg: CN) -> None:
    timm = cfg.MODEL.TIMM = CN()
    # any timm model that supports `features_only`
    timm.NAME = "resnet50"
    # timm's indices of the feature maps that become res2, res3, res4, ...
    timm.OUT_INDICES = [1, 2, 3, 4]
    # whether batch norms keep their statistics and weights in training
    timm.FREEZE_NORM = True
    # whether no weight of the network is trained, nor its batch norms
    timm.FREEZE = False
    # stochastic depth rate; 0: timm's default for the model
    timm.DROP_PATH = 0.0
    # further arguments of timm.create_model
    timm.KWARGS = CN(new_allowed=True)


def _add_audio_keys(cfg: CN) -> None:
    audio = cfg.MODEL.AUDIO = CN()
    # name in AUDIO_ENCODER_REGISTRY: VGGish, LogMelEncoder, or NoAudio (zeros)
    audio.ENCODER = "VGGish"
    # file with the weights of the encoder, used if MODEL.WEIGHTS does not hold them
    audio.WEIGHTS = ""
    # whether the encoder keeps its weights in training
    audio.FREEZE = True
    # channels of an audio embedding; 128 for VGGish
    audio.DIM = 128
    # channels of the first convolution of LogMelEncoder
    audio.WIDTH = 32
    # "time": a frame is paired with the second of audio that starts at its time. "released": frame
    # i is paired with the 0.96 s example i, and missing examples are zeros in log-mel space.
    audio.PAIRING = "time"


def _add_head_keys(cfg: CN) -> None:
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "AudioVisualHead"
    # feature maps, finest first; the first one is used only for the mask features
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    # channels of the pixel decoder
    head.CONVS_DIM = 256
    # channels of the mask features
    head.MASK_DIM = 256
    # deformable encoder layers, and the width of their feed-forward networks
    head.TRANSFORMER_ENC_LAYERS = 6
    head.TRANSFORMER_ENC_FFN = 1024
    # sampling points per attention head and feature level
    head.DEFORMABLE_POINTS = 4

    fusion = cfg.MODEL.FUSION = CN()
    # early fusion: frames and audio attend to each other before the deformable encoder
    fusion.ENABLED = True
    # width of its attention, divided among MASK_FORMER.NHEADS heads
    fusion.EMBED_DIM = 1024
    fusion.DROPOUT = 0.1
    # initial weight of its update, learned per channel
    fusion.INIT_GAMMA = 1.0 / 6

    mask = cfg.MODEL.MASK_FORMER = CN()
    mask.NUM_OBJECT_QUERIES = 100
    # channels of the queries
    mask.HIDDEN_DIM = 256
    # heads of every attention of the model
    mask.NHEADS = 8
    # layers of the mask decoder, and the width of their feed-forward networks
    mask.DEC_LAYERS = 9
    mask.DIM_FEEDFORWARD = 2048
    # whether queries attend to audio tokens
    mask.AUDIO_QUERIES = True
    # positions include that of the frame in its clip; False for the weights of image models
    mask.TIME_ENCODING = True
    # learned embeddings of audio tokens; they are interpolated for windows of other lengths
    mask.NUM_AUDIO_TOKENS = 5
    # classes of the object loss, beside "no object": 1 for "object", or those of a detector whose
    # class layer is used, such as the 80 of COCO; an object is what is not "no object"
    mask.NUM_CLASSES = 1
    # weight of "no object" in the object loss, where a class has 1
    mask.NO_OBJECT_WEIGHT = 0.1
    # weights of the losses: object or not, masks (two), and names (from the text head)
    mask.CLASS_WEIGHT = 2.0
    mask.MASK_WEIGHT = 5.0
    mask.DICE_WEIGHT = 5.0
    mask.NAME_WEIGHT = 2.0
    # points per mask at which the mask losses are computed
    mask.TRAIN_NUM_POINTS = 112 * 112


def _add_classifier_keys(cfg: CN) -> None:
    clip = cfg.MODEL.CLIP = CN()
    # a name of open_clip.list_models(), or a JSON file of the same form
    clip.ARCHITECTURE = "ViT-L-14-336-quickgelu"
    # file with the weights of CLIP, used if MODEL.WEIGHTS does not hold them
    clip.WEIGHTS = ""
    # crops per pass of the image encoder
    clip.BATCH = 32
    # precision of the image encoder: "float32", or "half" where the device has it
    clip.PRECISION = "float32"
    # crop classifier: most crops of a query in a window, spread evenly; 0: one per frame
    clip.CROP_FRAMES = 0
    # dense classifier: short side of the frames that CLIP gets; 0: its own image size
    clip.DENSE_SIZE = 0
    # dense classifier: whether pixels outside all masks are black
    clip.DENSE_COVER = True

    sound = cfg.MODEL.AUDIO_CLASSIFIER = CN()
    # name in AUDIO_CLASSIFIER_REGISTRY: CLAP or LogMelClassifier; the probability that a name is
    # heard around a frame is a factor of its scores there; empty: names come from sight alone
    sound.NAME = ""
    # a model of CLAP on the model hub or a folder in the same form, or a file of LogMelClassifier
    sound.WEIGHTS = ""
    # rate in Hz and seconds of the audio around a frame that it takes
    sound.SAMPLE_RATE = 48000
    sound.CONTEXT = 4.0
    # channels of the first convolution of LogMelClassifier
    sound.WIDTH = 8
    # sounds that compete with each name and are never in the results
    sound.BACKGROUND_NAMES = list(BACKGROUND_SOUNDS)

    silent = cfg.MODEL.SILENT_LOCALIZER = CN()
    # a second localizer without audio, for the names that are not in the training vocabulary; it
    # needs an audio classifier
    silent.ENABLED = False
    # Mask2Former's weights, and the size of their class layer
    silent.WEIGHTS = ""
    silent.NUM_CLASSES = 80

    classifier = cfg.MODEL.CLASSIFIER = CN()
    # what names masks: "crop" and "dense" (their pixels, by CLIP), "query" (the text head), or
    # "ensemble" (the text head and one of the first two)
    classifier.NAME = "ensemble"
    # the other part of the ensemble: crop or dense
    classifier.ENSEMBLE_WITH = "crop"
    # exponent of the pixel probability in the ensemble, from 0 (text head alone) to 1 (pixels
    # alone): for names in the training vocabulary, and for others
    classifier.ENSEMBLE_WEIGHT_SEEN = 0.4
    classifier.ENSEMBLE_WEIGHT_UNSEEN = 0.8
    # whether the model has a text head: it projects queries into CLIP's text space
    classifier.TEXT_HEAD = True
    # names that compete with the vocabulary and are never in the results
    classifier.BACKGROUND_NAMES = list(BACKGROUND_NAMES)
    # names to segment; empty: those of the first test set
    classifier.VOCABULARY = []
    # names to train with; empty: the base names of the first training set
    classifier.TRAINING_VOCABULARY = []


def _add_input_keys(cfg: CN) -> None:
    # frames of a training clip, and of a window at test time
    cfg.INPUT.SAMPLING_FRAME_NUM = 5
    # largest distance of the frames of a clip from a reference frame
    cfg.INPUT.SAMPLING_FRAME_RANGE = 20
    # short side of the frames
    cfg.INPUT.MIN_SIZE_TRAIN = (240, 360, 480)
    cfg.INPUT.MIN_SIZE_TEST = 360
    # probability that a training clip gets the audio of another video, one that shares no name with
    # it, in some or all of its frames; no object sounds in these frames
    cfg.INPUT.SWAPPED_AUDIO = 0.0
    # whether the colors of training clips are changed
    cfg.INPUT.COLOR_AUG = False


def _add_solver_keys(cfg: CN) -> None:
    # clips per step, over all processes
    cfg.SOLVER.IMS_PER_BATCH = 1
    # parts in which a batch is processed; their gradients are added up before a step: less memory,
    # the same result
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # ADAMW or SGD
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    cfg.SOLVER.BASE_LR = 1e-4
    # learning rate of the backbone, relative to BASE_LR
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # weight decay; norms and embeddings have none
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    cfg.SOLVER.MAX_ITER = 96228
    cfg.SOLVER.STEPS = (72171, 88209)
    cfg.SOLVER.WARMUP_ITERS = 0
    # "full_model" clips the norm of all gradients together, beside Detectron2's "value" and "norm"
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01


def _add_test_keys(cfg: CN) -> None:
    # how (query, name) pairs are scored: "score" is the product of objectness and name probability;
    # "released" takes the ten most likely names of all queries
    cfg.TEST.SCORING = "score"
    # exponents of the parts of a score: objectness, the name's probability by sight, and, with an
    # audio classifier, by sound: for names in the training vocabulary, and for others
    cfg.TEST.OBJECT_EXPONENT = 1.0
    cfg.TEST.NAME_EXPONENT = 1.0
    cfg.TEST.SOUND_EXPONENT_SEEN = 1.0
    cfg.TEST.SOUND_EXPONENT_UNSEEN = 1.0
    # pairs above this score are drawn into the label map
    cfg.TEST.SCORE_THRESHOLD = 0.3
    # frames whose audio has a lower RMS (full scale is 1) have no objects; 0: none
    cfg.TEST.SILENCE_RMS = 1e-4
    # audio at test time: own, silence, or other (that of another video)
    cfg.TEST.AUDIO = "own"
    # figure of the evaluation, such as avsbench_ov/mIoU: the checkpoint with its highest value is
    # kept as model_best.pth; needs TEST.EVAL_PERIOD; empty: none
    cfg.TEST.BEST_METRIC = ""
    # whether label maps are written as PNG files next to the results
    cfg.TEST.SAVE_PREDICTIONS = False
    # folder of label maps that --eval-only scores instead of those of a model; empty: none
    cfg.TEST.PREDICTIONS = ""


def load_config(config_file: str | os.PathLike[str], opts: Sequence[str] = ()) -> CN:
    """Read a YAML file on top of the defaults of Detectron2 and of the project.

    Args:
        config_file: path of the file, the name of a shipped one, or an exported model's folder.
        opts: pairs `KEY VALUE ...` that override it.

    Returns:
        A `CfgNode` (not frozen) whose device exists on this machine.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key is unknown, or a value has the wrong type or is out of range.
    """
    exported = os.path.isdir(config_file)
    if exported:
        opts = [*exported_opts(config_file), *opts]
    config_file = find_config(config_file)
    cfg = get_cfg()
    add_ovavss_config(cfg)
    defaults = cfg.clone()
    try:
        check_yaml(config_file, based=not exported)  # before a library opens its _BASE_
        cfg.merge_from_file(config_file, allow_unsafe=False)  # YAML tags can run code
        cfg.merge_from_list(list(opts))
        check_values(cfg, defaults)
    except CONFIG_ERRORS as error:
        # str() of a KeyError puts its message in quotes
        reason = str(error.args[0]) if isinstance(error, KeyError) else one_line(error)
        prefix = "" if reason.startswith("'") else f"config '{config_file}': "  # it names a file
        raise ValueError(prefix + shortened(reason)) from error
    if exported:
        _check_names(cfg, opts)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No GPU found: running on the CPU.")
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def _check_names(cfg: CN, opts: Sequence[str]) -> None:
    """Raise a ValueError if an exported model refers to a file that is not in its folder."""
    parts = ("AUDIO", "WEIGHTS"), ("SILENT_LOCALIZER", "WEIGHTS")
    for part, key in (*parts, ("CLIP", "WEIGHTS"), ("CLIP", "ARCHITECTURE")):
        name, value = f"MODEL.{part}.{key}", cfg.MODEL[part][key]
        if name not in opts[::2] and ("/" in value or os.path.exists(value)):
            raise ValueError(
                f"the config of the exported model has {name} '{value}', expected a published name"
            )
    name, clap = "MODEL.AUDIO_CLASSIFIER.WEIGHTS", cfg.MODEL.AUDIO_CLASSIFIER.WEIGHTS
    is_hub_name = HUB_NAME.fullmatch(clap) and not os.path.exists(clap)
    if clap and name not in opts[::2] and not is_hub_name:
        raise ValueError(
            f"the config of the exported model has {name} '{clap}', expected a name on the hub"
        )


def first_data_set(cfg: CN, part: str) -> str:
    """The first name in `DATASETS.TRAIN` or `DATASETS.TEST` (part: "TRAIN" or "TEST").

    Raises:
        ValueError: there is none.
    """
    names = cfg.DATASETS[part]
    if not names:
        raise ValueError(f"DATASETS.{part} is empty, expected the name of a data set")
    return names[0]


def keys_set_by(config_file: str, opts: Sequence[str] = ()) -> set[str]:
    """Full names of the keys that a YAML file with its bases, and `KEY VALUE` pairs, set."""
    config_file = find_config(config_file)
    check_yaml(config_file)
    return {*leaves(CN.load_yaml_with_base(config_file)), *opts[::2]}
