"""Exported models give the same label maps anywhere, and wrong folders one line."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from ovavss_d2.config import load_config
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.weights.export import export_model
from ovavss_d2.weights.pretrained import model_folder
from tests.helpers.file_server import serve
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script
from tests.helpers.small_trained import NAMES, write_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The output folder of a training: a config, a checkpoint and results."""
    return write_trained(tmp_path_factory.mktemp("training")).parent


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export_model(trained / "model_final.pth", folder, license_name="mit")


def label_maps(segmenter):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, 32, 40, 3), np.uint8)
    audio = rng.normal(0, 0.1, 6 * 16000)
    results = segmenter(frames, audio=audio, sample_rate=16000)
    return np.stack([frame.label_map for frame in results])


@pytest.fixture(scope="module")
def expected(trained):
    path = trained / "model_final.pth"
    maps = label_maps(Segmenter.from_config_file(trained / "config.yaml", weights=path))
    assert maps.any()
    return maps


def test_the_folder_names_no_path_and_no_data_set_of_this_machine(exported, trained):
    assert sorted(os.listdir(exported)) == [
        "README.md",
        "clip.json",
        "config.yaml",
        "model.json",
        "model.safetensors",
    ]
    text = "".join(path.read_text() for path in exported.iterdir() if path.suffix != ".safetensors")
    assert str(trained) not in text and str(REPOSITORY) not in text and os.sep + "tmp" not in text
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1
    info = json.loads((exported / "model.json").read_text())
    assert info["vocabulary"] == {"names": NAMES, "base": NAMES[:2], "novel": ["violin"]}


CHILD = """
import sys, numpy as np
from ovavss_d2 import Segmenter
from tests.weights.test_export import label_maps
np.save(sys.argv[2], label_maps(Segmenter.from_pretrained(sys.argv[1])))
"""


def test_it_gives_the_same_label_maps_in_another_process_and_folder(exported, expected, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "elsewhere" / "renamed")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DETECTRON2_DATASETS": "/nowhere"}
    command = [sys.executable, "-c", CHILD, moved, tmp_path / "maps.npy"]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    assert np.array_equal(np.load(tmp_path / "maps.npy"), expected)


@pytest.mark.parametrize("form", ["zip", "gztar", "tar"])
def test_archives_are_read_from_a_file_and_from_an_address(
    exported, expected, tmp_path, form, monkeypatch
):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    archive = shutil.make_archive(tmp_path / "model", form, exported.parent, exported.name)
    assert np.array_equal(label_maps(Segmenter.from_pretrained(archive)), expected)
    with open(archive, "rb") as file, serve(file.read()) as server:
        address = f"{server.address}/{os.path.basename(archive)}"
        assert np.array_equal(label_maps(Segmenter.from_pretrained(address)), expected)


def test_the_folder_is_accepted_as_weights_and_as_config(exported, trained, expected):
    config = trained / "config.yaml"
    segmenter = Segmenter.from_config_file(config, weights=exported)
    assert np.array_equal(label_maps(segmenter), expected)
    cfg = load_config(exported, ["TEST.SCORE_THRESHOLD", "0.5"])
    assert str(exported) == cfg.MODEL.WEIGHTS and cfg.TEST.SCORE_THRESHOLD == 0.5


def test_frozen_parts_are_included_or_named(trained, tmp_path):
    with pytest.raises(ValueError, match="MODEL.CLIP.WEIGHTS is '', .*include"):
        export_model(trained / "model_final.pth", tmp_path / "model", include_frozen=False)
    assert not (tmp_path / "model").exists()


def test_the_card_shows_figures_as_model_hubs_read_them(exported):
    _, header, body = (exported / "README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["license"] == "mit" and header["pipeline_tag"] == "image-segmentation"
    metrics = header["model-index"][0]["results"][0]["metrics"]
    assert [metric["value"] for metric in metrics] == [50.0, 61.23]
    assert "| mIoU, base | 61.23 |" in body and "violin" in body and "from_pretrained" in body


def test_an_export_replaces_an_earlier_one_and_nothing_else(trained, tmp_path, capsys):
    tool = load_script("tools/export_model.py")
    target = tmp_path / "model"
    for _ in range(2):
        tool.run([str(trained / "model_final.pth"), str(target)])
        assert capsys.readouterr().out == f"{target}\n"
    assert os.listdir(tmp_path) == ["model"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(FileExistsError, match="holds no exported model"):
        export_model(trained / "model_final.pth", tmp_path / "photos")


def _without(name):
    return lambda folder: (folder / name).unlink()


def _newer(folder):
    (folder / "model.json").write_text('{"format_version": 2}')


def _path(folder):
    text = (folder / "config.yaml").read_text()
    config = yaml.safe_load(text)
    config["MODEL"]["AUDIO"]["WEIGHTS"] = "/etc/passwd"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _base(folder):
    (folder / "config.yaml").write_text("_BASE_: /etc/hostname\n")


@pytest.mark.parametrize(
    "change, message",
    [
        (_without("model.safetensors"), "holds no model.safetensors"),
        (_without("model.json"), "holds no model.json"),
        (_without("config.yaml"), "holds no config.yaml"),
        (_newer, "format version 2, expected 1; update"),
        (lambda folder: (folder / "model.json").write_text("[" * 9), "model.json' is damaged"),
        (_path, "MODEL.AUDIO.WEIGHTS '/etc/passwd', expected a published name"),
        (_base, "has a _BASE_"),
    ],
)
def test_a_wrong_folder_is_one_line(exported, tmp_path, change, message):
    folder = shutil.copytree(exported, tmp_path / "model")
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        Segmenter.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_unknown_sources_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model 'no such thing'"):
        Segmenter.from_pretrained("no such thing")
    with pytest.raises(OSError, match="'user/name' is not a folder, and cannot be downloaded"):
        Segmenter.from_pretrained("user/name")
    (tmp_path / "x.zip").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="not a readable archive"):
        Segmenter.from_pretrained(tmp_path / "x.zip")


@pytest.mark.parametrize("form", ["zip", "gztar"])
def test_an_archive_that_expands_far_is_refused(tmp_path, form):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "other.bin").write_bytes(bytes(20_000_000))
    archive = shutil.make_archive(tmp_path / "model", form, tmp_path / "in")
    with pytest.raises(ValueError, match="far more than its own size"):
        Segmenter.from_pretrained(archive)


@pytest.mark.parametrize("form", ["zip", "gztar"])
def test_a_damaged_archive_is_one_line(exported, tmp_path, form):
    archive = shutil.make_archive(tmp_path / "model", form, exported)
    with open(archive, "r+b") as file:
        file.seek(os.path.getsize(archive) // 2)
        file.write(b"\xff" * 2000)
    with pytest.raises((ValueError, OSError)) as caught:
        Segmenter.from_pretrained(archive)
    assert "\n" not in str(caught.value)


def test_an_archive_writes_no_other_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "evil.py").touch()
    (tmp_path / "in" / "config.yaml").write_text("VERSION: 2")
    archive = shutil.make_archive(tmp_path / "model", "tar", tmp_path / "in")
    with model_folder(archive) as folder:
        assert os.listdir(folder) == ["config.yaml"]
    assert not folder.exists()
