#!/usr/bin/env python3
"""Paint and name what sounds in videos, and keep their sound.

    python demo/demo.py --config-file configs/ovavss_toy.yaml --input VIDEO [VIDEO ...] --output DIR
    \\
        --vocabulary "red circle,blue square" --opts MODEL.WEIGHTS output/ovavss_toy/model_final.pth

An input is a video, a folder of frames (with a sound file in it), or a picture (with a sound file
of the same name beside it); patterns like 'videos/*.mp4' are resolved. For each of them DIR gets
`<name>.mp4` at the input's own size and frame rate, a contact sheet `<name>.jpg`, label maps in
`<name>_labels/`, and `<name>.json` in the form of YouTube-VIS (docs/DEMO.md describes them).

Wrong input ends in one line, and the other inputs go on; the exit code is 1 then.
OVAVSS_DEBUG=1 shows where an error came from.
"""

import argparse
import sys
from collections.abc import Iterator

import torch
from tqdm import tqdm

from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import USER_MISTAKES, debugging, one_line, one_line_errors
from ovavss_d2.inference.writing import OUTPUTS, output_paths
from ovavss_d2.media.source import Source, expand_inputs, open_source
from ovavss_d2.segmenter import Segmenter


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="a YAML of configs/")
    parser.add_argument(
        "--input", required=True, nargs="+", help="videos, folders of frames, pictures, or patterns"
    )
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument(
        "--vocabulary",
        help="names to look for, separated by commas ('car|automobile' is one class); a file of "
        "names; or 'avsbench', 'toy' or 'everyday' (default: the config's, or those of its test "
        "data set)",
    )
    parser.add_argument("--background", help="names or a file: recognised, but not painted")
    parser.add_argument("--threshold", type=float, help="paint what scores above it, 0 to 1")
    parser.add_argument(
        "--fps", type=float, default=1.0, help="frames a second to segment; masks follow between"
    )
    parser.add_argument("--sound", help="a sound file to hear instead of the input's own")
    parser.add_argument("--track", type=int, help="the sound track to hear, from 0")
    parser.add_argument(
        "--picture-rate", type=float, default=1.0, help="frames a second in a folder of frames (1)"
    )
    parser.add_argument(
        "--outputs", nargs="+", choices=OUTPUTS, default=OUTPUTS, help="what to write (all)"
    )
    parser.add_argument(
        "--keep-partial",
        action="store_true",
        help="on an error or Ctrl-C, keep what is done as <name>.partial.*",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser.parse_args(arguments)


class Inputs:
    """The inputs one after the other; a faulty one is told and left out."""

    def __init__(self) -> None:
        self.failed = False

    def tell(self, error: Exception) -> None:
        """Say what is wrong, and remember it for the exit code."""
        self.failed = True
        sys.stderr.write(f"error: {one_line(error)}\n")

    def open(self, args: argparse.Namespace) -> Iterator[Source]:
        """Open all of them before any work is done."""
        paths = expand_inputs(args.input)
        if args.sound and len(paths) > 1:
            raise ValueError(f"--sound goes with one input, {len(paths)} were given")
        taken: dict[str, str] = {}
        for path in paths:
            try:
                source = open_source(
                    path, sound=args.sound, track=args.track, picture_rate=args.picture_rate
                )
                first = str(next(iter(output_paths(source, args.output, args.outputs).values())))
            except USER_MISTAKES as error:
                if debugging():
                    raise
                self.tell(error)
                continue
            if taken.setdefault(first, path) != path:
                raise ValueError(f"'{path}' and '{taken[first]}' would both become '{first}'")
            yield source


def write(segmenter: Segmenter, source: Source, args: argparse.Namespace) -> None:
    """Write the results of one input, with a bar that tells the time left."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video, {remaining} left"
    with tqdm(desc=source.path, total=source.duration or 1, bar_format=form) as bar:

        def progress(done: float, _: float) -> None:
            bar.update(min(done, bar.total) - bar.n)

        segmenter.write(
            source,
            args.output,
            fps=args.fps,
            outputs=args.outputs,
            keep_partial=args.keep_partial,
            progress=progress,
        )


@one_line_errors()
def run(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parse_arguments(arguments)
    if not args.fps > 0:
        raise ValueError(f"--fps is {args.fps}, expected a positive number of frames a second")
    inputs = Inputs()
    sources = list(inputs.open(args))
    if sources:
        if not torch.cuda.is_available():
            keep_freed_memory()  # of a window for the next
        segmenter = Segmenter.from_config_file(
            args.config_file,
            vocabulary=args.vocabulary,
            background=args.background,
            threshold=args.threshold,
            opts=args.opts,
        )
    for source in sources:
        try:
            write(segmenter, source, args)
        except USER_MISTAKES as error:
            if debugging():
                raise
            inputs.tell(error)
    if inputs.failed:
        sys.exit(1)


if __name__ == "__main__":
    run()
