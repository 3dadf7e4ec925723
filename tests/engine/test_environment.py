"""Packages that do not work together are reported as one line."""

import os
import subprocess
import sys

import pytest

from tests.helpers.tiny_world import ROOT


def said_with_a_broken(package, tmp_path, error):
    """What train_net.py says where importing `package` fails."""
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(f"raise {error}\n")
    path = os.pathsep.join([str(tmp_path), ROOT])
    done = subprocess.run(
        [sys.executable, "train_net.py", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("package", "error"),
    [
        ("torch", "ImportError('libcudart.so.13: cannot open shared object file')"),
        ("torchaudio", "OSError('undefined symbol: _ZN3c10\\nmore')"),
    ],
)
def test_packages_that_do_not_load_are_one_line(package, error, tmp_path):
    (line,) = said_with_a_broken(package, tmp_path, error).splitlines()
    assert line.startswith("error: ") and "install the tested versions" in line
    assert error.split("'")[1].split("\\n")[0] in line


def test_importing_repeats_no_warning_that_users_can_do_nothing_about():
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, "-c", "import ovavss_d2"]
    done = subprocess.run(command, cwd=ROOT, env=usual, capture_output=True, text=True, check=True)
    assert "torch.jit.script" not in done.stderr
