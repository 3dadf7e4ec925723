"""What the scripts that write generated data sets share: their options and their steps."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ovavss_d2.data.avsbench import SPLITS
from ovavss_d2.data.catalog import datasets_root
from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.toy.audio_classifier import SoundSettings
from ovavss_d2.toy.clip_model import ClipSettings
from ovavss_d2.toy.dataset import write_dataset
from ovavss_d2.toy.source import Source
from ovavss_d2.toy.stand_ins import train_stand_ins
from ovavss_d2.toy.start_weights import StartSettings
from ovavss_d2.toy.videos import VideoPlan, write_videos


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A script's defaults.

    Attributes:
        clips: number of clips of each split.
        size: (H, W) of frames.
        clip, start, sound: of the CLIP stand-in, the start weights and the CLAP stand-in.
    """

    clips: Mapping[str, int]
    size: tuple[int, int]
    clip: ClipSettings
    start: StartSettings
    sound: SoundSettings


def build_parser(description: str, recipe: Recipe) -> argparse.ArgumentParser:
    """A parser with the options of `write_all`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=datasets_root(), help="default: DETECTRON2_DATASETS")
    for split, title in zip(
        SPLITS, ("training clips", "validation clips", "test clips, a third per view"), strict=True
    ):
        parser.add_argument(f"--{split}", type=count, default=recipe.clips[split], help=title)
    parser.add_argument(
        "--size", type=positive, nargs=2, default=recipe.size, metavar=("H", "W"), help="of frames"
    )
    parser.add_argument("--seed", type=count, default=0)
    parser.add_argument("--workers", type=positive, default=2, help="processes")
    for option, settings, title in (
        ("--clip-steps", recipe.clip, "the CLIP stand-in"),
        ("--start-steps", recipe.start, "the start weights"),
        ("--sound-steps", recipe.sound, "the CLAP stand-in"),
    ):
        parser.add_argument(
            option, type=positive, default=settings.steps, help=f"training steps of {title}"
        )
    return parser


def write_all(
    source: Source,
    recipe: Recipe,
    args: argparse.Namespace,
    plans: Mapping[str, VideoPlan],
    video_size: tuple[int, int],
    configs: Path,
    load_imagenet: Callable[[nn.Module], None] | None = None,
) -> str:
    """Write the clips, split lists, videos and stand-ins that do not exist yet.

    Args:
        source: of objects and sounds.
        recipe: the script's defaults.
        args: parsed by `build_parser`.
        plans, video_size: see `write_videos`.
        configs, load_imagenet: see `train_stand_ins`.

    Returns:
        what was found in the clips, and where the data set is.
    """
    folder = Path(args.root) / source.folder
    counts = {split: getattr(args, split) for split in SPLITS}
    semantic = write_dataset(
        source, args.root, counts, seed=args.seed, size=tuple(args.size), workers=args.workers
    )
    lists = derived_lists(folder / "split_lists", source.names, source.base_ids)
    report = write_lists(semantic, lists, source.names, args.workers)
    write_videos(source, args.root, plans, video_size, seed=args.seed)
    train_stand_ins(
        source,
        folder,
        configs,
        replace(recipe.clip, steps=args.clip_steps),
        replace(recipe.start, steps=args.start_steps),
        replace(recipe.sound, steps=args.sound_steps),
        size=recipe.size,
        seed=args.seed,
        load_imagenet=load_imagenet,
    )
    return f"{report}\nThe data set is in {folder}"


def count(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError("got 0, expected at least 1")
    return int(text)
