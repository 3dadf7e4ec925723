"""The commands `ovavss-train`, `ovavss-demo` and `ovavss-app`; the scripts of a clone call them."""

import argparse


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that choose a model: --config-file and --opts."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file",
        required=True,
        help="a YAML file, the name of a shipped one, or the folder of an exported model",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser
