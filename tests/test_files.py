"""Files appear whole or not at all."""

import json
import resource
import signal
import subprocess
import sys

import pytest
import torch

from ovavss_d2 import files
from ovavss_d2.files import atomic_folder, atomic_path, write_json, write_torch


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not path.exists()
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "whole"


def test_failure_keeps_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_what_is_not_a_number_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.5], "b": (float("inf"), {"c": "d"})})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": [None, 1.5],
        "b": [None, {"c": "d"}],
    }


WRITE = """
import sys, time
from ovavss_d2.errors import one_line_errors
from ovavss_d2.files import atomic_folder, atomic_path
with one_line_errors(), atomic_path(sys.argv[1] + "/a.txt") as file, \\
        atomic_folder(sys.argv[1] + "/b") as folder:
    file.write_text("half")
    (folder / "part").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing a file and a folder."""
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def next_run(folder):
    """What is left in a folder after another process has written to it."""
    files._remove_abandoned.cache_clear()  # it looks once per process
    with atomic_path(folder / "c.txt") as path:
        path.write_text("whole")
    return sorted(path.name for path in folder.iterdir())


def test_the_next_run_removes_what_a_killed_process_left_and_only_that(writer, tmp_path):
    (tmp_path / ".mine.partial").write_text("of the user")
    assert len(next_run(tmp_path)) == 4  # the files of a living process stay
    writer.kill()
    writer.wait()
    assert next_run(tmp_path) == [".mine.partial", "c.txt"]


def test_sigterm_removes_incomplete_files(writer, tmp_path):
    writer.terminate()
    assert writer.wait() == 128 + signal.SIGTERM
    assert not writer.stderr.read() and not list(tmp_path.iterdir())


def test_a_folder_appears_whole_and_replaces_none(tmp_path):
    with atomic_folder(tmp_path / "new" / "a") as hidden:
        (hidden / "file").write_text("whole")
        assert not (tmp_path / "new" / "a").exists()
    assert (tmp_path / "new" / "a" / "file").read_text() == "whole"
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "new" / "a"):
        pass
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_torch_files_with_equal_content_have_equal_bytes(tmp_path):
    for name in ("a.pth", "b.pt"):
        write_torch(tmp_path / name, {"x": torch.arange(3)})
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path):
    write_torch(tmp_path / "a.pth", {"x": torch.zeros(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*a.pth.*too large") as error:
            write_torch(tmp_path / "a.pth", {"x": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    assert torch.load(tmp_path / "a.pth")["x"].tolist() == [0, 0, 0]
