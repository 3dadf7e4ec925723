#!/usr/bin/env python3
"""Convert a weight file to another layout without changing any number.

    python tools/convert_checkpoint.py SOURCE TARGET --to released

The layout of SOURCE is recognized from its content. The suffix of TARGET sets the format: `.pkl`
for NumPy arrays in a pickle, `.safetensors` (audio and clip only), anything else for `torch.save`.
MODEL.WEIGHTS accepts every layout; convert files for other programs.
"""

import argparse
from collections.abc import Sequence

from ovavss_d2.errors import one_line_errors
from ovavss_d2.weights.conversion import convert_file
from ovavss_d2.weights.layouts import LAYOUTS, count_by_module

CHOICES = {name.lower(): name for name in LAYOUTS if name != "unknown"}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="weight file of any layout")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--to", required=True, choices=CHOICES, help="layout of TARGET")
    return parser.parse_args(arguments)


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    args = parse_arguments(arguments)
    layout = CHOICES[args.to]
    written, omitted = convert_file(args.source, args.target, layout)
    print(f"'{args.target}' ({LAYOUTS[layout]}): {count_by_module(written)}")
    if omitted:
        print(f"omitted, this layout cannot hold them: {count_by_module(omitted)}")


if __name__ == "__main__":
    run()
