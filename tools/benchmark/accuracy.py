"""Time and mIoU of the classifiers and of faster settings, on a data set with ground truth."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ovavss_d2.config import first_data_set, load_config
from ovavss_d2.data.mapper import build_test_loader
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import Variant, build, build_variant
from tools.benchmark.timing import PeakMemory, timed

NAME, WITH = "MODEL.CLASSIFIER.NAME", "MODEL.CLASSIFIER.ENSEMBLE_WITH"
CROP_FRAMES = "MODEL.CLIP.CROP_FRAMES"
HALF = ("MODEL.CLIP.PRECISION", "half")
SIZE, COVER = "MODEL.CLIP.DENSE_SIZE", "MODEL.CLIP.DENSE_COVER"
RELEASED = ("TEST.SCORING", "released", "MODEL.CLASSIFIER.BACKGROUND_NAMES", "[]")

REFERENCE = "reference: every query"
VARIANTS = (
    Variant(REFERENCE, name_all=True),
    Variant("released scoring, crop", (*RELEASED, NAME, "crop")),
    Variant("ensemble (default)"),
    Variant("ensemble, 2 crops per query", (CROP_FRAMES, 2)),
    Variant("ensemble, 1 crop per query", (CROP_FRAMES, 1)),
    Variant("ensemble, half precision", HALF),
    Variant("crop", (NAME, "crop")),
    Variant("query", (NAME, "query")),
    Variant("dense", (NAME, "dense", SIZE, 160)),
    Variant("dense, uncovered", (NAME, "dense", SIZE, 160, COVER, False)),
    Variant("ensemble with dense", (WITH, "dense", SIZE, 160)),
    Variant("ensemble with dense, uncovered", (WITH, "dense", SIZE, 160, COVER, False)),
)


class VariantRun:
    """A variant with its evaluator, its time, and the number of crops that CLIP encoded."""

    def __init__(self, variant: Variant, model: OVAVSS, dataset: str) -> None:
        self.variant, self.model = variant, model
        self.evaluator = AVSSEvaluator(dataset)
        self.seconds = 0.0
        self.crops = 0
        clip = model.classifier.clip
        encode = clip.encode_images

        def encode_and_count(crops: Tensor) -> Tensor:
            self.crops += len(crops)
            return encode(crops)

        clip.encode_images = encode_and_count  # type: ignore[method-assign]

    def run(self, batch: list[dict[str, Any]]) -> None:
        """Segment a video, timed, and evaluate the result."""
        seconds, outputs = timed(lambda: self.model(batch))
        self.seconds += seconds
        self.evaluator.process(batch, outputs)

    def figures(self) -> dict[str, float]:
        """Results of the AVSBench-OV protocol."""
        results = self.evaluator.evaluate()
        assert results is not None  # there is one process
        return results["avsbench_ov"]


@torch.no_grad()
def compare(
    config_file: str,
    opts: Sequence,
    *,
    variants: Sequence[Variant] = VARIANTS,
    videos: int | None = None,
) -> list[dict[str, Any]]:
    """Run variants over the first test set, taking turns on each video.

    Args:
        config_file, opts: a trained model.
        variants: the first one is the reference.
        videos: number of test videos; None: all.

    Returns:
        A row per variant: `ms per video`, `speed` relative to the reference, number of `crops`
        encoded by CLIP, `mIoU`, `base`, `novel`, and `cost` in points of mIoU.
    """
    cfg = load_config(config_file, [str(x) for x in opts])
    model = build(config_file, opts)
    dataset = first_data_set(cfg, "TEST")
    runs = [VariantRun(v, build_variant(model, config_file, opts, v), dataset) for v in variants]
    count = 0
    with PeakMemory() as memory:
        for batch in itertools.islice(build_test_loader(cfg, dataset), videos):
            if count == 0:  # warm up, and embed the names
                for run in runs:
                    run.model(batch)
                    run.crops = 0
            first = count % len(runs)
            for run in runs[first:] + runs[:first]:
                run.run(batch)
            count += 1
    figures = [run.figures() for run in runs]
    return [
        {
            "variant": run.variant.name,
            "keys": " ".join(str(x) for x in run.variant.opts),
            "ms per video": 1e3 * run.seconds / count,
            "speed": runs[0].seconds / run.seconds,
            "crops": run.crops,
            **{key: figure[key] for key in ("mIoU", "base", "novel")},
            "cost": figures[0]["mIoU"] - figure["mIoU"],
            "host MiB": memory.host,
            "GPU MiB": memory.gpu,
        }
        for run, figure in zip(runs, figures, strict=True)
    ]
