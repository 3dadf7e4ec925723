#!/usr/bin/env python3
"""Paint and name what sounds in videos, and keep their sound.

    python demo/demo.py --config-file configs/ovavss_toy.yaml --input VIDEO [VIDEO ...] --output DIR
    \\
        --vocabulary "red circle,blue square" --opts MODEL.WEIGHTS output/ovavss_toy/model_final.pth

For every input DIR gets `<name>.mp4`, at the input's own size and frame rate, and `<name>.json`:
for each segmented frame its time and the objects' names, scores and masks (COCO's RLE). Wrong input
ends in one line; OVAVSS_DEBUG=1 shows where it came from.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ovavss_d2.data.avsbench import encode_mask
from ovavss_d2.data.video import Video, VideoWriter, open_video
from ovavss_d2.errors import one_line_errors
from ovavss_d2.files import atomic_path, write_json
from ovavss_d2.segmenter import FrameResult, Segmenter
from ovavss_d2.visualization import Painter, nearest_overlays


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="a YAML of configs/")
    parser.add_argument("--input", required=True, nargs="+", help="videos")
    parser.add_argument("--output", required=True, help="folder for the painted videos")
    parser.add_argument(
        "--vocabulary",
        help="names to look for, separated by commas; a file of names; or 'avsbench' or 'toy' "
        "(default: the config's, or those of its test data set)",
    )
    parser.add_argument("--fps", type=float, default=1.0, help="frames a second to segment (1)")
    parser.add_argument("--threshold", type=float, help="paint what scores above it, 0 to 1")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser.parse_args(arguments)


def open_inputs(paths: list[str], output: Path) -> list[tuple[Video, Path]]:
    """Open every video before any work is done; each with its output path, without a suffix."""
    stems = [Path(path).stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"several inputs would be written as '{twice[0]}.mp4'; rename one of them")
    videos = [open_video(path) for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        if os.path.abspath(path) == os.path.abspath(output / f"{stem}.mp4"):
            raise ValueError(f"'{path}' would be overwritten; choose another --output")
    return [(video, output / stem) for video, stem in zip(videos, stems, strict=True)]


def write_painted(segmenter: Segmenter, video: Video, target: Path, fps: float) -> None:
    """Write `<target>.mp4` and `<target>.json`, both or none."""
    described: list[dict] = []
    names = segmenter.names
    results = _described(segmenter(video, fps=fps), described)
    with (
        atomic_path(target.with_name(f"{target.name}.json")) as json_file,
        VideoWriter(f"{target}.mp4", rate=video.rate, sound_of=video) as writer,
    ):
        painted = nearest_overlays(results, video.frames(), Painter(names))
        total = round(video.duration * video.rate) or None
        for time, image, overlay in tqdm(painted, target.name, total, unit="frame"):
            writer.write(overlay.on(image), time)
        content = {"video": video.path, "vocabulary": list(names), "fps": fps, "frames": described}
        write_json(json_file, content, indent=None)


def _described(results: Iterator[FrameResult], described: list[dict]) -> Iterator[FrameResult]:
    """Pass results on, and note what the JSON says about them."""
    for result in results:
        segments = [
            {"name": s.name, "score": round(s.score, 4), "mask": encode_mask(s.mask)}
            for s in result.segments
        ]
        described.append({"time": round(result.time, 4), "segments": segments})
        yield result


@one_line_errors()
def run(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parse_arguments(arguments)
    inputs = open_inputs(args.input, Path(args.output))
    segmenter = Segmenter.from_config_file(
        args.config_file, vocabulary=args.vocabulary, threshold=args.threshold, opts=args.opts
    )
    Path(args.output).mkdir(parents=True, exist_ok=True)
    for video, target in inputs:
        write_painted(segmenter, video, target, args.fps)


if __name__ == "__main__":
    run()
