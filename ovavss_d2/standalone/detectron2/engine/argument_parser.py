"""The command line of training scripts."""

import argparse
import os
import sys

EXAMPLES = """
Examples:

On one machine:
    $ {script} --num-gpus 8 --config-file cfg.yaml

Override options of the file:
    $ {script} --config-file cfg.yaml MODEL.WEIGHTS /path/to/weight.pth SOLVER.BASE_LR 0.001

On several machines:
    (machine0)$ {script} --machine-rank 0 --num-machines 2 --dist-url <URL> [--other-flags]
    (machine1)$ {script} --machine-rank 1 --num-machines 2 --dist-url <URL> [--other-flags]
"""
FIRST_PRIVATE_PORT = 49152
PRIVATE_PORTS = 16384


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Create the parser for the arguments of a training script.

    Args:
        epilog: text at the end of `--help`; examples if None.
    """
    parser = argparse.ArgumentParser(
        epilog=EXAMPLES.format(script=sys.argv[0]) if epilog is None else epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume from the last checkpoint in the output folder; see"
        " `DefaultTrainer.resume_or_load()`",
    )
    parser.add_argument("--eval-only", action="store_true", help="perform evaluation only")
    parser.add_argument("--num-gpus", type=int, default=1, help="number of GPUs *per machine*")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="the rank of this machine (unique per machine)"
    )
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{_port_of_user()}",
        help="initialization URL of PyTorch's distributed backend, see"
        " https://pytorch.org/docs/stable/distributed.html",
    )
    parser.add_argument(
        "opts",
        help='other config options, as "PATH.KEY VALUE" pairs separated by spaces, at the end',
        default=None,
        nargs=argparse.REMAINDER,
    )
    return parser


def _port_of_user() -> int:
    """A port that differs between the users of a machine."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return FIRST_PRIVATE_PORT + user % PRIVATE_PORTS
