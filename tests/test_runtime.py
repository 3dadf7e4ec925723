"""`import detectron2` works after `import ovavss_d2`, however a program starts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovavss_d2.standalone import activate
from tests.helpers.paths import REPOSITORY

ROOT = REPOSITORY
SCRIPTS = ["train_net.py", "demo/demo.py"]


def run(code_or_args, **kwargs):
    args = [
        sys.executable,
        *(["-c", code_or_args] if isinstance(code_or_args, str) else code_or_args),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(args, capture_output=True, text=True, cwd=ROOT, env=env, **kwargs)


def test_detectron2_imports_after_the_package():
    done = run(
        "import ovavss_d2, detectron2; from ovavss_d2.standalone import describe; print(describe())"
    )
    assert done.returncode == 0, done.stderr
    assert "etectron2" in done.stdout


def test_an_installed_detectron2_wins(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    before = list(sys.path)
    activate()
    assert sys.path == before


def test_without_it_the_standalone_runtime_comes_last(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    activate()
    assert Path(sys.path[-1]) / "detectron2" == ROOT / "ovavss_d2" / "standalone" / "detectron2"


def test_works_in_a_spawned_process(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(
        "import multiprocessing as mp\n"
        "import ovavss_d2\n"
        "from detectron2.config import get_cfg\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(get_cfg).VERSION)\n"
    )
    done = run([str(script)])
    assert done.stdout.strip() == "2", done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_scripts_start_whatever_the_order_of_their_imports(script, reverse, tmp_path):
    lines = (ROOT / script).read_text().splitlines(keepends=True)
    places = [
        i
        for i, line in enumerate(lines)
        if line.startswith(("import ", "from ")) and "(" not in line
    ]
    ordered = sorted((lines[i] for i in places), reverse=reverse)
    for i, line in zip(places, ordered, strict=True):
        lines[i] = line
    shuffled = tmp_path / Path(script).name
    shuffled.write_text("".join(lines))
    done = run([str(shuffled), "--help"])
    assert done.returncode == 0, done.stderr
