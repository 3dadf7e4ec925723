"""Paint and name the sounding objects of videos.

    python demo/demo.py --input VIDEO [VIDEO ...] --output DIR --vocabulary "dog,car|automobile"

Without --config-file no training is needed: published weights are downloaded, and CLAP must be
installed (`pip install -e ".[clap]"`). A model of your own:

    python demo/demo.py --config-file configs/ovavss_toy.yaml --input VIDEO --output DIR \\
        --opts MODEL.WEIGHTS output/ovavss_toy/model_final.pth

An input is a video, a folder of frames (with an audio file), or an image (with an audio file of the
same name next to it); patterns such as 'videos/*.mp4' are expanded. Each input has four results in
DIR: `<name>.mp4` with its size, frame rate and audio, a contact sheet `<name>.jpg`, label maps in
`<name>_labels/`, and `<name>.json` in the YouTube-VIS format (see docs/DEMO.md).

A faulty input is a one-line error; the other inputs are processed, and the exit code is 1.
OVAVSS_DEBUG=1 shows tracebacks.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from tqdm import tqdm

from ovavss_d2.commands import TRAINING_FREE, config_parser, model_options
from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import one_line_errors, reported_errors
from ovavss_d2.inference.writing import OUTPUTS, check_names_differ, output_paths
from ovavss_d2.media.source import Source, check_frame_rate, expand_inputs, open_source
from ovavss_d2.segmenter import Segmenter


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = config_parser(__doc__, TRAINING_FREE)
    parser.add_argument(
        "--input", required=True, nargs="+", help="videos, folders of frames, images, or patterns"
    )
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument(
        "--vocabulary",
        help="names separated by commas ('car|automobile' is one class); a file of names; or "
        "'avsbench', 'toy', 'stamps' or 'everyday' (default: everyday; with --config-file, the "
        "config's, or those of its test data set)",
    )
    parser.add_argument("--background", help="names or a file: recognized, but not painted")
    parser.add_argument("--threshold", type=float, help="minimum score, 0 to 1")
    parser.add_argument(
        "--fps", type=float, default=1.0, help="segmented frames per second (1); see docs/DEMO.md"
    )
    parser.add_argument("--sound", help="an audio file to use instead of the input's own audio")
    parser.add_argument("--track", type=int, help="the audio track to use, from 0")
    parser.add_argument(
        "--picture-rate", type=float, default=1.0, help="frames per second of a folder (1)"
    )
    parser.add_argument(
        "--outputs", nargs="+", choices=OUTPUTS, default=OUTPUTS, help="what to write (all)"
    )
    parser.add_argument(
        "--keep-partial",
        action="store_true",
        help="keep incomplete results after an error or Ctrl-C, as <name>.partial.*",
    )
    return parser.parse_args(arguments)


def open_inputs(args: argparse.Namespace) -> tuple[list[Source], int]:
    """Open all inputs before any of them is processed.

    Returns:
        The inputs, and the number of faulty ones, whose errors are printed.
    """
    paths = expand_inputs(args.input)
    if args.sound and len(paths) > 1:
        raise ValueError(f"--sound needs a single input, {len(paths)} were given")
    sources: list[Source] = []
    writable: list[Source] = []
    for path in dict.fromkeys(paths):
        with reported_errors():
            sources.append(
                open_source(
                    path, audio=args.sound, audio_index=args.track, image_rate=args.picture_rate
                )
            )
    for source in sources:
        with reported_errors():
            output_paths(
                source, args.output, args.outputs, keep_partial=args.keep_partial, inputs=sources
            )
            writable.append(source)
    check_names_differ(writable, with_partial=args.keep_partial)
    return writable, len(set(paths)) - len(writable)


def write(segmenter: Segmenter, source: Source, args: argparse.Namespace) -> None:
    """Write the results of an input, with a progress bar."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video, {remaining} left"
    with tqdm(desc=source.path, total=source.duration or 1, bar_format=form) as bar:
        segmenter.write(
            source,
            args.output,
            fps=args.fps,
            outputs=args.outputs,
            keep_partial=args.keep_partial,
            progress=lambda done, _: bar.update(min(done, bar.total) - bar.n),
        )


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Process all inputs."""
    args = parse_arguments(arguments)
    check_frame_rate(args.fps, "--fps")
    check_frame_rate(args.picture_rate, "--picture-rate")
    sources, failures = open_inputs(args)
    if sources:
        if not torch.cuda.is_available():
            keep_freed_memory()  # of a window for the next
        config_file, vocabulary = model_options(args)
        segmenter = Segmenter.from_config_file(
            config_file,
            vocabulary=vocabulary,
            background=args.background,
            threshold=args.threshold,
            opts=args.opts,
        )
    for source in sources:
        failures += 1
        with reported_errors():
            write(segmenter, source, args)
            failures -= 1
    if failures:
        sys.exit(1)
