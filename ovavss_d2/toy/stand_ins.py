"""Trains what a generated data set needs in place of CLIP, CLAP and COCO's weights."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ovavss_d2.config import load_config
from ovavss_d2.modeling import build_model
from ovavss_d2.modeling.audio_classifier import LogMelClassifier
from ovavss_d2.modeling.meta_arch import OVAVSS
from ovavss_d2.toy.audio_classifier import SoundSettings, train_audio_classifier
from ovavss_d2.toy.clip_model import ClipSettings, train_clip
from ovavss_d2.toy.source import Source
from ovavss_d2.toy.start_weights import StartSettings, train_start_weights


def train_stand_ins(
    source: Source,
    folder: Path,
    configs: Path,
    clip_settings: ClipSettings,
    start_settings: StartSettings,
    sound_settings: SoundSettings,
    *,
    size: tuple[int, int],
    seed: int,
    load_imagenet: Callable[[nn.Module], None] | None = None,
) -> None:
    """Train the stand-ins for CLIP and CLAP, and the start weights, unless their files exist.

    Args:
        source: of images and sounds.
        folder: of the data set.
        configs: folder of the data set's configurations.
        clip_settings, start_settings, sound_settings: of the CLIP stand-in, the start weights and
            the CLAP stand-in.
        size: (H, W) of the images.
        seed: of everything.
        load_imagenet: loads weights into the networks of the backbone and of the CLIP stand-in.
    """
    name = source.folder
    train_clip(
        folder / "clip", source, clip_settings, seed=seed, size=size, load_trunk=load_imagenet
    )
    clip = folder / "clip" / f"{name}_clip"
    model = silent_model(source, configs / f"ovavss_{name}.yaml", clip, seed)
    start = folder / "start" / f"{name}_start.pth"
    if load_imagenet and not start.exists():
        load_imagenet(model.backbone.net)
    train_start_weights(start, source, model, start_settings, seed=seed, size=size)
    cfg = load_config(
        configs / f"zero_shot_{name}.yaml", ["MODEL.CLIP.ARCHITECTURE", f"{clip}.json"]
    )
    classifier = LogMelClassifier(cfg, model.classifier.clip)
    sounds = folder / "audio_classifier" / f"{name}_audio_classifier.pth"
    train_audio_classifier(sounds, source, classifier, sound_settings, seed=seed)


def silent_model(source: Source, config: Path, clip: Path, seed: int) -> OVAVSS:
    """A configuration's model without early fusion and query audio, initialized by a seed.

    Its class layer has the base classes, or one class "object" if some objects have no name.

    Args:
        source: of the classes.
        config: the configuration.
        clip: the files of the CLIP stand-in, without their suffixes.
        seed: of the weights.
    """
    settings = {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.FUSION.ENABLED": False,
        "MODEL.MASK_FORMER.AUDIO_QUERIES": False,
        "MODEL.MASK_FORMER.TIME_ENCODING": False,
        "MODEL.MASK_FORMER.NUM_CLASSES": 1 if source.silent_ids else len(source.base_ids),
        "MODEL.AUDIO.FREEZE": False,
        "MODEL.CLIP.ARCHITECTURE": f"{clip}.json",
    }
    torch.manual_seed(seed)
    model = build_model(load_config(config, [str(x) for pair in settings.items() for x in pair]))
    model.classifier.clip.model.load_state_dict(torch.load(f"{clip}.pt", weights_only=True))
    return model
