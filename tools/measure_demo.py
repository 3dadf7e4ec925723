#!/usr/bin/env python3
"""Measure the demo on toy videos with known truth: mIoU on segmented frames and between them.

    python tools/measure_demo.py --weights output/ovavss_toy/model_final.pth

docs/DEMO.md quotes the figures.
"""

import argparse

import numpy as np

from ovavss_d2.inference.mask_propagation import Follower, hold_results
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.toy.audio import draw_soundtrack
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.vocabulary import TOY_NAMES

SIZE = (96, 128)


def make_scene(seed: int, seconds: int, rate: int):
    """Frames (L, H, W, 3), sound, the names heard in each second, and the truth (L, H, W)."""
    rng = np.random.default_rng([seed, 7])
    count = int(rng.integers(2, 5))
    ids = [int(i) for i in rng.choice(np.arange(1, len(TOY_NAMES) + 1), count, replace=False)]
    scene = draw_scene(rng, ids, SIZE, min(seconds, 30))
    frames, labels = render(scene, np.arange(seconds * rate) / rate)
    heard: list[tuple[int, ...]] = []
    while len(heard) < seconds:
        chosen = tuple(int(i) for i in rng.choice(ids, int(rng.integers(0, 3)), replace=False))
        heard += [chosen] * int(rng.integers(4, 12))
    heard = heard[:seconds]
    truth = [np.where(np.isin(x, heard[i // rate]), x, 0) for i, x in enumerate(labels)]
    return frames, draw_soundtrack(rng, heard), heard, np.stack(truth)


def mean_iou(pairs) -> float:
    """Mean over classes, of (prediction, truth) label maps."""
    both, either = np.zeros(len(TOY_NAMES) + 1), np.zeros(len(TOY_NAMES) + 1)
    for prediction, truth in pairs:
        joint = np.bincount(prediction[prediction == truth], minlength=len(both))
        sizes = [np.bincount(x.ravel(), minlength=len(both)) for x in (prediction, truth)]
        both, either = both + joint, either + sum(sizes) - joint
    return float((both / np.maximum(either, 1))[1:][either[1:] > 0].mean())


def measure_following(segmenter: Segmenter, videos: int, rate: int = 12) -> None:
    """mIoU on the segmented frames (1 a second), and on the frames between them."""
    on, between = [], []
    for seed in range(videos):
        frames, sound, _, truth = make_scene(100 + seed, 20, rate)
        results = segmenter(frames[::rate], audio=sound, sample_rate=16000)
        follower = Follower()
        timed = ((i / rate, frame) for i, frame in enumerate(frames))
        for i, (_, image, fresh) in enumerate(hold_results(timed, results)):
            for result in fresh:
                follower.start(result.image, result.label_map)
            found = follower.carry(image).astype(np.int64)
            (between if i % rate else on).append((found, truth[i]))
    figures = mean_iou(on), mean_iou(between)
    print("mIoU on segmented frames {:.3f}, between them {:.3f}".format(*figures), end=" ")
    print(f"(ratio {figures[1] / figures[0]:.3f})")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="configs/ovavss_toy.yaml")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    segmenter = Segmenter.from_config_file(args.config_file, weights=args.weights, opts=args.opts)
    measure_following(segmenter, args.videos)


if __name__ == "__main__":
    main()
