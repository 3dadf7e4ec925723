"""Kill programs at random moments, start them again, and compare with an undisturbed run.

    python -m tools.kill_test --cycles 60 [--jobs train demo ...] [--seed N]

In a cycle a job starts in an empty folder and is killed (SIGKILL or SIGTERM) after a random time,
once to three times in a row; then it runs to its end. Its files must have the same names and bytes
as those of an undisturbed run: nothing is lost, wrong or left over. Not compared are files that
contain times: logs, metrics and TensorBoard's events. Of videos, the times of frames and the audio
are compared, because x264 does not always write the same bytes for the same frames. The exit code
is 1 if a cycle failed.
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import av
import torch

from ovavss_d2 import segmenter
from ovavss_d2.modeling.embedding_cache import EmbeddingCache, fingerprint
from ovavss_d2.toy import videos
from tests.helpers.avsbench_tree import Tree, fill
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script
from tests.helpers.stub_model import write_config, write_video
from tests.helpers.tiny_world import CONFIG, make_world, tiny_options

WITH_TIMES = ("log.txt", "metrics.json", "events.out.")
SIGNALS = ("SIGKILL", "SIGTERM")
TERMINATION_SECONDS = 30.0  # until a program must have ended after SIGTERM


def make_inputs(world: Path, folder: Path) -> None:
    """Write what the jobs read: a toy world, a tree like AVSBench-semantic, and two videos."""
    make_world(world)
    fill(Tree(world / "AVSBench-semantic"))
    (world / "videos").mkdir()
    for name, loud in (("a", (1, 0, 1)), ("b", (0, 1))):
        write_video(world / "videos" / f"{name}.mp4", loud)
    write_config(world)


def train(world: Path, folder: Path) -> None:
    """Train a tiny model, resume if there is a checkpoint, and evaluate."""
    changes = {"SOLVER.MAX_ITER": 12, "SOLVER.CHECKPOINT_PERIOD": 2, "OUTPUT_DIR": folder}
    options = ["--resume", "--config-file", CONFIG, *tiny_options(world, **changes)]
    load_script("train_net.py").run(options)


def prepare_toy(world: Path, folder: Path) -> None:
    """Write the smallest toy world."""
    video = videos.VideoPlan(("red square", "blue star"), ((1, ("red square",)),))
    sizes = "--train 6 --val 1 --test 3 --size 36 48 --workers 1 --clip-steps 1 --start-steps 1"
    sizes += " --sound-steps 1"
    with (
        mock.patch.object(videos, "TOY_VIDEOS", {"a": video, "b": video}),
        mock.patch.object(videos, "TOY_VIDEO_SIZE", (48, 64)),
    ):
        load_script("datasets/prepare_toy.py").main(["--root", str(folder), *sizes.split()])


def prepare_avsbench(world: Path, folder: Path) -> None:
    """Write the lists of a small tree, which lies in the folder because they go beside it."""
    tree = folder / "AVSBench-semantic"
    if not tree.exists():
        tree.symlink_to(world / tree.name)
    load_script("datasets/prepare_avsbench_ov.py").main([str(tree), "--workers", "1"])


def demo(world: Path, folder: Path) -> None:
    """Paint two videos with a stub for the model."""
    inputs = sorted(str(path) for path in (world / "videos").iterdir())
    words = ["--config-file", str(world / "stub.yaml"), "--input", *inputs, "--fps", "4"]
    with (
        mock.patch.object(segmenter, "check_weight_files"),
        mock.patch.object(segmenter, "load_weights"),
    ):
        load_script("demo/demo.py").run([*words, "--output", str(folder)])


def cache(world: Path, folder: Path) -> None:
    """Fill the embedding cache."""
    embeddings = EmbeddingCache(folder)
    for i in range(300):
        vectors = torch.arange(i, i + 512.0).reshape(4, 128)
        items = [fingerprint({}, i, j) for j in range(4)]
        found = embeddings.lookup("model", items, 128, vectors.__getitem__)
        assert torch.equal(found, vectors), "another embedding"


Job = Callable[[Path, Path], None]
JOBS: dict[str, Job] = {
    "train": train, "prepare_toy": prepare_toy, "prepare_avsbench": prepare_avsbench,
    "demo": demo, "cache": cache,
}  # fmt: skip


def _run(job: Job, world: Path, folder: Path, log: Path) -> None:
    """In a process of its own group: run a job, with its output in a log."""
    os.setsid()
    os.chdir(REPOSITORY)
    os.environ["DETECTRON2_DATASETS"] = str(world)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    job(world, folder)


class KillTest:
    """Runs jobs undisturbed and killed; counts kills by job and signal, and lists failures."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.world, self.log, self.folder = root / "world", root / "log", root / "folder"
        self.rng = rng
        self.kills: Counter[tuple[str, str]] = Counter()
        self.failures: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, str]] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tools.kill_test"])
        self._start(make_inputs)

    def _start(self, job: Job, kill_after: float | None = None) -> str:
        """Run a job; the name of the signal that killed it, or "" if it came to its end.

        Raises:
            RuntimeError: it failed.
        """
        arguments = (job, self.world, self.folder, self.log)
        process = self._context.Process(target=_run, args=arguments)  # forked: all is imported
        process.start()
        process.join(kill_after)
        name = ""
        if process.is_alive() and process.pid is not None:
            name = self.rng.choice(SIGNALS)
            os.kill(process.pid, getattr(signal, name))
            process.join(TERMINATION_SECONDS)
            if process.is_alive():
                process.kill()
                raise RuntimeError(f"{name} does not end it")
        if process.exitcode and not name:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit code {process.exitcode}: {lines[-1:]}")
        return name

    def undisturbed(self, name: str) -> None:
        """Run a job twice to its end: its files must be reproducible."""
        found = []
        for _ in range(2):
            self._clear()
            start = time.monotonic()
            self._start(JOBS[name])
            self.seconds[name] = time.monotonic() - start
            found.append(digests(self.folder))
        self.expected[name] = found[1]
        self.failures[name] = [f"undisturbed: {text}" for text in differences(*found)]
        print(f"{name}: {self.seconds[name]:.1f} s undisturbed, {len(found[1])} files", flush=True)

    def cycle(self, name: str) -> None:
        """Kill a job once to three times, let it finish, and compare."""
        self._clear()
        try:
            for _ in range(self.rng.choice([1, 1, 2, 3])):
                seconds = self.rng.uniform(0.02, 1.0) * self.seconds[name]
                killed = self._start(JOBS[name], kill_after=seconds)
                self.kills[name, killed] += 1
            self._start(JOBS[name])
            self.failures[name] += differences(self.expected[name], digests(self.folder))[:3]
        except RuntimeError as error:
            self.failures[name].append(str(error))

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def table(self) -> str:
        """One line per job, then the failures."""
        lines = [f"{'job':<18}{'seconds':>8}" + "".join(f"{x:>9}" for x in (*SIGNALS, "failures"))]
        for name, failures in self.failures.items():
            counts = [*(self.kills[name, x] for x in SIGNALS), len(failures)]
            numbers = "".join(f"{count:>9}" for count in counts)
            lines.append(f"{name:<18}{self.seconds[name]:>8.1f}{numbers}")
        for name, failures in self.failures.items():
            lines += [f"{name}: {n} x {text}" for text, n in Counter(failures).most_common()]
        return "\n".join(lines)


