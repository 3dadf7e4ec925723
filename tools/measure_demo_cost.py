#!/usr/bin/env python3
"""Measure what the demo costs: time and peak memory of a minute and of an hour of toy video.

    python tools/measure_demo_cost.py --weights output/ovavss_toy/model_final.pth

Prints one line a video; docs/DEMO.md quotes them.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from ovavss_d2.media.audio_stream import open_sound
from ovavss_d2.media.video import Video, VideoWriter
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.toy.audio import draw_soundtrack
from ovavss_d2.toy.dataset import write_wav
from ovavss_d2.toy.scene import draw_scene, render

SIZE = (96, 128)


def write_minute(path: Path, rate: int) -> None:
    """A toy video of a minute, with sound."""
    rng = np.random.default_rng(rate)
    scene = draw_scene(rng, [1, 12, 23], SIZE, 30)
    frames, _ = render(scene, np.arange(60 * rate) / rate)
    heard = [((), (1,), (12, 23))[second // 5 % 3] for second in range(60)]
    wav = path.with_suffix(".wav")
    write_wav(wav, draw_soundtrack(rng, heard))
    source = Video(str(path), *SIZE, rate, 60, 0.0, True, other_sound=open_sound(wav))
    with VideoWriter(path, rate=rate, sound_of=source) as writer:
        for image in frames:
            writer.write(image)


def repeat(path: Path, target: Path, times: int, seconds: float) -> None:
    """Write a video again and again behind itself, its packets as they are."""
    with av.open(str(target), "w") as output:
        with av.open(str(path)) as source:
            streams = {x.index: output.add_stream_from_template(x) for x in source.streams}
        for i in range(times):
            with av.open(str(path)) as source:
                for packet in source.demux():
                    if packet.dts is None or not 0 <= packet.pts * packet.time_base < seconds:
                        continue
                    shift = round(i * seconds / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    output.mux(packet)


def measure_files() -> None:
    """Time and peak memory of `Segmenter.write`, each video in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        minutes = [Path(folder) / f"minute_{rate}_fps.mp4" for rate in (12, 1)]
        for path, rate in zip(minutes, (12, 1), strict=True):
            write_minute(path, rate)
        hour = Path(folder) / "hour_1_fps.mp4"
        repeat(minutes[1], hour, 60, 60.0)
        for path in (*minutes, hour):
            subprocess.run([sys.executable, __file__, "--file", path, *sys.argv[1:]], check=True)


def measure_file(segmenter: Segmenter, path: str) -> None:
    """Write one video's results and say what it took."""
    list(segmenter(np.zeros((5, *SIZE, 3), np.uint8)))  # the first pass takes longer
    start = time.perf_counter()
    segmenter.write(path, Path(path).with_suffix(""))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{Path(path).stem}: {seconds:.1f} s, peak memory {peak:.0f} MB")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="configs/ovavss_toy.yaml")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--file", help="only write this video's results")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    if args.file is None:
        measure_files()
        return
    segmenter = Segmenter.from_config_file(args.config_file, weights=args.weights, opts=args.opts)
    measure_file(segmenter, args.file)


if __name__ == "__main__":
    main()
