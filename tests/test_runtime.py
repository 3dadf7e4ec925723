"""`import detectron2` works after `import ovavss_d2`, however a program starts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovavss_d2.standalone import activate
from tests.helpers.paths import REPOSITORY


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def test_detectron2_can_be_imported_without_a_warning_about_torchscript():
    done = run(
        "-c",
        "import ovavss_d2, detectron2\n"
        "from ovavss_d2.standalone import describe\n"
        "print(describe())",
    )
    assert "etectron2" in done.stdout
    assert "torch.jit.script" not in done.stderr  # fvcore uses it, users cannot change that


def test_an_installed_detectron2_is_used(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    before = list(sys.path)
    activate()
    assert sys.path == before


def test_without_it_the_standalone_runtime_is_last_on_the_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    activate()
    standalone = REPOSITORY / "ovavss_d2" / "standalone" / "detectron2"
    assert Path(sys.path[-1]) / "detectron2" == standalone


@pytest.mark.parametrize("script", ["train_net.py", "demo/demo.py"])
def test_scripts_start_with_their_imports_in_reverse_order(script, tmp_path):
    lines = (REPOSITORY / script).read_text().splitlines(keepends=True)
    imports = [
        i
        for i, line in enumerate(lines)
        if line.startswith(("import ", "from ")) and "(" not in line
    ]
    ordered = sorted((lines[i] for i in imports), reverse=True)
    for i, line in zip(imports, ordered, strict=True):
        lines[i] = line
    reordered = tmp_path / Path(script).name
    reordered.write_text("".join(lines))
    run(str(reordered), "--help")
