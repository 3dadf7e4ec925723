"""The demo: painted videos with audio and JSON, or a one-line error and no results."""

import json
import os
import shutil
import subprocess
import sys
from shlex import split

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2 import segmenter as module
from ovavss_d2.commands import demo as script
from ovavss_d2.media.video import open_video
from tests.helpers.avsbench_tree import write_wav
from tests.helpers.paths import REPOSITORY
from tests.helpers.stub_model import StubModel, make_audio, make_frames, write_config, write_video

LOUD = (1, 0, 1)


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
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
    source, out = write_video(tmp_path / "clip.mp4", LOUD), tmp_path / "out"
    arguments = ["--config-file", write_config(tmp_path), "--input", source, "--output", out]
    demo(*arguments, *split("--vocabulary cat,dog --fps 2 --threshold 0.7"))
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
    good = write_video(tmp_path / "good.mp4", (1,))
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    out = tmp_path / "out"
    inputs = [tmp_path / "broken.mp4", good, tmp_path / "missing.mp4"]
    with pytest.raises(SystemExit) as stop:
        demo("--config-file", write_config(tmp_path), "--output", out, "--input", *inputs)
    assert stop.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 2 and "broken.mp4" in errors[0] and "missing.mp4" in errors[1]
    assert sorted(path.stem for path in out.iterdir() if path.is_file()) == ["good"] * 3


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "error, code", [(KeyboardInterrupt(), 130), (OSError("no space left on device"), 1)]
)
def test_an_interruption_leaves_partial_results_only_on_request(
    demo, tmp_path, monkeypatch, capsys, keep, error, code
):
    source, out = write_video(tmp_path / "clip.mp4", (1,) * 8), tmp_path / "out"
    segment, calls = StubModel._segment, []

    def stop(self, clip):
        calls.append(clip)
        if len(calls) == 3:
            raise error
        return segment(self, clip)

    monkeypatch.setattr(StubModel, "_segment", stop)
    options = ["--keep-partial"] if keep else []
    with pytest.raises(SystemExit) as end:
        demo("--config-file", write_config(tmp_path), "--input", source, "--output", out, *options)
    assert end.value.code == code
    assert code == 130 or "error: no space left on device" in capsys.readouterr().err
    endings = (".jpg", ".json", ".mp4", "_labels") if keep else ()
    found = sorted(path.name for path in out.iterdir())
    assert found == [f"clip.partial{ending}" for ending in endings]
    if keep:
        assert 2 < open_video(out / "clip.partial.mp4").duration < 6
        content = json.loads((out / "clip.partial.json").read_text())
        assert content["videos"][0]["times"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--config-file no.yaml", "no.yaml"),
        ("--input no.mp4", "no.mp4"),
        ("--input *.avi", "matches no file"),
        ("--input broken.mp4", "broken.mp4"),
        ("--input cut.mp4", "cut.mp4"),
        ("--input good.mp4 again/good.mp4", "would both become"),
        ("--track 3", "1 audio tracks"),
        ("--sound no.wav", "no.wav"),
        ("--sound good.mp4 --input good.mp4 again/good.mp4", "--sound needs a single input"),
        ("--vocabulary ' '", "vocabulary"),
        ("--threshold 7", "threshold"),
        ("--fps 0", "fps"),
        ("--fps inf", "--fps is inf, expected 0.001 to 1000"),
        ("--fps nan", "--fps is nan"),
        ("--fps -1", "--fps is -1"),
        ("--fps 1e9", "--fps is 1000000000.0"),
        ("--picture-rate 0 --input folder", "--picture-rate is 0.0"),
        ("--picture-rate inf --input folder", "--picture-rate is inf"),
        ("--picture-rate nan --input folder", "--picture-rate is nan"),
        ("--picture-rate 1e-9 --input folder", "--picture-rate is 1e-09"),
        ("--opts MODEL.WEIGHTS ''", "no weights"),
        ("--output .", "overwritten"),
    ],
)
def test_wrong_input_is_a_one_line_error_and_nothing_is_written(
    demo, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    config, good = write_config(tmp_path), write_video(tmp_path / "good.mp4", (1,) * 4)
    (tmp_path / "broken.mp4").write_bytes(b"\x00" * 999)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "again").mkdir()
    shutil.copy(good, tmp_path / "again")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        demo("--config-file", config, "--input", "good.mp4", "--output", "out", *split(arguments))
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and words in line
    assert sorted(tmp_path.rglob("*")) == before


def refused(demo, capsys, *arguments):
    """The errors of a run that fails before a model is built."""
    with pytest.raises(SystemExit) as end:
        demo("--config-file", "never_read.yaml", *arguments)
    assert end.value.code == 1
    return capsys.readouterr().err.strip().splitlines()


def test_inputs_and_files_of_the_user_are_never_replaced(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "x.mp4", (1,))
    for folder in ("x_labels", "out/x.mp4"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(make_frames(1, 1)[0]).save(tmp_path / folder / "0.png")
    (tmp_path / "link.mp4").symlink_to("x.mp4")
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in [
        (
            "--input x.mp4 --output out",
            "'out/x.mp4/0.png' exists and was not written by this program",
        ),
        ("--input x.mp4 --output .", "'x.mp4' would be overwritten, but it is an input"),
        ("--input link.mp4 --output .", "'x.mp4' would be overwritten, but it is an input"),
        ("--input x.mp4 link.mp4 --output new", "would both become 'x.*'"),
        ("--input x.mp4 --output x.mp4", "not a folder that can be written to"),
    ]:
        (line,) = refused(demo, capsys, *split(arguments))
        assert line.startswith("error: ") and words in line
    assert sorted(tmp_path.rglob("*")) == before


def test_results_of_an_earlier_run_that_are_now_an_input_are_kept(demo, tmp_path, capsys):
    video, out = write_video(tmp_path / "x.mp4", (1,)), tmp_path / "out"
    options = ["--config-file", write_config(tmp_path), "--output", out, "--outputs", "labels"]
    demo(*options, "--input", video)
    before = (out / "x_labels" / "000000.png").stat()
    with pytest.raises(SystemExit):
        demo(*options, "--input", video, out / "x_labels")
    assert "x_labels' would be overwritten, but it is an input" in capsys.readouterr().err
    assert (out / "x_labels" / "000000.png").stat() == before
    assert (out / "x_labels_labels" / "000000.png").is_file()


@pytest.mark.parametrize(
    "script, arguments, code, words",
    [
        ("demo/demo.py", "--config-file no.yaml --input no.mp4 --output out", 1, "error: 'no.mp4'"),
        ("demo/app.py", "--config-file no.yaml", 1, "error: the page needs Gradio"),
        ("demo/app.py", "--help", 0, "--waiting"),
    ],
)
def test_scripts_without_gradio_end_with_one_line_or_help(tmp_path, script, arguments, code, words):
    (tmp_path / "gradio.py").write_text("raise ImportError('not installed')")
    env = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    command = [sys.executable, REPOSITORY / script, *split(arguments)]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ended.returncode == code and not (tmp_path / "out").exists()
    assert words in (ended.stderr.strip().splitlines()[-1] if code else ended.stdout)
    assert "Traceback" not in ended.stderr
