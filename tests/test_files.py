"""Files appear whole or not at all."""

import json

import pytest

from ovavss_d2.files import atomic_path, write_json


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
