"""Packages that do not work together are reported as one line."""

import os
import subprocess
import sys

import pytest

from tests.helpers.tiny_world import ROOT


@pytest.mark.parametrize(
    ("package", "error"),
    [
        ("torch", "ImportError('libcudart.so.13: cannot open shared object file')"),
        ("torchaudio", "OSError('undefined symbol: _ZN3c10\\nmore')"),
    ],
)
def test_packages_that_cannot_be_imported_are_one_line(package, error, tmp_path):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {error}\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])}
    command = [sys.executable, "train_net.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "install the tested versions" in line
    assert error.split("'")[1].split("\\n")[0] in line
