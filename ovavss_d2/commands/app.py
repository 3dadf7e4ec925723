"""A web page that paints and names the sounding objects of a video.

    python demo/app.py --samples VIDEO [VIDEO ...]

It needs Gradio: `pip install -e ".[app]"`. For --config-file see demo/demo.py. Without --host it is
reachable from this machine only (127.0.0.1). One video is processed at a time; other requests wait
in a queue. Results are deleted after an hour. Ctrl-C stops the server.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ovavss_d2.commands import TRAINING_FREE, config_parser, model_options
from ovavss_d2.data.catalog import datasets_root
from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import one_line_errors
from ovavss_d2.media.source import expand_inputs, open_source
from ovavss_d2.segmenter import Segmenter


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = config_parser(__doc__, TRAINING_FREE)
    parser.add_argument("--vocabulary", help="default names of the form; see demo/demo.py")
    parser.add_argument(
        "--samples",
        nargs="*",
        help="videos to choose from (those of the stamps data set, if they were made)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind to (127.0.0.1)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--max-megabytes", type=int, default=200, help="of an upload (200)")
    parser.add_argument("--max-seconds", type=float, default=300, help="of a video (300)")
    parser.add_argument("--waiting", type=int, default=20, help="requests in the queue (20)")
    return parser.parse_args(arguments)


def stamps_videos() -> list[str]:
    """The videos that datasets/prepare_stamps.py made, if any."""
    return sorted(map(str, Path(datasets_root(), "stamps", "videos").glob("*.mp4")))


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    args = parse_arguments(arguments)
    if args.port is not None and not 0 < args.port < 2**16:
        raise ValueError(f"--port is {args.port}, expected 1 to 65535")
    try:
        from ovavss_d2.commands.web_page import (  # here, so that --help needs no Gradio
            Limits,
            Page,
            launch,
        )
    except ImportError as error:
        raise ValueError(f'the page needs Gradio: pip install -e ".[app]" ({error})') from error
    limits = Limits(args.max_megabytes, args.max_seconds, waiting=args.waiting)
    samples = stamps_videos() if args.samples is None else expand_inputs(args.samples)
    for sample in samples:
        open_source(sample)  # an unreadable sample is an error now
    if not torch.cuda.is_available():
        keep_freed_memory()  # of a window for the next
    config_file, vocabulary = model_options(args)
    segmenter = Segmenter.from_config_file(config_file, vocabulary=vocabulary, opts=args.opts)
    page = Page(segmenter=segmenter, samples=samples, limits=limits)
    try:
        blocks, url = launch(page, host=args.host, port=args.port)
        sys.stderr.write(f"The page is at {url}\n")
        blocks.block_thread()
    finally:
        page.close()
