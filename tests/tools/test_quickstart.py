"""The quick start installs when needed, runs each step once, and resumes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ovavss_d2.files import write_json
from tests.helpers.scripts import load_script

FIGURES = {"base": 60.0, "novel": None, "harmonic": None}
RESULTS = {"videos": 3, "avsbench_ov": FIGURES, "intervals": {key: [59, 61] for key in FIGURES}}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    """The script, with stand-ins for the programs that it runs; `main` returns their names."""
    script = load_script("tools/quickstart.py")
    toy, output = tmp_path / "toy", tmp_path / "output"

    def run(command, **kwargs):
        name = "--eval-only" if "--eval-only" in command else Path(command[1]).stem
        script.started.append(name)
        if name == script.interrupted:
            raise KeyboardInterrupt
        if name == "prepare_toy":
            touch(toy / "audio_classifier/toy_audio_classifier.pth")
            touch(toy / "videos/a.mp4", toy / "videos/b.mp4")
        if name == "train_net":
            assert "--resume" in command
            touch(output / "ovavss_toy/model_final.pth")
        if name in ("train_net", "--eval-only"):
            write_json(output / "ovavss_toy/inference/results.json", RESULTS)
        if name == "demo":
            script.painted = [Path(x).stem for x in command if x.endswith(".mp4")]
            touch(*(output / "demo" / f"{stem}.json" for stem in script.painted))
        return SimpleNamespace(returncode=script.code)

    def main():
        script.started = []
        script.main(["--no-install", "--datasets", str(tmp_path), "--output", str(output)])
        return script.started

    script.interrupted, script.code, script.run_all = None, 0, main
    monkeypatch.setattr(script.subprocess, "run", run)
    return script


def test_each_step_runs_once_and_the_results_are_printed(quickstart, capsys):
    assert quickstart.run_all() == ["prepare_toy", "train_net", "demo"]
    assert quickstart.run_all() == []
    printed = capsys.readouterr().out
    assert printed.count("base      60.00  [59.00, 61.00]") == 2 and "novel" not in printed


@pytest.mark.parametrize("step", ["prepare_toy", "train_net", "demo"])
def test_an_interrupted_run_resumes_with_the_interrupted_step(quickstart, capsys, step):
    quickstart.interrupted = step
    with pytest.raises(SystemExit) as stop:
        quickstart.run_all()
    assert stop.value.code == 130 and "to resume" in capsys.readouterr().err
    quickstart.interrupted = None
    assert quickstart.run_all()[0] == step


def test_an_interrupted_evaluation_is_repeated_and_remaining_videos_are_painted(
    quickstart, tmp_path
):
    touch(tmp_path / "output/demo/a.json", tmp_path / "output/ovavss_toy/model_final.pth")
    assert quickstart.run_all() == ["prepare_toy", "--eval-only", "demo"]
    assert quickstart.painted == ["b"]


def test_a_failed_step_is_named(quickstart):
    quickstart.code = 3
    with pytest.raises(SystemExit, match="'1/4 Generating the toy world' failed with exit code 3"):
        quickstart.run_all()


@pytest.mark.parametrize("in_venv", [False, True])
@pytest.mark.parametrize("installed", [False, True])
def test_installation_creates_an_environment_only_when_needed(
    tmp_path, monkeypatch, in_venv, installed
):
    script, commands, replaced = load_script("tools/quickstart.py"), [], []
    monkeypatch.setattr(script, "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "base_prefix", "/usr" if in_venv else sys.prefix)
    monkeypatch.setattr(script, "is_installed", lambda python: installed)
    monkeypatch.setattr(script, "run", lambda title, command: commands.append(command))
    monkeypatch.setattr(script.os, "execv", lambda *arguments: replaced.append(arguments))
    script.install()
    python = sys.executable if in_venv else str(tmp_path / ".venv/bin/python")
    create = [sys.executable, "-m", "venv", str(tmp_path / ".venv")]
    add = [python, "-m", "pip", "install", "-e", str(tmp_path)]
    assert commands == ([] if installed else [add] if in_venv else [create, add])
    assert replaced == ([] if in_venv else [(python, [python, *sys.argv])])


def test_other_python_versions_and_missing_interpreters(monkeypatch):
    script = load_script("tools/quickstart.py")
    assert not script.is_installed("/nowhere/python")
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    with pytest.raises(SystemExit, match="expected 3.11 or later"):
        script.install()
