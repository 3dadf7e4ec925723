#!/usr/bin/env python3
"""Draw contact sheets of a data set: frames with their truth, over the spectrogram of their sound.

    python datasets/browse.py NAME [--output DIR] [--videos N] [--id VIDEO ...] [--faults]
    python datasets/browse.py NAME --config-file configs/ovavss_R50.yaml     # training clips

With --config-file it shows clips as the model is fed them in training: cropped, flipped, coloured,
each frame over the second that it hears. See datasets/README.md.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ovavss_d2.config import load_config
from ovavss_d2.data.catalog import DatasetCatalog, MetadataCatalog, check_dataset
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.data.preview import strip
from ovavss_d2.errors import one_line_errors
from ovavss_d2.evaluation.previews import glance_at_clip, glance_at_video
from ovavss_d2.files import atomic_path

PER_PAGE = 6


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a registered data set, such as toy_ov_train_base")
    parser.add_argument("--output", type=Path, default=Path("output/browse"), help="for the pages")
    parser.add_argument("--videos", type=int, default=24, help="how many, evenly spaced")
    parser.add_argument("--id", nargs="+", default=(), help="these videos instead")
    parser.add_argument("--faults", action="store_true", help="only videos that look wrong")
    parser.add_argument("--config-file", help="show training clips under this config")
    parser.add_argument("--seed", type=int, default=0, help="of the training clips")
    return parser.parse_args(arguments)


def choose(records, args):
    """The records to show."""
    if args.id:
        known = {record["video_id"]: record for record in records}
        missing = [video for video in args.id if video not in known]
        if missing:
            raise ValueError(f"no video '{missing[0]}' in '{args.name}'")
        return [known[video] for video in args.id]
    if args.faults:
        return records
    count = min(max(args.videos, 1), len(records))
    return [records[i * len(records) // count] for i in range(count)]


def glances(records, metadata, args):
    """What is shown, one by one."""
    if args.config_file:
        mapper = AVSClipMapper(load_config(args.config_file), is_train=True, records=records)
        np.random.seed(args.seed)
        yield from (glance_at_clip(mapper(record)) for record in choose(records, args))
        return
    shown = 0
    for record in choose(records, args):
        glance = glance_at_video(record, metadata)
        if glance.faults or not args.faults:
            shown += 1
            yield glance
        if args.faults and shown == args.videos:
            return


@one_line_errors()
def main(arguments=None):
    """Write the pages."""
    args = parse_arguments(arguments)
    check_dataset(args.name)
    metadata = MetadataCatalog.get(args.name)
    palette = np.asarray(metadata.stuff_colors, np.uint8)
    strips, pages = [], 0
    for glance in glances(DatasetCatalog.get(args.name), metadata, args):
        strips.append(strip(glance, palette))
        if len(strips) == PER_PAGE:
            write_page(args.output / args.name / f"page_{pages:03}.png", strips)
            strips, pages = [], pages + 1
    if strips:
        write_page(args.output / args.name / f"page_{pages:03}.png", strips)
        pages += 1
    print(f"{pages} pages in {args.output / args.name}")


def write_page(path, strips):
    """Put videos under each other and write the picture."""
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(strips)).save(temporary)


if __name__ == "__main__":
    main()
