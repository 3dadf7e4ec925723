"""The demo: painted videos with audio and JSON, or a one-line error and no results."""

import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2 import segmenter as module
from ovavss_d2.media.video import open_video
from tests.helpers.avsbench_tree import write_wav
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script
from tests.helpers.stub_model import StubModel, make_audio, make_frames, write_config, write_video

LOUD = (1, 0, 1)


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
    script = load_script("demo/demo.py")
    return lambda *arguments: script.run([str(a) for a in arguments])


def test_video_is_painted_and_keeps_rate_size_and_sound(demo, tmp_path):
    source = write_video(tmp_path / "clip.mp4", LOUD, rate=10)
    out = tmp_path / "deep" / "out"
    demo("--config-file", write_config(tmp_path), "--input", source, "--output", out)
    found = sorted(path.name for path in out.iterdir())
    assert found == ["clip.jpg", "clip.json", "clip.mp4", "clip_labels"]
    with av.open(str(out / "clip.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == pytest.approx(10, abs=0.1)
        assert len(video.streams.audio) == 1
    assert len(frames) == 30 and frames[0].shape == (64, 96, 3)
    colorful = [np.ptp(frame[60, 20].astype(int)) > 25 for frame in frames]
    assert colorful == [True] * 10 + [False] * 10 + [True] * 10  # by the second of audio


def test_json_has_times_names_scores_and_masks(demo, tmp_path):
    source = write_video(tmp_path / "clip.mp4", LOUD)
    arguments = ["--config-file", write_config(tmp_path), "--input", source, "--output", tmp_path]
    out = tmp_path / "out"
    demo(*arguments[:-1], out, "--vocabulary", "cat,dog", "--fps", "2", "--threshold", "0.7")
    content = json.loads((out / "clip.json").read_text())
    assert content["info"]["fps"] == 2
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "cat"), (2, "dog")]
    assert content["videos"][0]["times"] == [0, 0.5, 1, 1.5, 2, 2.5]
    (annotation,) = content["annotations"]
    assert annotation["scores"] == [0.9, 0.9, None, 0.9, 0.9, 0.9]
    mask = rle.decode(annotation["segmentations"][0])
    assert mask[:, :48].all() and not mask[:, 48:].any()
    assert [(s["name"], s["start"], s["end"]) for s in content["sounding"]] == [
        ("cat", 0, 1), ("cat", 1.5, 3)
    ]  # fmt: skip


def test_several_videos_and_one_without_sound(demo, tmp_path, capsys, caplog):
    one = write_video(tmp_path / "one.mp4", (1,))
    mute = write_video(tmp_path / "mute.mp4", (1,), has_audio=False)
    out = tmp_path / "out"
    demo("--config-file", write_config(tmp_path), "--output", out, "--input", one, mute)
    assert len(list(out.iterdir())) == 8
    assert sum("no sound" in message for message in caplog.messages) == 1
    assert json.loads((out / "mute.json").read_text())["annotations"] == []


def test_a_pattern_a_folder_and_an_image_are_processed_together(demo, tmp_path):
    (tmp_path / "in" / "frames").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(make_frames(1, 1)[0]).save(tmp_path / "in" / "frames" / f"{i}.jpg")
    write_wav(tmp_path / "in" / "audio.wav", make_audio([1, 0, 1]))
    Image.fromarray(make_frames(1, 1)[0]).save(tmp_path / "still.png")
    write_wav(tmp_path / "still.wav", make_audio([0, 1]))
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", (1,), size=(64, 64))
    out, inputs = tmp_path / "out", [tmp_path / "?.mp4", tmp_path / "in", tmp_path / "still.png"]
    demo("--config-file", write_config(tmp_path), "--output", out, "--input", *inputs)
    spans = {
        path.stem: [(s["start"], s["end"]) for s in json.loads(path.read_text())["sounding"]][::2]
        for path in out.glob("*.json")
    }
    assert spans == {"a": [(0, 1)], "b": [(0, 1)], "in": [(0, 1), (2, 3)], "still": [(1, 2)]}
    assert len(open_video(out / "still.mp4").audio_track.read()) == pytest.approx(32000, abs=2048)


