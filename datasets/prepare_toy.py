#!/usr/bin/env python3
"""Write the toy world: clips, split lists, videos, start weights, stand-ins for CLIP and CLAP.

    python datasets/prepare_toy.py [--root DIR] [--train N --val N --test N] [--seed S]

Everything depends on the seed alone. An interrupted run resumes. See datasets/README.md.
"""

from collections.abc import Sequence
from pathlib import Path

from ovavss_d2.errors import one_line_errors
from ovavss_d2.toy import videos
from ovavss_d2.toy.audio_classifier import TOY_SOUND
from ovavss_d2.toy.clip_model import TOY_CLIP
from ovavss_d2.toy.prepare import Recipe, build_parser, write_all
from ovavss_d2.toy.scene import TOY_SIZE
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.toy.start_weights import TOY_START

CONFIGS = Path(__file__).parent.parent / "configs"
RECIPE = Recipe(
    clips={"train": 3200, "val": 60, "test": 720},
    size=TOY_SIZE,
    clip=TOY_CLIP,
    start=TOY_START,
    sound=TOY_SOUND,
)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything that does not exist yet."""
    args = build_parser(__doc__.splitlines()[0], RECIPE).parse_args(arguments)
    print(write_all(TOY, RECIPE, args, videos.TOY_VIDEOS, videos.TOY_VIDEO_SIZE, CONFIGS))


if __name__ == "__main__":
    main()
