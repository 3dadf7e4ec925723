#!/usr/bin/env python3
"""Write the toy world: clips, split lists, videos, start weights, stand-ins for CLIP and CLAP.

    python datasets/prepare_toy.py [--root DIR] [--train N --val N --test N] [--seed S]

Everything depends on the seed alone. An interrupted run resumes. See datasets/README.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ovavss_d2.data.avsbench import SPLITS
from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.errors import one_line_errors
from ovavss_d2.toy import videos
from ovavss_d2.toy.arguments import add_steps, data_parser
from ovavss_d2.toy.audio_classifier import STEPS as SOUND_STEPS
from ovavss_d2.toy.clip_model import TOY_CLIP
from ovavss_d2.toy.dataset import write_dataset
from ovavss_d2.toy.scene import TOY_SIZE
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.toy.stand_ins import train_stand_ins
from ovavss_d2.toy.start_weights import TOY_START

CONFIGS = Path(__file__).parent.parent / "configs"
CONFIG, ZERO_SHOT_CONFIG = CONFIGS / "ovavss_toy.yaml", CONFIGS / "zero_shot_toy.yaml"


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything that does not exist yet."""
    title = __doc__.splitlines()[0]
    parser = data_parser(title, train=3200, val=60, test=720, size=TOY_SIZE)
    add_steps(parser, clip=TOY_CLIP.steps, start=TOY_START.steps, sound=SOUND_STEPS)
    args = parser.parse_args(arguments)
    toy = Path(args.root) / TOY.folder
    counts = {split: getattr(args, split) for split in SPLITS}
    semantic = write_dataset(
        TOY, args.root, counts, seed=args.seed, size=tuple(args.size), workers=args.workers
    )
    lists = derived_lists(toy / "split_lists", TOY.names, TOY.base_ids)
    print(write_lists(semantic, lists, TOY.names, args.workers))
    videos.write_videos(TOY, args.root, videos.TOY_VIDEOS, videos.TOY_VIDEO_SIZE, seed=args.seed)
    train_stand_ins(
        TOY,
        toy,
        CONFIG,
        ZERO_SHOT_CONFIG,
        replace(TOY_CLIP, steps=args.clip_steps),
        replace(TOY_START, steps=args.start_steps),
        size=TOY_SIZE,
        seed=args.seed,
        sound_steps=args.sound_steps,
    )
    print(f"The toy world is in {toy}")


if __name__ == "__main__":
    main()
