#!/usr/bin/env python3
"""Write the stamps data set: photographs and recorded sounds, split lists, videos, stand-ins.

    python datasets/prepare_stamps.py [--package FILE_OR_FOLDER] [--root DIR] [--train N ...]

The photographs and sounds are those of the package "tuxpaint-stamps", which is downloaded with APT
where that exists. An interrupted run resumes. See datasets/README.md.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ovavss_d2.data.avsbench import SPLITS
from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.errors import one_line_errors
from ovavss_d2.stamps import videos
from ovavss_d2.stamps.imagenet import load_imagenet, weight_file
from ovavss_d2.stamps.package import LICENSES, unpack
from ovavss_d2.stamps.source import SOUND_CLIPS, STAMPS_CLIP, STAMPS_SIZE, STAMPS_START, Stamps
from ovavss_d2.toy.arguments import add_steps, data_parser
from ovavss_d2.toy.audio_classifier import STEPS as SOUND_STEPS
from ovavss_d2.toy.dataset import write_dataset
from ovavss_d2.toy.stand_ins import train_stand_ins
from ovavss_d2.toy.videos import write_videos

CONFIGS = Path(__file__).parent.parent / "configs"
CONFIG, ZERO_SHOT_CONFIG = CONFIGS / "ovavss_stamps.yaml", CONFIGS / "zero_shot_stamps.yaml"


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything that does not exist yet."""
    title = __doc__.splitlines()[0]
    parser = data_parser(title, train=2400, val=60, test=720, size=STAMPS_SIZE)
    parser.add_argument(
        "--package", help="a .deb, the upstream archive or an unpacked folder (default: download)"
    )
    add_steps(parser, clip=STAMPS_CLIP.steps, start=STAMPS_START.steps, sound=SOUND_STEPS)
    args = parser.parse_args(arguments)
    weight_file()  # a missing package is an error now
    folder = Path(args.root) / "stamps"
    source = Stamps(package=unpack(args.package, folder / "package"))
    shutil.copytree(source.package / LICENSES, folder / LICENSES, dirs_exist_ok=True)
    counts = {split: getattr(args, split) for split in SPLITS}
    semantic = write_dataset(
        source, args.root, counts, seed=args.seed, size=tuple(args.size), workers=args.workers
    )
    lists = derived_lists(folder / "split_lists", source.names, source.base_ids)
    print(write_lists(semantic, lists, source.names, args.workers))
    write_videos(source, args.root, videos.STAMPS_VIDEOS, videos.STAMPS_VIDEO_SIZE, seed=args.seed)
    train_stand_ins(
        source,
        folder,
        CONFIG,
        ZERO_SHOT_CONFIG,
        replace(STAMPS_CLIP, steps=args.clip_steps),
        replace(STAMPS_START, steps=args.start_steps),
        size=STAMPS_SIZE,
        seed=args.seed,
        sound_steps=args.sound_steps,
        sound_clips=SOUND_CLIPS,
        load_backbone=load_imagenet,
    )
    print(f"The stamps data set is in {folder}")


if __name__ == "__main__":
    main()
