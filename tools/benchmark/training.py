"""Time of the parts of a training step."""

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from tqdm import tqdm

from ovavss_d2.config import load_config
from ovavss_d2.engine.optimizer import build_optimizer
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import Variant, discs, random_clip
from tools.benchmark.timing import PeakMemory, synchronize

logger = logging.getLogger(__name__)

OBJECTS = 2
PARTS = ("forward", "matching", "points", "losses", "backward", "optimizer")
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
COMPILER = "g++"  # used by torch.compile on a CPU


class Stopwatch:
    """Seconds by part; the time of a nested part is not counted for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._nested: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block for a part."""
        synchronize()
        start = time.perf_counter()
        self._nested.append(0.0)
        try:
            yield
        finally:
            synchronize()
            elapsed = time.perf_counter() - start
            self.seconds[name] += elapsed - self._nested.pop()
            if self._nested:
                self._nested[-1] += elapsed

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted for a part."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return counted


def training_clip(size: tuple[int, int], frames: int, seed: int) -> dict[str, Any]:
    """A clip of noise with two discs as objects, as the mapper returns it."""
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
) -> list[dict[str, Any]]:
    """Measure training steps with random weights on clips of noise.

    Args:
        config_file, opts: the model and its optimizer.
        size: (H, W) of the frames.
        clips: clips per step.
        repeats: timed steps, after two others.
        variants: config keys to compare.

    Returns:
        A row per variant: the parts and `step` in ms, `loss` of the first step, `host MiB`,
        `GPU MiB`.
    """
    rows = []
    bar = tqdm(variants, disable=None)  # compiling takes minutes
    for variant in bar:
        bar.set_description(variant.name)
        cfg = load_config(config_file, [str(x) for x in (*opts, *variant.opts)])
        if cfg.MODEL.COMPILE and not shutil.which(COMPILER):
            logger.warning("'%s' is skipped: %s is not installed", variant.name, COMPILER)
            continue
        torch.manual_seed(0)
        model = build_model(cfg).train()
        step = Step(model, build_optimizer(cfg, model), cfg.SOLVER.AMP.ENABLED)
        batch = [training_clip(size, cfg.INPUT.SAMPLING_FRAME_NUM, i) for i in range(clips)]
        with PeakMemory() as memory:
            steps = [step(batch) for _ in range(2 + repeats)]
        rows.append(
            {
                "variant": variant.name,
                **{part: 1e3 * median(s[part] for s, _ in steps[2:]) for part in PARTS},
                "step ms": 1e3 * median(sum(s.values()) for s, _ in steps[2:]),
                "loss": steps[0][1],
                "host MiB": memory.host,
                "GPU MiB": memory.gpu,
            }
        )
    return rows


class Step:
    """A training step that measures its parts."""

    def __init__(self, model: OVAVSS, optimizer: torch.optim.Optimizer, amp: bool) -> None:
        self.model, self.optimizer, self.amp = model, optimizer, amp
        self.watch = Stopwatch()
        criterion, wrap = model.criterion, self.watch.wrap
        matcher = criterion.matcher
        matcher.forward = wrap("matching", matcher.forward)  # type: ignore[method-assign]
        for method in ("match_points", "loss_points"):
            counted = wrap("points", getattr(criterion.sampler, method))
            setattr(criterion.sampler, method, counted)
        criterion.forward = wrap("losses", criterion.forward)  # type: ignore[method-assign]

    def __call__(self, batch: list[dict[str, Any]]) -> tuple[dict[str, float], float]:
        """Seconds by part, and the loss."""
        self.watch.seconds.clear()
        device = self.model.device.type
        half = torch.float16 if device == "cuda" else torch.bfloat16
        with self.watch.part("forward"), torch.autocast(device, half, enabled=self.amp):
            loss = sum(self.model(batch).values())
        with self.watch.part("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with self.watch.part("optimizer"):
            self.optimizer.step()
        return dict(self.watch.seconds), loss.item()
