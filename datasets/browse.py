#!/usr/bin/env python3
"""Draw previews of a data set: frames with their true classes, over the spectrogram of the audio.

    python datasets/browse.py NAME [--output DIR] [--videos N] [--id VIDEO ...] [--faults]
    python datasets/browse.py NAME --config-file configs/ovavss_R50.yaml     # training clips

With --config-file it draws the clips that the model gets in training: cropped, flipped and with
changed colors, each frame over its second of audio. See datasets/README.md.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovavss_d2.config import load_config
from ovavss_d2.data.catalog import DatasetCatalog, MetadataCatalog, check_dataset
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.errors import one_line_errors
from ovavss_d2.evaluation.previews import (
    Preview,
    draw_preview,
    evenly_spaced,
    preview_clip,
    preview_video,
)  # fmt: skip
from ovavss_d2.files import atomic_path

VIDEOS_PER_PAGE = 6


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a registered data set, such as toy_ov_train_base")
    parser.add_argument("--output", type=Path, default=Path("output/browse"), help="folder")
    parser.add_argument("--videos", type=int, default=24, help="number, evenly spaced (24)")
    parser.add_argument("--id", nargs="+", default=(), help="these videos instead")
    parser.add_argument("--faults", action="store_true", help="only videos with faulty data")
    parser.add_argument("--config-file", help="draw training clips of this config")
    parser.add_argument("--seed", type=int, default=0, help="of the training clips (0)")
    return parser.parse_args(arguments)


def select_records(records: list[dict], args: argparse.Namespace) -> list[dict]:
    """Select the videos of the command line."""
    if args.id:
        known = {record["video_id"]: record for record in records}
        missing = [video for video in args.id if video not in known]
        if missing:
            raise ValueError(f"no video '{missing[0]}' in '{args.name}'")
        return [known[video] for video in args.id]
    if args.faults:
        return records
    selected = evenly_spaced(len(records), max(args.videos, 1))
    return [records[i] for i in selected]


def read_previews(
    records: list[dict], metadata: Any, args: argparse.Namespace
) -> Iterator[Preview]:
    """Read the selected videos or training clips one by one."""
    selected = select_records(records, args)
    if args.config_file:
        mapper = AVSClipMapper(load_config(args.config_file), is_train=True, records=records)
        np.random.seed(args.seed)
        yield from (preview_clip(mapper(record)) for record in selected)
        return
    previews = (preview_video(record, metadata) for record in selected)
    if args.faults:
        faulty = (preview for preview in previews if preview.faults)
        yield from itertools.islice(faulty, args.videos)
    else:
        yield from previews


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages."""
    args = parse_arguments(arguments)
    check_dataset(args.name)
    metadata = MetadataCatalog.get(args.name)
    palette = np.asarray(metadata.stuff_colors, np.uint8)
    previews = read_previews(DatasetCatalog.get(args.name), metadata, args)
    pages = 0
    while page := list(itertools.islice(previews, VIDEOS_PER_PAGE)):
        drawn = [draw_preview(preview, palette) for preview in page]
        with atomic_path(args.output / args.name / f"page_{pages:03}.png") as temporary:
            Image.fromarray(np.concatenate(drawn)).save(temporary)
        pages += 1
    print(f"{pages} pages in {args.output / args.name}")


if __name__ == "__main__":
    main()
