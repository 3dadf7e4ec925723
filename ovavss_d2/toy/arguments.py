"""The command-line options that the scripts of generated data sets share."""

import argparse

from ovavss_d2.data.catalog import datasets_root


def data_parser(
    description: str, *, train: int, val: int, test: int, size: tuple[int, int]
) -> argparse.ArgumentParser:
    """A parser with options for the number of clips, their size, the seed and the processes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=datasets_root(), help="default: DETECTRON2_DATASETS")
    parser.add_argument("--train", type=count, default=train, help="training clips")
    parser.add_argument("--val", type=count, default=val, help="validation clips")
    parser.add_argument("--test", type=count, default=test, help="test clips, a third per view")
    parser.add_argument("--size", type=positive, nargs=2, default=size, metavar=("H", "W"))
    parser.add_argument("--seed", type=count, default=0)
    parser.add_argument("--workers", type=positive, default=2, help="processes")
    return parser


def add_steps(parser: argparse.ArgumentParser, *, clip: int, start: int, sound: int) -> None:
    """Add options for the training steps of the stand-ins, with their defaults."""
    for option, steps, title in (
        ("--clip-steps", clip, "the CLIP stand-in"),
        ("--start-steps", start, "the start weights"),
        ("--sound-steps", sound, "the CLAP stand-in"),
    ):
        parser.add_argument(option, type=positive, default=steps, help=f"training steps of {title}")


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
