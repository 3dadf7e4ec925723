"""The script that writes the stamps data set, on a small package."""

import json

import numpy as np
import pytest

from ovavss_d2.data.catalog import DatasetCatalog
from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.stamps import package, videos
from ovavss_d2.toy.videos import VideoPlan
from ovavss_d2.vocabulary import STAMPS_NAMES
from tests.helpers.scripts import load_script
from tests.helpers.stamps_package import STAMPS, write_package


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Read-only output of the script."""
    folder = write_package(tmp_path_factory.mktemp("package"))
    root = tmp_path_factory.mktemp("datasets")
    plan = VideoPlan(("frog", "teapot"), ((1, ("frog",)), (1, ())))
    counts = ["--train", "3", "--val", "2", "--test", "6", "--size", "32", "48", "--workers", "1"]
    steps = ["--clip-steps", "1", "--start-steps", "1", "--sound-steps", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "FILES_SUM", package.files_sum(folder / STAMPS))
        patch.setattr(videos, "STAMPS_VIDEOS", {"short": plan})
        patch.setattr(videos, "STAMPS_VIDEO_SIZE", (48, 64))
        arguments = ["--root", str(root), "--package", str(folder), *counts, *steps]
        load_script("datasets/prepare_stamps.py").main(arguments)
    return root


def test_one_command_writes_clips_lists_videos_stand_ins_and_licenses(root):
    found = {path.relative_to(root / "stamps").as_posix() for path in root.rglob("*.*")}
    assert {
        "AVSBench-semantic/metadata.csv",
        "split_lists/derived_train_base.json",
        "split_lists/derived_test_all.json",
        "videos/short.mp4",
        "licenses/SOURCE.txt",
        "clip/stamps_clip.pt",
        "start/stamps_start.pth",
        "audio_classifier/stamps_audio_classifier.pth",
    } <= found
    assert (root / "stamps" / "licenses" / "copyright").read_text() == "GPL-2"


def test_the_registered_data_sets_load(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    sizes = {"train_base": 3, "val_base": 2, "test_all": 6, "test_novel_silent": 2}
    for name, size in sizes.items():
        assert len(DatasetCatalog.get(f"stamps_ov_{name}")) == size


def test_silent_objects_are_visible_and_never_in_the_ground_truth(root):
    stamps = root / "stamps"
    silent = 0
    for uid in json.loads((stamps / "views.json").read_text()):
        with np.load(stamps / "visible" / f"{uid}.npz") as file:
            ids = file["ids"]
        silent += (ids > len(STAMPS_NAMES)).sum()
        (folder,) = (stamps / "AVSBench-semantic").glob(f"*/{uid}")
        for i, visible in enumerate(ids):
            path = folder / "labels_rgb" / f"{i}.png"
            truth, unknown = read_labels(path, 1 + len(STAMPS_NAMES))
            assert unknown == 0 and ((truth == 0) | (truth == visible)).all()
    assert silent


def test_the_no_sound_reference_ignores_silent_objects(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    reference = load_script("tools/no_sound_reference.py").reference("stamps_ov_test_all")
    assert 0 < reference["base"] < 100
