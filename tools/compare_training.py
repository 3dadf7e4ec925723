#!/usr/bin/env python3
"""Compare the time of a training step between checkouts of this project, in one run.

    git worktree add ../before COMMIT
    python tools/compare_training.py ../before . --config-file configs/ovavss_R50.yaml

Each checkout runs its own code on the configuration of that name (a path inside the checkout, or an
absolute one) with random weights and clips of noise. Their processes live side by side and take
turns step by step, as a machine's speed may change within minutes: each needs memory. Losses can be
compared with --same-start and without dropout (MODEL.FUSION.DROPOUT 0.0).
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OBJECTS = 2
NO_FILES = ("MODEL.WEIGHTS", "", "MODEL.AUDIO.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "")


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="+", type=Path, help="folders with ovavss_d2 in them")
    parser.add_argument("--config-file", default="configs/ovavss_toy.yaml")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"))
    parser.add_argument("--clips", type=int, default=1, help="of five frames, in a step")
    parser.add_argument("--steps", type=int, default=1, help="timed in a turn")
    parser.add_argument("--turns", type=int, default=6, help="of each checkout, after a first step")
    parser.add_argument(
        "--same-start",
        action="store_true",
        help="all from the first checkout's start weights, with sampling places between cells",
    )
    parser.add_argument("--step-here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the checkouts in turn, and print a table."""
    args = parse_arguments(arguments)
    if args.step_here:
        take_turns(args)
        return
    for checkout in args.checkouts:
        if not (checkout / "ovavss_d2").is_dir():
            sys.exit(f"'{checkout}' holds no ovavss_d2: expected a checkout of this project")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as processes:
        start = ["--start", f"{folder}/start.pth"] if args.same_start else []
        command = ["--step-here", *start, *(arguments or sys.argv[1:])]
        found = [Checkout(path, command, processes) for path in args.checkouts]
        for _ in range(args.turns):
            for checkout in found:
                checkout.turns.append(in_checkout(checkout))
    print_table(found)


class Checkout:
    """A checkout, its process once it is started, and what its turns gave."""

    def __init__(self, path, command, processes):
        self.path, self.command, self.processes = path, command, processes
        self.process, self.turns = None, []

    def start(self):
        """Start a process that finds the checkout's code first."""
        paths = [str(self.path.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *self.command],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process = self.processes.enter_context(process)


def in_checkout(checkout):
    """One turn of a checkout."""
    if checkout.process is None:
        checkout.start()
    with contextlib.suppress(BrokenPipeError):
        checkout.process.stdin.write("\n")
        checkout.process.stdin.flush()
    answer = checkout.process.stdout.readline()
    if not answer:
        sys.exit(f"the step failed in '{checkout.path}', see above")
    return json.loads(answer)


def print_table(checkouts):
    """What the turns of each checkout gave, the first one's time as the measure."""
    print("| checkout | commit | ms a step | speed | first loss | last loss |")
    print("| :--- | :--- | ---: | ---: | ---: | ---: |")
    first = None
    for checkout in checkouts:
        turns = checkout.turns
        middle = statistics.median(ms for turn in turns for ms in turn["ms"])
        first = first or middle
        start, end = turns[0]["losses"][0], turns[-1]["losses"][-1]
        print(
            f"| {checkout.path} | {commit_of(checkout.path)} | {middle:,.0f} "
            f"| {first / middle:.2f} | {start:.5f} | {end:.5f} |"
        )


def commit_of(checkout):
    """A checkout's commit, or nothing where git has none."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def take_turns(args):
    """Answer each line that comes in by a turn's milliseconds and losses, after an untimed step."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed stays out of them
    step = training_step(args)
    losses = [step()[1]]
    for _ in sys.stdin:
        spent = []
        for _ in range(args.steps):
            ms, loss = step()
            spent.append(ms)
            losses.append(loss)
        print(json.dumps({"ms": spent, "losses": losses}), file=answers, flush=True)
        losses = []


def training_step(args):
    """A call that takes one step of training: its milliseconds and its loss."""
    import torch

    from ovavss_d2.config import load_config  # first: it brings detectron2
    from ovavss_d2.engine.optimizer import build_optimizer

    from detectron2.modeling import build_model  # isort: skip

    keep_memory_as_trained()
    cfg = load_config(args.config_file, [*NO_FILES, *args.opts])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    if args.start:
        start_from(args.start, model)
    optimizer = build_optimizer(cfg, model)
    frames = cfg.INPUT.SAMPLING_FRAME_NUM
    batch = [noise(tuple(args.size), frames, seed) for seed in range(args.clips)]

    def step():
        start = time.perf_counter()
        with mixed_precision(cfg):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()  # waits for a GPU
        return 1e3 * (time.perf_counter() - start), value

    return step


def keep_memory_as_trained():
    """What `train_net.py` does with the process's memory on a CPU, where the checkout does it."""
    import torch

    if importlib.util.find_spec("ovavss_d2.engine.memory") and not torch.cuda.is_available():
        importlib.import_module("ovavss_d2.engine.memory").keep_freed_memory()


def mixed_precision(cfg):
    """Autocast as the trainers do it, for `--opts SOLVER.AMP.ENABLED True`."""
    import torch

    kind = torch.float16 if cfg.MODEL.DEVICE == "cuda" else torch.bfloat16
    return torch.autocast(cfg.MODEL.DEVICE, kind, enabled=cfg.SOLVER.AMP.ENABLED)


def start_from(path, model):
    """Load the weights of the model that came first, or, being it, save them.

    A new model samples at the centres of cells, where the gradient of a place is another to its
    left than to its right, so that rounding decides which it is: these places are moved.
    """
    import torch

    if not path.exists():
        weights = model.state_dict()
        for name in weights:
            if name.endswith("sampling_offsets.bias"):
                weights[name] = weights[name] + 0.4  # of a cell
        torch.save(weights, path)
    model.load_state_dict(torch.load(path, weights_only=True))


def noise(size, frames, seed):
    """A clip of noise with two squares to find, in the mapper's form."""
    import torch
    from detectron2.structures import BitMasks, Instances

    generator = torch.Generator().manual_seed(seed)
    height, width = size
    masks = torch.zeros(OBJECTS, frames, height, width, dtype=torch.bool)
    for i in range(OBJECTS):
        masks[i, :, height // 4 : height // 2, i * width // 3 : i * width // 3 + width // 4] = True
    classes = torch.arange(OBJECTS)
    return {
        "image": torch.randint(0, 256, (frames, 3, *size), generator=generator).byte(),
        "audio": 0.1 * torch.randn(frames, 16000, generator=generator),
        "audio_valid": torch.ones(frames, dtype=torch.bool),
        "labeled": torch.ones(frames, dtype=torch.bool),
        "labelled": torch.ones(frames, dtype=torch.bool),  # its name up to 8656a83
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
