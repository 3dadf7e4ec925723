#!/usr/bin/env python3
"""Compare the time of a training step between checkouts of this project, in one run.

    git worktree add ../before COMMIT
    python tools/compare_training.py ../before . --config-file configs/ovavss_R50.yaml

Each checkout runs its own code on the configuration of that name (a path inside the checkout, or an
absolute one) with random weights and clips of noise; they take turns, each time in a new process.
Their losses can be compared with --same-start and without dropout (MODEL.FUSION.DROPOUT 0.0).
"""

import argparse
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
    parser.add_argument("--steps", type=int, default=3, help="timed in a turn, after a first one")
    parser.add_argument("--turns", type=int, default=2, help="of each checkout")
    parser.add_argument(
        "--same-start", action="store_true", help="all from the first checkout's start weights"
    )
    parser.add_argument("--step-here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the checkouts in turn, and print a table."""
    args = parse_arguments(arguments)
    if args.step_here:
        print(json.dumps(time_steps(args)))
        return
    for checkout in args.checkouts:
        if not (checkout / "ovavss_d2").is_dir():
            sys.exit(f"'{checkout}' holds no ovavss_d2: expected a checkout of this project")
    found = [(checkout, []) for checkout in args.checkouts]
    with tempfile.TemporaryDirectory() as folder:
        start = ["--start", f"{folder}/start.pth"] if args.same_start else []
        for _ in range(args.turns):
            for checkout, turns in found:
                turns.append(
                    in_checkout(checkout.resolve(), [*start, *(arguments or sys.argv[1:])])
                )
    print_table(found)


def print_table(found):
    """What the turns of each checkout gave, the first one's time as the measure."""
    print("| checkout | commit | ms a step | speed | first loss | last loss |")
    print("| :--- | :--- | ---: | ---: | ---: | ---: |")
    first = None
    for checkout, turns in found:
        middle = statistics.median(ms for turn in turns for ms in turn["ms"])
        first = first or middle
        losses = turns[0]["losses"]
        print(
            f"| {checkout} | {commit_of(checkout)} | {middle:,.0f} | {first / middle:.2f} "
            f"| {losses[0]:.5f} | {losses[-1]:.5f} |"
        )


def in_checkout(checkout, arguments):
    """One turn of a checkout, in a process that finds its code first."""
    command = [sys.executable, str(Path(__file__).resolve()), "--step-here", *arguments]
    paths = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the step failed in '{checkout}', see above")
    return json.loads(done.stdout.splitlines()[-1])


def commit_of(checkout):
    """A checkout's commit, or nothing where git has none."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def time_steps(args):
    """Milliseconds of each step but the first, and the loss of each."""
    import torch

    from ovavss_d2.config import load_config  # first: it brings detectron2
    from ovavss_d2.solver import build_optimizer

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
    losses, spent = [], []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        with mixed_precision(cfg):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        spent.append(1e3 * (time.perf_counter() - start))
    return {"ms": spent[1:], "losses": losses}


def keep_memory_as_trained():
    """What `train_net.py` does with the process's memory on a CPU, where the checkout does it."""
    import torch

    if importlib.util.find_spec("ovavss_d2.memory") and not torch.cuda.is_available():
        importlib.import_module("ovavss_d2.memory").keep_freed_memory()


def mixed_precision(cfg):
    """Autocast as the trainers do it, for `--opts SOLVER.AMP.ENABLED True`."""
    import torch

    kind = torch.float16 if cfg.MODEL.DEVICE == "cuda" else torch.bfloat16
    return torch.autocast(cfg.MODEL.DEVICE, kind, enabled=cfg.SOLVER.AMP.ENABLED)


def start_from(path, model):
    """Load the weights of the model that came first, or, being it, keep them."""
    import torch

    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        torch.save(model.state_dict(), path)


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
        "labelled": torch.ones(frames, dtype=torch.bool),
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
