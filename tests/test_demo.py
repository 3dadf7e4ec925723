"""The demo: painted videos with sound and JSON, or one line and nothing written."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from loud_left import write_config, write_video
from pycocotools import mask as rle

from ovavss_d2 import segmenter as module

ROOT = Path(__file__).resolve().parents[1]
LOUD = (1, 0, 1)


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
    spec = importlib.util.spec_from_file_location("demo_script", ROOT / "demo" / "demo.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return lambda *arguments: script.run([str(a) for a in arguments])


def test_video_is_painted_and_keeps_rate_size_and_sound(demo, tmp_path):
    source = write_video(tmp_path / "clip.mp4", LOUD, rate=10)
    out = tmp_path / "deep" / "out"
    demo("--config-file", write_config(tmp_path), "--input", source, "--output", out)
    assert sorted(path.name for path in out.iterdir()) == ["clip.json", "clip.mp4"]
    with av.open(str(out / "clip.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == pytest.approx(10, abs=0.1)
        assert len(video.streams.audio) == 1
    assert len(frames) == 30 and frames[0].shape == (64, 96, 3)
    colourful = [np.ptp(frame[60, 20].astype(int)) > 25 for frame in frames]
    assert colourful == [True] * 6 + [False] * 10 + [True] * 14


def test_json_tells_times_names_scores_and_masks(demo, tmp_path):
    source = write_video(tmp_path / "clip.mp4", LOUD)
    arguments = ["--config-file", write_config(tmp_path), "--input", source, "--output", tmp_path]
    out = tmp_path / "out"
    demo(*arguments[:-1], out, "--vocabulary", "cat,dog", "--fps", "2", "--threshold", "0.7")
    content = json.loads((out / "clip.json").read_text())
    assert content["vocabulary"] == ["cat", "dog"] and content["fps"] == 2
    assert [frame["time"] for frame in content["frames"]] == [0, 0.5, 1, 1.5, 2, 2.5]
    (segment,) = content["frames"][0]["segments"]
    assert (segment["name"], segment["score"]) == ("cat", 0.9)
    mask = rle.decode(segment["mask"])
    assert mask[:, :48].all() and not mask[:, 48:].any()


def test_several_videos_and_one_without_sound(demo, tmp_path, capsys, caplog):
    one = write_video(tmp_path / "one.mp4", (1,))
    mute = write_video(tmp_path / "mute.mp4", (1,), sound=False)
    out = tmp_path / "out"
    demo("--config-file", write_config(tmp_path), "--output", out, "--input", one, mute)
    assert len(list(out.iterdir())) == 4
    assert sum("no sound" in message for message in caplog.messages) == 1
    assert not any(f["segments"] for f in json.loads((out / "mute.json").read_text())["frames"])


def wrong_inputs(folder):
    """Arguments by what is wrong with them, and what the line must say."""
    config, good = write_config(folder), write_video(folder / "good.mp4", (1,))
    (folder / "broken.mp4").write_bytes(b"\x00" * 999)
    whole = write_video(folder / "long.mp4", (1,) * 4, size=(128, 128)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "again").mkdir()
    twin = write_video(folder / "again" / "good.mp4", (1,))
    base = {"--config-file": [config], "--input": [good], "--output": [folder / "out"]}
    return {
        "config": (base | {"--config-file": [folder / "no.yaml"]}, "no.yaml"),
        "video": (base | {"--input": [good, folder / "no.mp4"]}, "no.mp4"),
        "broken": (base | {"--input": [folder / "broken.mp4"]}, "broken.mp4"),
        "cut": (base | {"--input": [folder / "cut.mp4"]}, "cut.mp4"),
        "vocabulary": (base | {"--vocabulary": [" "]}, "vocabulary"),
        "threshold": (base | {"--threshold": ["7"]}, "threshold"),
        "fps": (base | {"--fps": ["0"]}, "fps"),
        "weights": (base | {"--opts": ["MODEL.WEIGHTS", ""]}, "no weights"),
        "twins": (base | {"--input": [good, twin]}, "good.mp4"),
        "itself": (base | {"--output": [folder]}, "overwritten"),
    }


FAULTS = ["config", "video", "broken", "cut", "vocabulary", "threshold", "fps", "weights", "twins"]


@pytest.mark.parametrize("what", [*FAULTS, "itself"])
def test_wrong_input_is_one_line_and_nothing_written(demo, tmp_path, capsys, what):
    arguments, message = wrong_inputs(tmp_path)[what]
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        demo(*(word for option, values in arguments.items() for word in (option, *values)))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_failure_in_the_middle_leaves_nothing(demo, tmp_path, capsys, monkeypatch):
    source = write_video(tmp_path / "clip.mp4", (1,) * 5)

    def fail(self, clips):
        raise OSError("no space left on device")

    monkeypatch.setattr("loud_left.LoudLeft._segment", fail)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        demo("--config-file", write_config(tmp_path), "--input", source, "--output", out)
    assert stop.value.code == 1
    assert not list(out.iterdir())
    assert "error: no space left on device" in capsys.readouterr().err


def test_script_ends_in_one_line_and_exit_code_1(tmp_path):
    command = [sys.executable, str(ROOT / "demo" / "demo.py"), "--config-file", "missing.yaml"]
    command += ["--input", str(tmp_path / "missing.mp4"), "--output", str(tmp_path / "out")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert ended.returncode == 1 and not (tmp_path / "out").exists()
    assert ended.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ended.stderr
