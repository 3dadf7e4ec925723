#!/usr/bin/env python3
"""Install the project, then train, evaluate and demonstrate a small model on the toy world.

    python3 tools/quickstart.py

Requires Linux, Python 3.11 or later with venv, and about 8 GB of disk; no GPU. Outside of a virtual
environment it creates .venv in the repository and installs the project there. An interrupted run
resumes with the same command: finished steps are skipped, and training continues from its last
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = REPOSITORY / "configs" / "ovavss_toy.yaml"
COMBINED = REPOSITORY / "configs" / "combined_toy.yaml"  # with names from sound
IS_INSTALLED = "import importlib.metadata as m; m.version('ovavss_d2')"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", type=Path, default=REPOSITORY / "datasets", help="folder")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output", help="folder")
    parser.add_argument("--no-install", action="store_true", help="use this Python as it is")
    parser.add_argument(
        "--prepare", default="", metavar="OPTIONS", help="options of prepare_toy.py, in quotes"
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config"
    )
    return parser.parse_args(arguments)


def install() -> None:
    """Install the project; continue in .venv if this is not a virtual environment."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"error: this is Python {sys.version.split()[0]}, expected 3.11 or later")
    python = sys.executable
    if sys.prefix == sys.base_prefix:  # not a virtual environment
        python = str(REPOSITORY / ".venv" / "bin" / "python")
    if not is_installed(python):
        if python != sys.executable:
            run("Creating .venv", [sys.executable, "-m", "venv", str(REPOSITORY / ".venv")])
        run("Installing", [python, "-m", "pip", "install", "-e", str(REPOSITORY)])
    if python != sys.executable:
        os.execv(python, [python, *sys.argv])


def is_installed(python: str) -> bool:
    """Whether the project is installed for an interpreter, which may not exist."""
    command = [python, "-c", IS_INSTALLED]
    return os.path.exists(python) and subprocess.run(command, capture_output=True).returncode == 0


def run(title: str, command: list[str], datasets: Path | None = None) -> None:
    """Run a command in the repository; exit if it fails."""
    print(f"\n==> {title}\n    {shlex.join(command)}", flush=True)
    environment = dict(os.environ)
    if datasets:
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"DETECTRON2_DATASETS": str(datasets), "PYTHONPATH": os.pathsep.join(paths)}
    code = subprocess.run(command, cwd=REPOSITORY, env=environment).returncode
    if code:
        sys.exit(f"error: '{title}' failed with exit code {code}, see above; then run this again")


def run_steps(args: argparse.Namespace) -> None:
    """Run the steps that are not finished, and print the results."""
    datasets, output = args.datasets.resolve(), args.output.resolve()
    toy, trained, painted = datasets / "toy", output / "ovavss_toy", output / "demo"
    start, final = toy / "start" / "toy_start.pth", trained / "model_final.pth"
    results = trained / "inference" / "results.json"
    clip = ["MODEL.CLIP.ARCHITECTURE", toy / "clip" / "toy_clip.json"]
    clip += ["MODEL.CLIP.WEIGHTS", toy / "clip" / "toy_clip.pt"]
    options = [*map(str, clip), *args.opts, "OUTPUT_DIR", str(trained)]
    train = [sys.executable, "train_net.py", "--config-file", str(CONFIG)]
    sounds = toy / "audio_classifier" / "toy_audio_classifier.pth"
    if not sounds.exists():  # written last
        prepare = ["datasets/prepare_toy.py", "--root", str(datasets), *shlex.split(args.prepare)]
        run("1/4 Generating the toy world", [sys.executable, *prepare], datasets)
    if not final.exists():
        weights = ["MODEL.WEIGHTS", str(start)]
        run("2/4 Training", [*train, "--resume", *weights, *options], datasets)
    weights = ["MODEL.WEIGHTS", str(final)]
    if not results.exists():  # training ends with an evaluation
        run("3/4 Evaluating", [*train, "--eval-only", *options, *weights], datasets)
    videos = sorted((toy / "videos").glob("*.mp4"))
    remaining = [str(x) for x in videos if not (painted / f"{x.stem}.json").exists()]
    if remaining:
        demo = ["demo/demo.py", "--config-file", str(COMBINED), "--output", str(painted)]
        weights += ["MODEL.SILENT_LOCALIZER.WEIGHTS", str(start)]
        weights += ["MODEL.AUDIO_CLASSIFIER.WEIGHTS", str(sounds)]
        demo += ["--input", *remaining, "--opts", *options, *weights]
        run("4/4 Painting videos", [sys.executable, *demo], datasets)
    print_results(results, painted)


def print_results(results: Path, painted: Path) -> None:
    """Print the accuracy, and where the reports and pictures are."""
    content = json.loads(results.read_text(encoding="utf-8"))
    print(f"\nmIoU in percent, 95% interval over {content['videos']} test videos:")
    for key in ("base", "novel", "harmonic"):
        value, interval = content["avsbench_ov"][key], content["intervals"][key]
        if value is not None:
            print(f"  {key:9}{value:6.2f}  [{interval[0]:.2f}, {interval[1]:.2f}]")
    print(f"Reports and charts: {results.parent}")
    print(f"Painted videos (.mp4) and contact sheets (.jpg): {painted}")


def main(arguments: list[str] | None = None) -> None:
    """Install, then run the steps."""
    args = parse_arguments(arguments)
    try:
        if not args.no_install:
            install()
        run_steps(args)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again to resume\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
