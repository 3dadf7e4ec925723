"""Train, evaluate and demonstrate a tiny configuration, as a user would from the command line."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from ovavss_d2.media.video import open_video
from ovavss_d2.toy.videos import TOY_VIDEOS
from ovavss_d2.weights.export import export_model
from tests.helpers.stub_model import write_video
from tests.helpers.tiny_world import CONFIG, ROOT, tiny_options

PREPARE = (
    "--train 10 --val 2 --test 3 --size 40 48 --workers 1 "
    "--clip-steps 2 --start-steps 2 --sound-steps 2"
)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Run the quick start with tiny settings: a call that returns its output."""
    root = tmp_path_factory.mktemp("quickstart")
    for name in TOY_VIDEOS:  # existing videos are kept
        path = root / "toy" / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, loud=[True, False], size=(40, 48))
    command = [sys.executable, "tools/quickstart.py", "--no-install", "--prepare", PREPARE]
    command += [
        "--datasets",
        root,
        "--output",
        root / "output",
        "--opts",
        *tiny_options(root, model={}),
    ]

    def call():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    call.root, call.first_output = root, call()
    return call


@pytest.fixture(scope="module")
def world(quickstart):
    return quickstart.root


@pytest.fixture(scope="module")
def trained(quickstart):
    """Output folder of the training."""
    return quickstart.root / "output" / "ovavss_toy"


