#!/usr/bin/env python3
"""A web page on which what sounds in a video is painted and named.

    python demo/app.py --config-file configs/ovavss_toy.yaml --samples datasets/toy/videos/*.mp4 \\
        --opts MODEL.WEIGHTS output/ovavss_toy/model_final.pth

It needs Gradio: `pip install -e ".[app]"`. The page is for this machine alone (127.0.0.1) unless
--host says otherwise. Ctrl-C stops it.
"""

import argparse
import sys

import torch

from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import one_line_errors
from ovavss_d2.media.source import expand_inputs, open_source
from ovavss_d2.segmenter import Segmenter


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="a YAML of configs/")
    parser.add_argument("--vocabulary", help="names in the form at first; see demo/demo.py")
    parser.add_argument("--samples", nargs="*", default=[], help="videos to try")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind to (127.0.0.1)")
    parser.add_argument("--port", type=int, help="the first free one from 7860 on")
    parser.add_argument("--max-megabytes", type=int, default=200, help="of an upload (200)")
    parser.add_argument("--max-seconds", type=float, default=300, help="of a video (300)")
    parser.add_argument("--waiting", type=int, default=20, help="visitors in the queue (20)")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser.parse_args(arguments)


@one_line_errors()
def run(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parse_arguments(arguments)
    try:
        from ovavss_d2.inference.page import Limits, Page, launch
    except ImportError as error:
        raise ValueError(f'the page needs Gradio: pip install -e ".[app]" ({error})') from error
    samples = expand_inputs(args.samples)
    for sample in samples:
        open_source(sample)
    if not torch.cuda.is_available():
        keep_freed_memory()  # of a window for the next
    segmenter = Segmenter.from_config_file(
        args.config_file, vocabulary=args.vocabulary, opts=args.opts
    )
    limits = Limits(args.max_megabytes, args.max_seconds, waiting=args.waiting)
    page = Page(segmenter=segmenter, samples=samples, limits=limits)
    blocks, url = launch(page, host=args.host, port=args.port)
    sys.stderr.write(f"The page is at {url}\n")
    try:
        blocks.block_thread()
    finally:
        page.close()


if __name__ == "__main__":
    run()
