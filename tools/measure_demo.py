#!/usr/bin/env python3
"""Measure the demo on toy videos: mIoU of mask propagation, time and peak memory.

    python tools/measure_demo.py --weights output/ovavss_toy/model_final.pth

docs/DEMO.md quotes the figures.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
from scipy.io import wavfile

from ovavss_d2.inference.mask_propagation import MaskPropagator, assign_results
from ovavss_d2.media.audio import AudioTrack
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.toy.audio import draw_audio
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_NAMES

SIZE = (96, 128)
FRAME_RATE = 12
CLIP_SECONDS = 20


def draw_clip(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw L frames, uint8 (L, H, W, 3), audio (S,) at 16 kHz, and true ids (L, H, W)."""
    rng = np.random.default_rng([seed, 7])
    ids = rng.choice(np.arange(1, len(TOY_NAMES) + 1), int(rng.integers(2, 5)), replace=False)
    scene = draw_scene(TOY, rng, ids.tolist(), SIZE, CLIP_SECONDS)
    frames, labels = render(scene, np.arange(CLIP_SECONDS * FRAME_RATE) / FRAME_RATE)
    sounding: list[tuple[int, ...]] = []  # second by second
    while len(sounding) < CLIP_SECONDS:
        chosen = rng.choice(ids, int(rng.integers(0, 3)), replace=False)
        sounding += [tuple(chosen.tolist())] * int(rng.integers(4, 12))
    sounding = sounding[:CLIP_SECONDS]
    truth = [np.where(np.isin(x, sounding[i // FRAME_RATE]), x, 0) for i, x in enumerate(labels)]
    return frames, draw_audio(rng, sounding), np.stack(truth)


def mean_iou(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean IoU over classes of (predicted, true) label maps."""
    count = len(TOY_NAMES) + 1
    intersection, total = np.zeros(count), np.zeros(count)
    for predicted, true in pairs:
        intersection += np.bincount(predicted[predicted == true], minlength=count)
        total += sum(np.bincount(ids.ravel(), minlength=count) for ids in (predicted, true))
    union = total - intersection
    return float((intersection / np.maximum(union, 1))[1:][union[1:] > 0].mean())


def measure_propagation(segmenter: Segmenter, clips: int) -> None:
    """Print the mIoU on segmented frames (one per second) and on the frames between them."""
    pairs: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    for seed in range(clips):
        frames, audio, truth = draw_clip(100 + seed)
        results = segmenter(frames[::FRAME_RATE], audio=audio, sample_rate=SAMPLE_RATE)
        propagation = MaskPropagator()
        timed = ((i / FRAME_RATE, frame) for i, frame in enumerate(frames))
        for i, (_, image, new_results) in enumerate(assign_results(timed, results)):
            for result in new_results:
                propagation.start(result.image, result.label_map)
            if image is not None:
                found = propagation.propagate(image).astype(np.int64)
                pairs[i % FRAME_RATE == 0].append((found, truth[i]))
    segmented, between = mean_iou(pairs[True]), mean_iou(pairs[False])
    print(f"mIoU on segmented frames {segmented:.3f}, between them {between:.3f}")


def write_minute(path: Path, rate: int) -> Path:
    """Write a toy video of one minute, with audio."""
    rng = np.random.default_rng(rate)
    frames, _ = render(draw_scene(TOY, rng, [1, 12, 23], SIZE, 30), np.arange(60 * rate) / rate)
    schedule: list[tuple[int, ...]] = [(), (1,), (12, 23)]
    sounding = [schedule[second // 5 % 3] for second in range(60)]
    wav = path.with_suffix(".wav")
    wavfile.write(wav, SAMPLE_RATE, draw_audio(rng, sounding))
    with VideoWriter(path, rate=rate, audio_track=AudioTrack(str(wav))) as writer:
        for image in frames:
            writer.write(image)
    return path


def write_hour(minute: Path, path: Path) -> Path:
    """Write a video of one hour that repeats the packets of a minute."""
    with av.open(f"file:{path}", "w") as output:
        with av.open(f"file:{minute}") as source:
            streams = {x.index: output.add_stream_from_template(x) for x in source.streams}
        for i in range(60):
            with av.open(f"file:{minute}") as source:
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    if not 0 <= packet.pts * packet.time_base < 60:
                        continue
                    shift = round(i * 60 / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    output.mux(packet)
    return path


def measure_cost(segmenter: Segmenter, path: Path) -> None:
    """Print the time and this process's peak memory of writing all results of a video."""
    list(segmenter(np.zeros((5, *SIZE, 3), np.uint8)))  # the first pass takes longer
    start = time.perf_counter()
    segmenter.write(path, path.with_suffix(""))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{path.stem}: {seconds:.1f} s, peak memory {peak:.0f} MB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all measurements, each video's cost in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="configs/ovavss_toy.yaml")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--clips", type=int, default=6, help="for mask propagation (6)")
    parser.add_argument("--cost-of", type=Path, help="only measure the cost of this video")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args(arguments)

    def build_segmenter() -> Segmenter:
        return Segmenter.from_config_file(args.config_file, weights=args.weights, opts=args.opts)

    if args.cost_of:
        measure_cost(build_segmenter(), args.cost_of)
        return
    command = [sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments)]
    with tempfile.TemporaryDirectory() as folder:
        videos = [write_minute(Path(folder, f"minute_{rate}_fps.mp4"), rate) for rate in (12, 1)]
        videos.append(write_hour(videos[1], Path(folder, "hour_1_fps.mp4")))
        for path in videos:  # while this process is small: on Linux, peak memory is inherited
            subprocess.run([*command[:2], "--cost-of", str(path), *command[2:]], check=True)
    measure_propagation(build_segmenter(), args.clips)


if __name__ == "__main__":
    main()