def test_faulty_inputs_are_errors_and_the_others_are_processed(demo, tmp_path, capsys):
    good, whole = write_video(tmp_path / "good.mp4", (1,)), write_video(tmp_path / "c.ts", (1,) * 4)
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2] + b"?" * 9999)
    out = tmp_path / "out"
    inputs = [tmp_path / "broken.mp4", good, tmp_path / "missing.mp4"]
    with pytest.raises(SystemExit) as stop:
        demo("--config-file", write_config(tmp_path), "--output", out, "--input", *inputs)
    assert stop.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 2 and "broken.mp4" in errors[0] and "missing.mp4" in errors[1]
    assert sorted(path.stem for path in out.iterdir() if path.is_file()) == ["good"] * 3


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt(), OSError("no space left on device")])
def test_partial_results_are_kept_on_request(demo, tmp_path, monkeypatch, stopped_by):
    source = write_video(tmp_path / "clip.mp4", (1,) * 8)
    whole, calls = StubModel._segment, []

    def stop(self, clip):
        calls.append(clip)
        if len(calls) == 3:
            raise stopped_by
        return whole(self, clip)

    monkeypatch.setattr(StubModel, "_segment", stop)
    arguments = ["--config-file", write_config(tmp_path), "--input", source, "--keep-partial"]
    with pytest.raises(SystemExit) as end:
        demo(*arguments, "--output", tmp_path / "out")
    assert end.value.code == (130 if isinstance(stopped_by, KeyboardInterrupt) else 1)
    kept = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert kept == [f"clip.partial{ending}" for ending in (".jpg", ".json", ".mp4", "_labels")]
    assert 2 < open_video(tmp_path / "out" / "clip.partial.mp4").duration < 6
    content = json.loads((tmp_path / "out" / "clip.partial.json").read_text())
    assert content["videos"][0]["times"] == [0, 1, 2, 3, 4]


def wrong_inputs(folder):
    """Arguments by their mistake, and words of the error."""
    config, good = write_config(folder), write_video(folder / "good.mp4", (1,))
    (folder / "broken.mp4").write_bytes(b"\x00" * 999)
    whole = write_video(folder / "long.mp4", (1,) * 4, size=(128, 128)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "again").mkdir()
    twin = write_video(folder / "again" / "good.mp4", (1,))
    base = {"--config-file": [config], "--input": [good], "--output": [folder / "out"]}
    return {
        "config": (base | {"--config-file": [folder / "no.yaml"]}, "no.yaml"),
        "video": (base | {"--input": [folder / "no.mp4"]}, "no.mp4"),
        "glob": (base | {"--input": [folder / "*.avi"]}, "matches no file"),
        "track": (base | {"--track": ["3"]}, "1 audio tracks"),
        "sound": (base | {"--sound": [folder / "no.wav"]}, "no.wav"),
        "sounds": (
            base | {"--sound": [good], "--input": [good, twin]},
            "--sound needs a single input",
        ),
        "broken": (base | {"--input": [folder / "broken.mp4"]}, "broken.mp4"),
        "cut": (base | {"--input": [folder / "cut.mp4"]}, "cut.mp4"),
        "vocabulary": (base | {"--vocabulary": [" "]}, "vocabulary"),
        "threshold": (base | {"--threshold": ["7"]}, "threshold"),
        "fps": (base | {"--fps": ["0"]}, "fps"),
        "weights": (base | {"--opts": ["MODEL.WEIGHTS", ""]}, "no weights"),
        "twins": (base | {"--input": [good, twin]}, "would both become"),
        "itself": (base | {"--output": [folder]}, "overwritten"),
    }


FAULTS = ["config", "video", "broken", "cut", "vocabulary", "threshold", "fps", "weights", "twins"]
FAULTS += ["glob", "track", "sound", "sounds"]


@pytest.mark.parametrize("what", [*FAULTS, "itself"])
def test_wrong_input_is_a_one_line_error_and_nothing_is_written(demo, tmp_path, capsys, what):
    arguments, message = wrong_inputs(tmp_path)[what]
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        demo(*(word for option, values in arguments.items() for word in (option, *values)))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_failure_in_the_middle_leaves_nothing(demo, tmp_path, capsys, monkeypatch):
    source = write_video(tmp_path / "clip.mp4", (1,) * 5)

    def fail(self, clips):
        raise OSError("no space left on device")

    monkeypatch.setattr(StubModel, "_segment", fail)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        demo("--config-file", write_config(tmp_path), "--input", source, "--output", out)
    assert stop.value.code == 1
    assert not list(out.iterdir())
    assert "error: no space left on device" in capsys.readouterr().err


def test_the_script_prints_one_line_and_returns_1(tmp_path):
    command = [sys.executable, "demo/demo.py", "--config-file", "missing.yaml"]
    command += ["--input", str(tmp_path / "missing.mp4"), "--output", str(tmp_path / "out")]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert ended.returncode == 1 and not (tmp_path / "out").exists()
    assert ended.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ended.stderr
