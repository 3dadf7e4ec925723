"""The ablation script: each row once, resumable, a table that can be pasted."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ovavss_d2.files import write_json
from ovavss_d2.vocabulary import TOY_NAMES
from tests.helpers.scripts import load_script


@pytest.fixture
def script(monkeypatch):
    """The script with a stand-in for train_net.py: base follows from the options' length."""
    module = load_script("tools/ablations.py")
    calls = []

    def run(command, **kwargs):
        calls.append(command[2:])
        folder = Path(command[-1])
        figure = 60.0 - len(calls)
        values = {"base": figure, "novel": None, "harmonic": figure}
        intervals = {name: [figure - 1, figure + 1] for name in values}
        write_json(
            folder / "inference" / "results.json", {"avsbench_ov": values, "intervals": intervals}
        )
        if "--resume" in command:
            (folder / "model_final.pth").write_bytes(b"weights")
        return SimpleNamespace(returncode=module.failing)

    module.failing = 0
    module.calls = calls
    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def test_all_rows_are_measured_once_and_the_table_is_kept(script, tmp_path, capsys):
    script.main(["--output", str(tmp_path)])
    modes = [call[0] for call in script.calls]
    assert modes.count("--resume") == 4 and modes.count("--eval-only") == 8
    table = (tmp_path / "ablations.md").read_text()
    assert table in capsys.readouterr().out
    assert "| classifier: crop " in table and "58.00 [57.00, 59.00] |    -1.00 |" in table
    script.main(["--output", str(tmp_path)])
    assert len(script.calls) == 12 and capsys.readouterr().out.strip() == table.strip()


def test_a_broken_off_run_goes_on(script, tmp_path):
    script.failing = 1
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path)])
    script.failing = 0
    script.main(["--output", str(tmp_path), "--rows", "sound: silence"])
    assert [call[0] for call in script.calls] == ["--resume", "--resume", "--eval-only"]


def test_new_weights_are_measured_again(script, tmp_path):
    arguments = ["--output", str(tmp_path / "out"), "--weights", str(tmp_path / "model.pth")]
    for content in (b"one", b"other"):
        (tmp_path / "model.pth").write_bytes(content)
        script.main([*arguments, "--rows", "classifier: query"])
    assert [call[0] for call in script.calls] == 4 * ["--eval-only"]


def test_rows_name_what_they_change(script):
    rows = {row.name: row for row in script.rows_of(TOY_NAMES, (2, 3))}
    _, base = rows["vocabulary: base only"].options
    assert base == str((TOY_NAMES[1], TOY_NAMES[2]))
    _, many = rows["vocabulary: all and 70 unrelated"].options
    assert many.count(",") == 99


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--rows", "sound: loud"], "no row 'sound: loud'; there are whole model"),
        (["--weights", "nowhere.pth"], "--weights 'nowhere.pth': no such file"),
    ],
)
def test_mistakes_are_one_line(script, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path / "out"), *arguments])
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_other_options_do_not_mix_with_a_trained_row(script, tmp_path, capsys):
    script.main(["--output", str(tmp_path), "--rows", "sound: silence"])
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path), "--opts", "SOLVER.MAX_ITER", "7"])
    assert "holds a row of other options" in capsys.readouterr().err
    kept = json.loads((tmp_path / "whole_model" / "row.json").read_text())
    assert kept["figures"]["values"]["base"] == 59.0
