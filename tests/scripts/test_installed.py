"""The installed package needs no clone: configs by name, and the commands."""

import os
import subprocess
import sys

import pytest

from ovavss_d2.weights.export import export_model
from tests.helpers.paths import REPOSITORY
from tests.helpers.small_trained import write_trained
from tests.helpers.stub_model import write_video


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package as a wheel contains it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "setup.py", "-q", "build"]
    command += ["--build-base", folder / "build", "--build-lib", folder / "lib"]
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    return folder / "lib"


@pytest.fixture
def call(site, tmp_path):
    """A call of a command from an empty folder; returns its exit code and its output."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(command, *arguments):
        code = f"import sys; from ovavss_d2.commands.{command} import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", ["ovavss_R50.yaml", "configs/ovavss_R50.yaml"])
def test_shipped_configs_are_found_by_name(call, name):
    code, said = call("train", "--config-file", name, "--eval-only", "MODEL.WEIGHTS", "no.pth")
    assert code == 1 and "no weight file or name 'no.pth'" in said
    code, said = call("train", "--config-file", "ovavss_R51.yaml")
    assert code == 1 and "the shipped ones are" in said and "ovavss_R50.yaml" in said


def test_the_demo_runs_an_exported_model_from_an_empty_folder(call, tmp_path):
    (tmp_path / "training").mkdir()
    model = export_model(write_trained(tmp_path / "training"), tmp_path / "model")
    video = write_video(tmp_path / "clip.mp4", (1, 0, 1))
    out = tmp_path / "out"
    code, said = call("demo", "--config-file", model, "--input", video, "--output", out)
    assert code == 0, said
    assert sorted(p.name for p in out.iterdir()) == [
        "clip.jpg",
        "clip.json",
        "clip.mp4",
        "clip_labels",
    ]


@pytest.mark.parametrize("command", ["train", "demo", "app"])
def test_every_command_has_help(call, command):
    code, said = call(command, "--help")
    assert code == 0 and "--config-file" in said
