"""What each way of naming gains in time and costs in mIoU, on a data set with truth."""

import itertools
from collections.abc import Sequence

import torch

from ovavss_d2.config import first_data_set, load_config
from ovavss_d2.data.mapper import build_test_loader
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import Variant, build, build_variant
from tools.benchmark.timing import PeakMemory, Timing, timed

NAME, WITH = "MODEL.CLASSIFIER.NAME", "MODEL.CLASSIFIER.ENSEMBLE_WITH"
CROP_FRAMES = "MODEL.CLIP.CROP_FRAMES"
HALF = ("MODEL.CLIP.PRECISION", "half")
SIZE, COVER = "MODEL.CLIP.DENSE_SIZE", "MODEL.CLIP.DENSE_COVER"
RELEASED = ("TEST.SCORING", "released", "MODEL.CLASSIFIER.BACKGROUND_NAMES", "[]")

REFERENCE = "reference: every query"
VARIANTS = (
    Variant(REFERENCE, every_query=True),
    Variant("released scoring, crop", (*RELEASED, NAME, "crop")),
    Variant("ensemble (default)"),
    Variant("ensemble, 2 crops a query", (CROP_FRAMES, 2)),
    Variant("ensemble, 1 crop a query", (CROP_FRAMES, 1)),
    Variant("ensemble, half precision", HALF),
    Variant("crop", (NAME, "crop")),
    Variant("query", (NAME, "query")),
    Variant("dense", (NAME, "dense", SIZE, 160)),
    Variant("dense, uncovered", (NAME, "dense", SIZE, 160, COVER, False)),
    Variant("ensemble with dense", (WITH, "dense", SIZE, 160)),
    Variant("ensemble with dense, uncovered", (WITH, "dense", SIZE, 160, COVER, False)),
)


class Contestant:
    """A variant with what it has cost and found so far."""

    def __init__(self, variant: Variant, model: OVAVSS, dataset: str):
        self.variant, self.model = variant, model
        self.evaluator = AVSSEvaluator(dataset)
        self.timing, self.crops = Timing(), 0
        self._encode = model.classifier.clip.encode_images
        clip = model.classifier.clip
        clip.encode_images = self._count  # type: ignore[method-assign]  # of this model alone

    def _count(self, crops):
        self.crops += len(crops)
        return self._encode(crops)

    def run(self, batch: list[dict]) -> None:
        """Segment a video, timed, and compare it with the truth, not timed."""
        seconds, outputs = timed(lambda: self.model(batch))
        self.timing.seconds.append(seconds)
        self.evaluator.process(batch, outputs)


@torch.no_grad()
def compare(
    config_file: str,
    opts: Sequence,
    *,
    variants: Sequence[Variant] = VARIANTS,
    videos: int | None = None,
) -> list[dict]:
    """Run variants over the first test set, all of them on each video in turn.

    Args:
        config_file, opts: a trained model; random weights say nothing here.
        variants: the first one is what the speed-ups refer to.
        videos: stop after as many; None: all.

    Returns:
        A row a variant: `ms` a video, `speed` relative to the first one, `crops` that CLIP saw,
        `mIoU`, `base`, `novel`, and `cost` in points of mIoU against the default.
    """
    cfg = load_config(config_file, [str(x) for x in opts])
    model = build(config_file, opts)
    dataset = first_data_set(cfg, "TEST")
    contestants = [
        Contestant(v, build_variant(model, config_file, opts, v), dataset) for v in variants
    ]
    batches = build_test_loader(cfg, dataset)
    with PeakMemory() as memory:
        for number, batch in enumerate(itertools.islice(batches, videos)):
            if number == 0:
                for contestant in contestants:
                    contestant.model(batch)  # warm-up, names are embedded
                    contestant.crops = 0
            first = number % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                contestant.run(batch)
    return _rows(contestants, memory)


def _rows(contestants: list[Contestant], memory: PeakMemory) -> list[dict]:
    figures = []
    for contestant in contestants:
        results = contestant.evaluator.evaluate()
        assert results is not None  # there is but one process
        figures.append(results["avsbench_ov"])
    total = [sum(c.timing.seconds) for c in contestants]
    exact = figures[0]["mIoU"]
    return [
        {
            "variant": c.variant.name,
            "keys": " ".join(str(x) for x in c.variant.opts),
            "ms a video": 1e3 * seconds / len(c.timing.seconds),
            "speed": total[0] / seconds,
            "crops": c.crops,
            **{key: figure[key] for key in ("mIoU", "base", "novel")},
            "cost": exact - figure["mIoU"],
            "host MiB": memory.host,
            "GPU MiB": memory.gpu,
        }
        for c, figure, seconds in zip(contestants, figures, total, strict=True)
    ]