@pytest.fixture
def run(world, monkeypatch, capsys):
    """Call a script's entry point in this process: (exit code, what it said)."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(world))
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(os.path.join(ROOT, "demo"))

    def call(script, *arguments, **changes):
        entry = importlib.import_module(script)
        options = tiny_options(world, model={}, **changes)
        options = ["--opts", *options] if script == "demo" else options
        try:
            entry.run([*map(str, arguments), *options])
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


def test_the_quick_start_leaves_checkpoints_curves_results_and_painted_videos(quickstart, trained):
    results = json.loads((trained / "inference" / "results.json").read_text())
    assert {"mIoU", "base", "novel", "harmonic"} <= set(results["avsbench_ov"])
    assert (trained / "inference" / "per_class.png").stat().st_size > 0
    assert (trained / "model_0000001.pth").exists() and (trained / "model_final.pth").exists()
    assert list(trained.glob("events.out.tfevents*"))
    assert "Runtime:" in quickstart.first_output
    painted = [path.stem for path in (trained.parent / "demo").glob("*.mp4")]
    assert sorted(painted) == sorted(TOY_VIDEOS)
    assert "==>" not in quickstart() and "test videos" in quickstart()  # nothing is left to do


@pytest.mark.parametrize("form", ["checkpoint", "exported weights", "exported config"])
def test_evaluation_alone_repeats_the_figures_of_training(run, world, trained, form):
    weights, config, folder = trained / "model_final.pth", CONFIG, world / form
    if form != "checkpoint":
        weights = export_model(weights, world / f"{form}.model")
    if form == "exported config":
        config = weights
    changes = {"MODEL.WEIGHTS": weights, "OUTPUT_DIR": folder}
    changes["DATASETS.TEST"] = "('toy_ov_test_all',)"
    code, said = run("train_net", "--config-file", config, "--eval-only", **changes)
    assert code == 0, said
    first, again = (
        json.loads((path / "inference" / "results.json").read_text()) for path in (trained, folder)
    )
    assert first["avsbench_ov"] == again["avsbench_ov"]


def with_sound(world, trained, kind):
    """The options of a configuration that takes names from sound."""
    start = world / "toy" / "start" / "toy_start.pth"
    sounds = world / "toy" / "audio_classifier" / "toy_audio_classifier.pth"
    options = {"MODEL.AUDIO_CLASSIFIER.WEIGHTS": sounds, "MODEL.WEIGHTS": start}
    if kind == "combined":
        options |= {"MODEL.WEIGHTS": trained / "model_final.pth"}
        options |= {"MODEL.SILENT_LOCALIZER.WEIGHTS": start}
    return {**options, "TEST.SCORE_THRESHOLD": 0.0, "DATASETS.TEST": "('toy_ov_test_all',)"}


@pytest.mark.parametrize("kind", ["zero_shot", "combined"])
def test_names_from_sound_are_evaluated_and_exported(run, world, trained, kind):
    options = with_sound(world, trained, kind) | {"OUTPUT_DIR": world / kind}
    code, said = run("train_net", "--config-file", f"{kind}_toy.yaml", "--eval-only", **options)
    assert code == 0, said
    results = json.loads((world / kind / "inference" / "results.json").read_text())
    model = export_model(
        options["MODEL.WEIGHTS"], world / f"{kind}.model", config_file=world / kind / "config.yaml"
    )
    again = {
        "MODEL.WEIGHTS": model,
        "OUTPUT_DIR": world / f"{kind}_again",
        "DATASETS.TEST": options["DATASETS.TEST"],
    }
    code, said = run("train_net", "--config-file", model, "--eval-only", **again)
    assert code == 0, said
    other = json.loads((world / f"{kind}_again" / "inference" / "results.json").read_text())
    assert other["avsbench_ov"] == results["avsbench_ov"]


def test_a_configuration_that_needs_no_training_says_so(run, world, trained):
    options = with_sound(world, trained, "zero_shot")
    code, said = run("train_net", "--config-file", "zero_shot_toy.yaml", **options)
    assert code == 1 and "needs no training; add --eval-only" in said


def test_mixed_precision_trains_on_a_cpu_near_the_single_one(run, world):
    losses = []
    for name, mixed in (("single", False), ("mixed", True)):
        output = world / name
        changes = {"SOLVER.AMP.ENABLED": mixed, "MODEL.DEVICE": "cpu", "OUTPUT_DIR": output}
        code, said = run("train_net", "--config-file", CONFIG, **changes)
        assert code == 0, said
        first = json.loads((output / "metrics.json").read_text().splitlines()[0])
        losses.append(first["total_loss"])
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.05)


def test_cached_audio_features_change_no_number(run, world):
    seen = []
    for name, cache in (("without", ""), ("with", world / "cache")):
        output = world / f"cache_{name}"
        changes = {"MODEL.AUDIO.FREEZE": True, "MODEL.EMBEDDING_CACHE": cache, "OUTPUT_DIR": output}
        code, said = run("train_net", "--config-file", CONFIG, **changes)
        assert code == 0, said
        losses = json.loads((output / "metrics.json").read_text().splitlines()[-1])
        losses = {name: value for name, value in losses.items() if "loss" in name}
        seen.append((losses, (output / "inference" / "results.json").read_bytes()))
    assert seen[0] == seen[1]
    assert len(list((world / "cache").iterdir())) == 2  # of the text and the audio encoder


def test_demo_paints_a_video_and_keeps_its_sound(run, trained, tmp_path):
    video = write_video(tmp_path / "clip.mp4", loud=[True, False, True], size=(80, 96))
    code, said = run(
        "demo", "--config-file", CONFIG, "--input", video, "--output", tmp_path / "out",
        "--vocabulary", "red circle", **{"MODEL.WEIGHTS": trained / "model_final.pth"},
    )  # fmt: skip
    assert code == 0, said
    painted = open_video(str(tmp_path / "out" / "clip.mp4"))
    assert painted.audio_track and painted.duration == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("MODEL.WEIGHTS", "missing.pth", "missing.pth"),
        ("DATASETS.TRAIN", "('no_such_set',)", "no_such_set"),
        ("DATASETS.TRAIN", "()", "DATASETS.TRAIN"),
        ("SOLVER.NO_SUCH_KEY", 1, "NO_SUCH_KEY"),
        ("MODEL.CLASSIFIER.NAME", "guess", "guess"),
        ("TEST.SCORING", "luck", "luck"),
    ],
)
def test_wrong_config_is_one_line_before_anything_is_trained(run, world, key, value, words):
    changes = {"OUTPUT_DIR": world / "wrong", key: value}
    code, said = run("train_net", "--config-file", CONFIG, **changes)
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert code == 1 and len(errors) == 1 and words in errors[0], said


def test_checkpoint_of_another_model_is_one_line(run, trained):
    weights = trained / "model_final.pth"
    changes = {"MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 5, "MODEL.WEIGHTS": weights}
    code, said = run("train_net", "--config-file", CONFIG, "--eval-only", **changes)
    assert code == 1 and "another model" in said, said
