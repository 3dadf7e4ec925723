#!/usr/bin/env python3
"""Compare the time of a training step, or of segmenting a clip, between checkouts of this project.

    git worktree add ../before COMMIT
    python tools/compare_checkouts.py ../before . --config-file configs/ovavss_R50.yaml
    python tools/compare_checkouts.py ../before . --config-file configs/ovavss_R50.yaml --inference

Each checkout runs its own code with random weights on clips of noise; a relative --config-file is a
path inside the checkout. The checkouts take turns in processes that stay alive, because the speed
of a machine can change within minutes: the memory must suffice for all of them. Losses are
comparable with --same-start and without dropout (--opts MODEL.FUSION.DROPOUT 0.0).
"""

import argparse
import contextlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

OBJECTS = 2
NO_FILES = ("MODEL.WEIGHTS", "", "MODEL.AUDIO.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="+", type=Path, help="folders that hold ovavss_d2")
    parser.add_argument("--config-file", default="configs/ovavss_toy.yaml")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"))
    parser.add_argument("--clips", type=int, default=1, help="clips per step")
    parser.add_argument("--steps", type=int, default=1, help="timed steps per turn")
    parser.add_argument("--turns", type=int, default=6, help="turns of each checkout")
    parser.add_argument("--inference", action="store_true", help="segment clips, do not train")
    parser.add_argument(
        "--same-start",
        action="store_true",
        help="start all from the first checkout's weights, with sampling points between cells",
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the checkouts in turn and print a table."""
    args = parse_arguments(arguments)
    if args.worker:
        serve_turns(args)
        return
    for path in args.checkouts:
        if not (path / "ovavss_d2").is_dir():
            sys.exit(f"error: '{path}' holds no ovavss_d2: expected a checkout of this project")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as processes:
        start = ["--start", f"{folder}/start.pth"] if args.same_start else []
        options = ["--worker", *start, *(arguments or sys.argv[1:])]
        checkouts = [Checkout(path, options, processes) for path in args.checkouts]
        for _ in range(args.turns):
            for checkout in checkouts:
                checkout.run_turn()
    print_table(checkouts)


class Checkout:
    """A checkout, its process, and the times and losses of its turns."""

    def __init__(self, path: Path, options: Sequence[str], processes: contextlib.ExitStack) -> None:
        self.path, self.options, self.processes = path, options, processes
        self.process: subprocess.Popen[str] | None = None
        self.milliseconds: list[float] = []
        self.losses: list[float] = []

    def run_turn(self) -> None:
        """Run one turn; the first one starts the process."""
        self.process = self.process or self._start()
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"error: a step failed in '{self.path}', see above")
        turn = json.loads(answer)
        self.milliseconds += turn["milliseconds"]
        self.losses += turn["losses"]

    def _start(self) -> subprocess.Popen[str]:
        # The checkout's code comes first on the path.
        paths = [str(self.path.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *self.options],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.processes.enter_context(process)


def print_table(checkouts: Sequence[Checkout]) -> None:
    """Print the median times and, relative to the first checkout, the speeds."""
    print("| checkout | commit | ms | speed | first loss | last loss |")
    print("| :--- | :--- | ---: | ---: | ---: | ---: |")
    reference = statistics.median(checkouts[0].milliseconds)
    for checkout in checkouts:
        median = statistics.median(checkout.milliseconds)
        losses = checkout.losses
        print(
            f"| {checkout.path} | {commit_of(checkout.path)} | {median:,.0f} "
            f"| {reference / median:.2f} | {losses[0]:.5f} | {losses[-1]:.5f} |"
        )


def commit_of(path: Path) -> str:
    """The commit of a checkout; empty if git knows none."""
    command = ["git", "-C", str(path), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def serve_turns(args: argparse.Namespace) -> None:
    """For each line on stdin, run the steps of a turn and print their times and losses as JSON."""
    answers, sys.stdout = sys.stdout, sys.stderr  # other output must not mix with the answers
    step = make_step(args)
    step()  # not timed
    for _ in sys.stdin:
        results = [step() for _ in range(args.steps)]
        milliseconds, losses = zip(*results, strict=True)
        turn = {"milliseconds": milliseconds, "losses": losses}
        print(json.dumps(turn), file=answers, flush=True)


def make_step(args: argparse.Namespace) -> Callable[[], tuple[float, float]]:
    """A call that trains one step or segments the clips: milliseconds, and the loss or 0."""
    import torch

    from ovavss_d2.config import load_config  # first: it makes `import detectron2` work

    from detectron2.modeling import build_model  # isort: skip

    if not torch.cuda.is_available():  # like train_net.py and demo.py
        import_first("ovavss_d2.engine.memory", "ovavss_d2.memory").keep_freed_memory()
    cfg = load_config(args.config_file, [*NO_FILES, *args.opts])
    torch.manual_seed(0)
    model = build_model(cfg).train(not args.inference)
    if args.start:
        load_start(args.start, model)
    optimizers = import_first("ovavss_d2.engine.optimizer", "ovavss_d2.solver")
    optimizer = optimizers.build_optimizer(cfg, model)
    frames = cfg.INPUT.SAMPLING_FRAME_NUM
    batch = [random_clip(tuple(args.size), frames, seed) for seed in range(args.clips)]
    half = torch.float16 if cfg.MODEL.DEVICE == "cuda" else torch.bfloat16

    def train() -> float:
        with torch.autocast(cfg.MODEL.DEVICE, half, enabled=cfg.SOLVER.AMP.ENABLED):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        if args.inference:
            with torch.no_grad():
                model(batch)
        loss = 0.0 if args.inference else train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start), loss

    return step


def import_first(*names: str) -> ModuleType:
    """The first of these modules that the checkout has; names changed after 8656a83."""
    for name in names[:-1]:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    return importlib.import_module(names[-1])


def load_start(path: Path, model: Any) -> None:
    """Load the start weights; the first checkout saves them.

    A new model samples at the centers of cells, where the left and right derivatives differ and
    rounding decides which one is used; therefore the sampling points are moved.
    """
    import torch

    if not path.exists():
        weights = model.state_dict()
        for name in weights:
            if name.endswith("sampling_offsets.bias"):
                weights[name] = weights[name] + 0.4  # of a cell
        torch.save(weights, path)
    weights = torch.load(path, weights_only=True)
    if "classifier.text_head.logit_scale" in model.state_dict():  # "query_head" up to 8656a83
        weights = {name.replace(".query_head.", ".text_head."): x for name, x in weights.items()}
    model.load_state_dict(weights)


def random_clip(size: tuple[int, int], frames: int, seed: int) -> dict[str, Any]:
    """A clip of noise with two square objects, as the mapper returns it."""
    import torch
    from detectron2.structures import BitMasks, Instances

    generator = torch.Generator().manual_seed(seed)
    height, width = size
    masks = torch.zeros(OBJECTS, frames, height, width, dtype=torch.bool)
    for i in range(OBJECTS):
        masks[i, :, height // 4 : height // 2, i * width // 3 : i * width // 3 + width // 4] = True
    classes = torch.arange(OBJECTS)
    every_frame = torch.ones(frames, dtype=torch.bool)
    return {
        "image": torch.randint(0, 256, (frames, 3, *size), generator=generator).byte(),
        "audio": 0.1 * torch.randn(frames, 16000, generator=generator),
        "audio_valid": every_frame,
        "labeled": every_frame,
        "labelled": every_frame,  # its name up to 8656a83
        "times": [float(t) for t in range(frames)],
        "instances": [
            Instances(size, gt_classes=classes, gt_ids=classes, gt_masks=BitMasks(masks[:, t]))
            for t in range(frames)
        ],
        "height": height,
        "width": width,
        "clip_seed": seed,
    }


if __name__ == "__main__":
    main()
