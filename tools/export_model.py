#!/usr/bin/env python3
"""Write a self-contained model: weights, config, vocabularies, and a model card in one folder.

    python tools/export_model.py output/ovavss_toy/model_final.pth exported/toy

`Segmenter.from_pretrained("exported/toy")`, `MODEL.WEIGHTS exported/toy` and
`--config-file exported/toy` use it on any machine.
"""

import argparse
import sys
from collections.abc import Sequence

from ovavss_d2.errors import one_line_errors
from ovavss_d2.weights.export import export_model


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="weights, such as OUTPUT_DIR/model_final.pth")
    parser.add_argument("folder", help="for the model")
    parser.add_argument("--config-file", help="default: config.yaml next to the checkpoint")
    parser.add_argument(
        "--frozen",
        choices=["include", "by-name"],
        default="include",
        help="frozen CLIP and audio encoder: in the file (include), or downloaded where the model "
        "is used (by-name)",
    )
    parser.add_argument("--license", default="other", help="license for the model card (other)")
    args = parser.parse_args(arguments)
    folder = export_model(
        args.checkpoint,
        args.folder,
        config_file=args.config_file,
        include_frozen=args.frozen == "include",
        license_name=args.license,
    )
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    run()
