"""The commands `ovavss-train`, `ovavss-demo` and `ovavss-app`; the scripts of a clone call them."""

import argparse

TRAINING_FREE = "zero_shot_R50.yaml"


def config_parser(description: str | None, default: str | None = None) -> argparse.ArgumentParser:
    """A parser with the arguments that choose a model: --config-file and --opts.

    `default` is the config without --config-file, which is required if there is none.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file",
        required=default is None,
        help="a YAML file, the name of a shipped one, or the folder of an exported model"
        + (f" ({default})" if default else ""),
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser


def model_options(args: argparse.Namespace) -> tuple[str, str | None]:
    """The config and the vocabulary of a demo; by default no training and everyday sounds."""
    if args.config_file is None:
        return TRAINING_FREE, "everyday" if args.vocabulary is None else args.vocabulary
    return args.config_file, args.vocabulary
