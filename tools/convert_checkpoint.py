#!/usr/bin/env python3
"""Write a checkpoint in another layout: this project's, the released OV-AVSS one, Mask2Former's, or
that of a part alone. No number changes, and back again it is bit-identical.

    python tools/convert_checkpoint.py SOURCE TARGET --to released

What SOURCE is shows in its content. TARGET's suffix says the form: `.pkl` arrays in a pickle,
`.safetensors` (parts alone), otherwise a file of torch. MODEL.WEIGHTS takes every layout without a
conversion; other programs take theirs.
"""

import argparse

from ovavss_d2.errors import one_line_errors
from ovavss_d2.weights.conversion import convert_file
from ovavss_d2.weights.layouts import LAYOUTS, by_part

CHOICES = {name.lower(): name for name in LAYOUTS if name != "unknown"}


def parse_arguments(arguments=None):
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="weight file of any layout")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--to", required=True, choices=CHOICES, help="layout of TARGET")
    return parser.parse_args(arguments)


@one_line_errors()
def run(arguments=None):
    """The command line."""
    args = parse_arguments(arguments)
    layout = CHOICES[args.to]
    written, left_out = convert_file(args.source, args.target, layout)
    print(f"'{args.target}' ({LAYOUTS[layout]}): {by_part(written)}")
    if left_out:
        print(f"left out, without a place in this layout: {by_part(left_out)}")


if __name__ == "__main__":
    run()
