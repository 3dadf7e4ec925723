#!/usr/bin/env python3
"""Write the toy world: clips, split lists, videos, start weights, stand-ins for CLIP and CLAP.

    python datasets/prepare_toy.py [--root DIR] [--train N --val N --test N] [--seed S]

Everything depends on the seed alone. An interrupted run resumes. See datasets/README.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ovavss_d2.config import load_config
from ovavss_d2.data.avsbench import SPLITS
from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.errors import one_line_errors
from ovavss_d2.modeling import build_model
from ovavss_d2.modeling.audio_classifier import LogMelClassifier
from ovavss_d2.modeling.meta_arch import OVAVSS
from ovavss_d2.toy import videos
from ovavss_d2.toy.arguments import data_parser, positive
from ovavss_d2.toy.audio_classifier import STEPS as SOUND_STEPS
from ovavss_d2.toy.audio_classifier import train_audio_classifier
from ovavss_d2.toy.clip_model import STEPS, train_clip
from ovavss_d2.toy.dataset import write_dataset
from ovavss_d2.toy.scene import TOY_SIZE
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.toy.start_weights import LOCALIZER_STEPS, train_start_weights
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES

CONFIGS = Path(__file__).parent.parent / "configs"
CONFIG, ZERO_SHOT_CONFIG = CONFIGS / "ovavss_toy.yaml", CONFIGS / "zero_shot_toy.yaml"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    title = __doc__.splitlines()[0]
    parser = data_parser(title, train=3200, val=60, test=720, size=TOY_SIZE)
    parser.add_argument(
        "--clip-steps", type=positive, default=STEPS, help="training steps of the CLIP stand-in"
    )
    parser.add_argument(
        "--start-steps",
        type=positive,
        default=LOCALIZER_STEPS,
        help="training steps of the start weights",
    )
    parser.add_argument(
        "--sound-steps",
        type=positive,
        default=SOUND_STEPS,
        help="training steps of the CLAP stand-in",
    )
    return parser.parse_args(arguments)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything that does not exist yet."""
    args = parse_arguments(arguments)
    toy = Path(args.root) / TOY.folder
    counts = {split: getattr(args, split) for split in SPLITS}
    semantic = write_dataset(
        TOY, args.root, counts, seed=args.seed, size=tuple(args.size), workers=args.workers
    )
    lists = derived_lists(toy / "split_lists", TOY_NAMES, TOY_BASE_IDS)
    print(write_lists(semantic, lists, TOY_NAMES, args.workers))
    videos.write_videos(TOY, args.root, videos.TOY_VIDEOS, videos.TOY_VIDEO_SIZE, seed=args.seed)
    train_clip(toy / "clip", TOY, seed=args.seed, steps=args.clip_steps)
    start = toy / "start" / "toy_start.pth"
    model = _silent_model(toy, args.seed)
    train_start_weights(start, TOY, model, seed=args.seed, steps=args.start_steps)
    classifier = _audio_classifier(toy, model)
    sounds = toy / "audio_classifier" / "toy_audio_classifier.pth"
    train_audio_classifier(sounds, TOY, classifier, seed=args.seed, steps=args.sound_steps)
    print(f"The toy world is in {toy}")


def _silent_model(toy: Path, seed: int) -> OVAVSS:
    """The toy configuration's model without early fusion and query audio, initialized by a seed."""
    clip = toy / "clip" / "toy_clip"
    settings = {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.FUSION.ENABLED": False,
        "MODEL.MASK_FORMER.AUDIO_QUERIES": False,
        "MODEL.MASK_FORMER.TIME_ENCODING": False,
        "MODEL.MASK_FORMER.NUM_CLASSES": len(TOY_BASE_IDS),
        "MODEL.AUDIO.FREEZE": False,
        "MODEL.CLIP.ARCHITECTURE": f"{clip}.json",
    }
    torch.manual_seed(seed)
    model = build_model(load_config(CONFIG, [str(x) for pair in settings.items() for x in pair]))
    model.classifier.clip.model.load_state_dict(torch.load(f"{clip}.pt", weights_only=True))
    return model


def _audio_classifier(toy: Path, model: OVAVSS) -> LogMelClassifier:
    """The training-free toy configuration's audio classifier, with the model's CLIP stand-in."""
    clip = f"{toy / 'clip' / 'toy_clip'}.json"
    cfg = load_config(ZERO_SHOT_CONFIG, ["MODEL.CLIP.ARCHITECTURE", clip])
    return LogMelClassifier(cfg, model.classifier.clip)


if __name__ == "__main__":
    main()
