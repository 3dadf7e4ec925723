#!/usr/bin/env python3
"""Write the stamps data set: photographs and recorded sounds, split lists, videos, stand-ins.

    python datasets/prepare_stamps.py [--package FILE_OR_FOLDER] [--root DIR] [--train N ...]

The photographs and sounds are those of the package "tuxpaint-stamps", which is downloaded with APT
where that exists. An interrupted run resumes. See datasets/README.md.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ovavss_d2.errors import one_line_errors
from ovavss_d2.stamps import videos
from ovavss_d2.stamps.imagenet import load_imagenet, weight_file
from ovavss_d2.stamps.package import LICENSES, unpack
from ovavss_d2.stamps.source import STAMPS_CLIP, STAMPS_SIZE, STAMPS_SOUND, STAMPS_START, Stamps
from ovavss_d2.toy.prepare import Recipe, build_parser, write_all

CONFIGS = Path(__file__).parent.parent / "configs"
RECIPE = Recipe(
    clips={"train": 2400, "val": 60, "test": 720},
    size=STAMPS_SIZE,
    clip=STAMPS_CLIP,
    start=STAMPS_START,
    sound=STAMPS_SOUND,
)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything that does not exist yet."""
    parser = build_parser(__doc__.splitlines()[0], RECIPE)
    parser.add_argument(
        "--package", help="a .deb, the upstream archive or an unpacked folder (default: download)"
    )
    args = parser.parse_args(arguments)
    weight_file()  # a missing package is an error now
    folder = Path(args.root) / Stamps.folder
    source = Stamps(package=unpack(args.package, folder / "package"))
    shutil.copytree(source.package / LICENSES, folder / LICENSES, dirs_exist_ok=True)
    plans, size = videos.STAMPS_VIDEOS, videos.STAMPS_VIDEO_SIZE
    print(write_all(source, RECIPE, args, plans, size, CONFIGS, load_imagenet))


if __name__ == "__main__":
    main()
