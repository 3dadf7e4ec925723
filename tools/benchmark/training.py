"""Where the time of a training step goes.

Shapes: B clips, T frames, N objects, H W pixels.
"""

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import contextmanager
from statistics import median

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from tqdm import tqdm

from ovavss_d2.config import load_config
from ovavss_d2.engine.optimizer import build_optimizer
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import Variant, discs, random_clip
from tools.benchmark.timing import PeakMemory, synchronise

logger = logging.getLogger(__name__)

OBJECTS = 2
PARTS = ("forward", "matching", "points", "losses", "backward", "optimiser")
VARIANTS = (
    Variant("as configured"),
    Variant("checkpointing", ("MODEL.CHECKPOINTING", True)),
    Variant("16 bits (AMP)", ("SOLVER.AMP.ENABLED", True)),
    Variant("plain PyTorch", ("MODEL.ACCELERATE", False)),
    Variant("compiled", ("MODEL.COMPILE", True)),
    Variant(
        "all together",
        ("MODEL.CHECKPOINTING", True, "SOLVER.AMP.ENABLED", True, "MODEL.COMPILE", True),
    ),
)
COMPILER = "g++"  # torch.compile's, on a CPU


class Stopwatch:
    """Seconds by part; a part inside another one is not counted twice."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self._inside = []

    @contextmanager
    def part(self, name: str):
        """Count the block for a part."""
        synchronise()
        start, inner = time.perf_counter(), 0.0
        self._inside.append(inner)
        try:
            yield
        finally:
            synchronise()
            elapsed = time.perf_counter() - start
            self.seconds[name] += elapsed - self._inside.pop()
            if self._inside:
                self._inside[-1] += elapsed

    def around(self, name: str, function):
        """The function, counted for a part."""

        def counted(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return counted


def training_clip(size: tuple[int, int], frames: int, seed: int) -> dict:
    """A clip of noise with two discs to find, in the mapper's form."""
    masks = discs(OBJECTS, frames, size, seed) > 0
    classes = torch.arange(OBJECTS)
    instances = [
        Instances(size, gt_classes=classes, gt_ids=classes, gt_masks=BitMasks(masks[:, t]))
        for t in range(frames)
    ]
    labeled = torch.ones(frames, dtype=torch.bool)
    return {**random_clip(size, frames, seed), "labeled": labeled, "instances": instances}


def training(
    config_file: str,
    opts: Sequence,
    *,
    size: tuple[int, int],
    clips: int,
    repeats: int,
    variants: Sequence[Variant] = VARIANTS,
) -> list[dict]:
    """Milliseconds of each part of a step, random weights, clips of noise in memory.

    Args:
        config_file, opts: the model and its recipe.
        size: (H, W) of the frames.
        clips: B.
        repeats: timed steps; two come before them.
        variants: keys to try.

    Returns:
        A row a variant: the parts and `step` in ms, `loss` of the first step, `host MiB`.
    """
    rows = []
    bar = tqdm(variants, disable=None)  # compiling takes minutes
    for variant in bar:
        bar.set_description(variant.name)
        cfg = load_config(config_file, [str(x) for x in (*opts, *variant.opts)])
        if cfg.MODEL.COMPILE and not shutil.which(COMPILER):
            logger.warning("'%s' is left out: there is no %s", variant.name, COMPILER)
            continue
        torch.manual_seed(0)
        model = build_model(cfg).train()
        optimizer = build_optimizer(cfg, model)
        batch = [training_clip(size, cfg.INPUT.SAMPLING_FRAME_NUM, i) for i in range(clips)]
        step = Step(model, optimizer, cfg.SOLVER.AMP.ENABLED)
        with PeakMemory() as memory:
            steps = [step(batch) for _ in range(2 + repeats)]
        seconds = {part: median(s[part] for s, _ in steps[2:]) for part in PARTS}
        total = median(sum(s.values()) for s, _ in steps[2:])
        rows.append(
            {
                "variant": variant.name,
                **{part: 1e3 * value for part, value in seconds.items()},
                "step ms": 1e3 * total,
                "loss": steps[0][1],
                "host MiB": memory.host,
                "GPU MiB": memory.gpu,
            }
        )
        logger.info("%s: %.0f ms a step", variant.name, 1e3 * total)
    return rows


class Step:
    """One training step, timed part by part."""

    def __init__(self, model: OVAVSS, optimizer: torch.optim.Optimizer, amp: bool):
        self.model, self.optimizer, self.amp = model, optimizer, amp
        self.watch = Stopwatch()
        criterion, around = model.criterion, self.watch.around
        matcher = criterion.matcher
        matcher.forward = around("matching", matcher.forward)  # type: ignore[method-assign]
        for method in ("match_points", "loss_points"):
            counted = around("points", getattr(criterion.sampler, method))
            setattr(criterion.sampler, method, counted)
        counted = around("losses", criterion.forward)
        criterion.forward = counted  # type: ignore[method-assign]  # of this model alone

    def __call__(self, batch: list[dict]) -> tuple[dict[str, float], float]:
        """Seconds by part, and the loss."""
        self.watch.seconds.clear()
        device = self.model.device.type
        half = torch.float16 if device == "cuda" else torch.bfloat16
        with self.watch.part("forward"), torch.autocast(device, half, enabled=self.amp):
            loss = sum(self.model(batch).values())
        with self.watch.part("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with self.watch.part("optimiser"):
            self.optimizer.step()
        return dict(self.watch.seconds), loss.item()
