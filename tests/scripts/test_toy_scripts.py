"""The scripts that write the toy world and measure its no-sound reference."""

import json

import numpy as np
import pytest
import torch

from ovavss_d2.data.catalog import DatasetCatalog
from ovavss_d2.toy import videos
from ovavss_d2.toy.dataset import Clip
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.toy.stand_ins import silent_model
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES, novel_ids
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script

COUNTS = ["--train", "3", "--val", "2", "--test", "6"]
STEPS = ["--clip-steps", "2", "--start-steps", "2", "--sound-steps", "2"]
OPTIONS = [*COUNTS, "--size", "36", "48", "--workers", "1", *STEPS]


def prepare(folder):
    """Run `prepare_toy.py`."""
    video = videos.VideoPlan(("red square", "blue star"), ((1, ("red square",)),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "TOY_VIDEOS", {"short": video})
        patch.setattr(videos, "TOY_VIDEO_SIZE", (48, 64))
        load_script("datasets/prepare_toy.py").main(["--root", str(folder), *OPTIONS])
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Read-only output of `prepare_toy.py`."""
    return prepare(tmp_path_factory.mktemp("datasets"))


def test_two_preparations_give_the_same_bytes(root, tmp_path):
    torch.manual_seed(7)  # must not matter
    prepare(tmp_path)
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (root, tmp_path)
    )
    assert [name for name in first if first[name] != second.get(name)] == []
    assert first.keys() == second.keys()


def test_one_command_writes_everything(root):
    found = {str(path.relative_to(root / "toy")) for path in root.glob("toy/*/*")}
    assert {
        "AVSBench-semantic/metadata.csv",
        "split_lists/derived_train_base.json",
        "split_lists/derived_test_all.json",
        "videos/short.mp4",
        "clip/toy_clip.json",
        "clip/toy_clip.pt",
        "start/toy_start.pth",
        "audio_classifier/toy_audio_classifier.pth",
    } <= found


def test_the_registered_data_sets_load(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    sizes = {"train_base": 3, "val_base": 2, "test_all": 6, "test_base": 2, "test_novel_silent": 2}
    for name, size in sizes.items():
        assert len(DatasetCatalog.get(f"toy_ov_{name}")) == size


def test_start_weights_begin_with_the_same_model_for_a_seed(root):
    config, clip = REPOSITORY / "configs" / "ovavss_toy.yaml", root / "toy" / "clip" / "toy_clip"
    first, same, other = (silent_model(TOY, config, clip, x).state_dict() for x in (0, 0, 1))
    assert all(torch.equal(first[key], same[key]) for key in first)
    key = "backbone.net.conv1.0.weight"
    assert not torch.equal(first[key], other[key])


@pytest.mark.parametrize("option", [["--train", "-1"], ["--workers", "0"], ["--size", "9", "x"]])
def test_wrong_numbers_are_refused(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        load_script("datasets/prepare_toy.py").main(["--root", str(tmp_path), *option])
    assert caught.value.code != 0
    assert option[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_seed_in_the_same_folder_gives_one_line(root, capsys):
    arguments = ["--root", str(root), *OPTIONS, "--seed", "1"]
    with pytest.raises(SystemExit) as caught:
        load_script("datasets/prepare_toy.py").main(arguments)
    assert caught.value.code == 1
    assert "give another --root" in capsys.readouterr().err.splitlines()[-1]


def brute_force_reference(toy):
    """Base and novel mIoU in per cent, at the frames' own size."""
    hits, union = np.zeros(31), np.zeros(31)
    for uid in json.loads((toy / "views.json").read_text()):
        clip = Clip(TOY, 0, "test", int(uid[5:10]))
        with np.load(toy / "visible" / f"{uid}.npz") as file:
            for ids, now in zip(file["ids"], clip.schedule().sounding, strict=True):
                for i in range(1, 31):
                    visible = (ids == i).sum()
                    union[i] += visible
                    hits[i] += visible * (i in now)
    groups = (
        [i for i in ids if union[i]] for ids in (TOY_BASE_IDS, novel_ids(TOY_NAMES, TOY_BASE_IDS))
    )
    return [100 * np.mean(hits[g] / union[g]) for g in groups]


@pytest.mark.parametrize("name", ["nonsense", "avsbench_ov_test_all"])
def test_the_no_sound_reference_names_the_data_sets_that_it_takes(name, monkeypatch, capsys):
    script = load_script("tools/no_sound_reference.py")
    monkeypatch.setattr("sys.argv", ["no_sound_reference.py", "--dataset", name])
    with pytest.raises(SystemExit):
        script.parse_args()
    assert "stamps_ov_test_all" in capsys.readouterr().err


def test_the_no_sound_reference_paints_every_visible_object(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    figures = load_script("tools/no_sound_reference.py").reference("toy_ov_test_all")
    expected = brute_force_reference(root / "toy")
    assert [figures["base"], figures["novel"]] == pytest.approx(expected, abs=1.5)
    assert figures["novel"] > 0
