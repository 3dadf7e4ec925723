"""The ablation script measures each row once, resumes, and writes a Markdown table."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ovavss_d2.files import write_json
from ovavss_d2.vocabulary import TOY_NAMES
from tests.helpers.scripts import load_script


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script with a stand-in for train_net.py, whose accuracy falls with each call."""
    script = load_script("tools/ablations.py")

    def run(command, **kwargs):
        script.modes.append(command[2])
        folder = Path(command[-1])
        value = 60.0 - len(script.modes)
        values = {"base": value, "novel": None, "harmonic": value}
        intervals = {name: [value - 1, value + 1] for name in values}
        results = {"avsbench_ov": values, "intervals": intervals}
        write_json(folder / "inference" / "results.json", results)
        if command[2] == "--resume":
            (folder / "model_final.pth").write_bytes(b"weights")
        return SimpleNamespace(returncode=script.code)

    def call(*arguments):
        script.main(["--output", str(tmp_path / "out"), *arguments])

    script.modes, script.code, script.call = [], 0, call
    monkeypatch.setattr(script.subprocess, "run", run)
    return script


def test_all_rows_are_measured_once_and_the_table_is_kept(script, tmp_path, capsys):
    script.call()
    assert script.modes.count("--resume") == 4 and script.modes.count("--eval-only") == 8
    table = (tmp_path / "out" / "ablations.md").read_text()
    assert table in capsys.readouterr().out
    assert "| classifier: crop " in table and "58.00 [57.00, 59.00] |    -1.00 |" in table
    script.call()
    assert len(script.modes) == 12 and capsys.readouterr().out.strip() == table.strip()


def test_an_interrupted_run_resumes(script):
    script.code = 1
    with pytest.raises(SystemExit):
        script.call()
    script.code = 0
    script.call("--rows", "sound: silence")
    assert script.modes == ["--resume", "--resume", "--eval-only"]


def test_new_weights_are_measured_again(script, tmp_path):
    for content in (b"one", b"other"):
        (tmp_path / "model.pth").write_bytes(content)
        script.call("--weights", str(tmp_path / "model.pth"), "--rows", "classifier: query")
    assert script.modes == 4 * ["--eval-only"]


def test_vocabularies_of_the_rows(script):
    rows = {row.name: row for row in script.all_rows(TOY_NAMES, (2, 3))}
    assert rows["vocabulary: base only"].options[1] == str((TOY_NAMES[1], TOY_NAMES[2]))
    assert rows["vocabulary: all and 70 unrelated"].options[1].count(",") == 99


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--rows", "sound: loud"], "'sound: loud' is unknown, expected some of full model"),
        (["--weights", "nowhere.pth"], "--weights 'nowhere.pth': no such file"),
    ],
)
def test_mistakes_are_one_line(script, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        script.call(*arguments)
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1 and not (tmp_path / "out").exists()


def test_other_options_are_not_mixed_with_a_trained_row(script, tmp_path, capsys):
    script.call("--rows", "sound: silence")
    with pytest.raises(SystemExit):
        script.call("--opts", "SOLVER.MAX_ITER", "7")
    assert "has results of other options" in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "full_model" / "row.json").read_text())
    assert kept["figures"]["values"]["base"] == 59.0