def digests(folder: Path) -> dict[str, str]:
    """Digests of all files but those with times, by path below the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(WITH_TIMES)
    }


def _content(path: Path) -> bytes:
    if path.suffix != ".mp4":
        return path.read_bytes()
    with av.open(str(path)) as video:
        packets = [(p.stream.type, p.pts, p) for p in video.demux() if p.size]
    return repr([(kind, pts, kind == "audio" and bytes(p)) for kind, pts, p in packets]).encode()


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Files that are missing, left over, or different."""
    missing = [f"missing: {name}" for name in expected.keys() - found.keys()]
    extra = [f"left over: {name}" for name in found.keys() - expected.keys()]
    common = expected.keys() & found.keys()
    return sorted(missing + extra + [f"differs: {x}" for x in common if expected[x] != found[x]])


def main(arguments: list[str] | None = None) -> int:
    """Run the cycles of all jobs in turn, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=20, help="in all (20)")
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    os.environ.update(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS="1")  # of the processes
    with tempfile.TemporaryDirectory(prefix="ovavss_kill_test_") as root:
        test = KillTest(Path(root), random.Random(args.seed))
        for name in args.jobs:
            test.undisturbed(name)
        for i in range(args.cycles):
            name = args.jobs[i % len(args.jobs)]
            known = len(test.failures[name])
            test.cycle(name)
            kills = sum(n for (_, killed), n in test.kills.items() if killed)
            print(f"{i + 1}: {name}, {kills} kills {test.failures[name][known:]}", flush=True)
        print(test.table())
    return int(any(test.failures.values()))


if __name__ == "__main__":
    sys.exit(main())
