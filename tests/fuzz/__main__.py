"""Run the fuzz tests for long, with other cases every time, or saved failures again.

Every distinct failure is made small and saved to a folder, which --replay runs again.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.case import Case
from tests.fuzz.kinds import KINDS
from tests.fuzz.sandbox import Outcome, Sandbox, write_files

SHRINK_SECONDS = 20.0
PROGRESS_SECONDS = 60.0


class FuzzRun:
    """Counts cases by kind and status, and keeps a small case of every distinct failure."""

    def __init__(self, sandbox: Sandbox, output: Path) -> None:
        self.sandbox, self.output = sandbox, output
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: set[tuple[str, ...]] = set()

    def explore(self, kind: str, number: int, until: float) -> None:
        """Run a batch of cases with a seed, and save at most one new failure."""
        found: list[tuple[Case, Outcome]] = []

        @seed(number)
        @settings(
            max_examples=120 // KINDS[kind].cost, deadline=None, database=None, print_blob=False,
            phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )  # fmt: skip
        @given(KINDS[kind].cases)
        def check(case: Case) -> None:
            nonlocal until
            if time.monotonic() > until:
                return
            outcome = self.sandbox.run(kind, case)
            self.counts[kind, outcome.status] += 1
            if not outcome.is_fault or (kind, *outcome.signature) in self.failures:
                return
            if not found:
                until = time.monotonic() + SHRINK_SECONDS * (outcome.status != "endless")
            elif found[-1][1].signature != outcome.signature:
                return
            found.append((case, outcome))
            raise RuntimeError("found")

        try:
            check()
        except BaseException as error:
            if not found or isinstance(error, KeyboardInterrupt):
                raise
        if found:
            self.save(kind, *found[-1])

    def save(self, kind: str, case: Case, outcome: Outcome) -> None:
        """Write a failure to a folder of its own."""
        self.failures.add((kind, *outcome.signature))
        words = " ".join([kind, *outcome.signature])
        folder = self.output / "".join(c if c.isalnum() else "_" for c in words)[:100]
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "files").mkdir(parents=True)
        write_files(case, folder / "files")
        facts = {"kind": kind, "arguments": case.arguments, "expected": case.expected}
        facts["outcome"] = vars(outcome)
        (folder / "failure.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(f"{words} -> {folder}", flush=True)

    def table(self) -> str:
        """Cases of every kind by status."""
        lines = [f"{'kind':<16}{'ok':>8}{'refused':>9}{'faults':>8}"]
        for kind in dict.fromkeys(kind for kind, _ in self.counts):
            ok, refused = self.counts[kind, "ok"], self.counts[kind, "refused"]
            faults = sum(n for (k, _), n in self.counts.items() if k == kind) - ok - refused
            lines.append(f"{kind:<16}{ok:>8}{refused:>9}{faults:>8}")
        total = sum(self.counts.values())
        return "\n".join([*lines, f"{total} cases, {len(self.failures)} distinct failures"])


def load(folder: Path) -> tuple[str, Case]:
    """Read the kind and the case of a saved failure."""
    facts = json.loads((folder / "failure.json").read_text())
    files: dict[str, bytes | None] = {}
    for path in sorted((folder / "files").rglob("*")):
        name = str(path.relative_to(folder / "files"))
        if path.is_dir():
            files[f"{name}/"] = b""
        else:
            files[name] = None if path.is_fifo() else path.read_bytes()
    return facts["kind"], Case(files, facts["arguments"], facts["expected"])


def replay(sandbox: Sandbox, folders: list[Path]) -> int:
    """Run saved failures again; the number of those that still fail."""
    outcomes = [sandbox.run(*load(folder)) for folder in folders]
    for folder, outcome in zip(folders, outcomes, strict=True):
        print(f"{folder}: {' '.join(outcome.signature)}\n{outcome.text}")
    return sum(outcome.is_fault for outcome in outcomes)


def main(arguments: list[str] | None = None) -> int:
    """Print failures, the number of cases every minute, and a table; 1 if there is a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--output", type=Path, default=Path("output/fuzz"), help="for failures")
    parser.add_argument("--replay", type=Path, nargs="+", help="folders of saved failures")
    args = parser.parse_args(arguments)
    end, progress = time.monotonic() + 60 * args.minutes, time.monotonic() + PROGRESS_SECONDS
    with Sandbox() as sandbox:
        if args.replay:
            return int(replay(sandbox, args.replay) > 0)
        run, number = FuzzRun(sandbox, args.output), args.seed
        while time.monotonic() < end:
            for kind in args.kinds:
                run.explore(kind, number, end)
                if time.monotonic() > progress:
                    print(f"{sum(run.counts.values())} cases so far", flush=True)
                    progress += PROGRESS_SECONDS
            number += 1
    print(f"seed {args.seed}\n{run.table()}")
    return int(bool(run.failures))


if __name__ == "__main__":
    sys.exit(main())
