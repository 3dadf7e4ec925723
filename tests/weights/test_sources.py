"""Weight keys take paths, addresses and names; each is downloaded at most once."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ovavss_d2.config import load_config
from ovavss_d2.weights import download
from ovavss_d2.weights.checkpoint import check_weight_files
from ovavss_d2.weights.published import PUBLISHED
from ovavss_d2.weights.sources import WeightSource, fetch_weights, weight_sources
from tests.helpers.file_server import serve
from tests.helpers.paths import REPOSITORY

CONTENT = b"weights" * 1000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(download, "FIRST_WAIT", 0)
    with serve(CONTENT) as running:
        yield running


def test_names_are_downloaded_once_and_announced_before(server, cache, monkeypatch, caplog):
    known = replace(PUBLISHED["vggish"], address=f"{server.address}/vggish.pth", sums={})
    monkeypatch.setitem(PUBLISHED, "vggish", known)
    source = WeightSource("vggish", "MODEL.AUDIO.WEIGHTS")
    assert source.local_file() is None and not server.requests
    with caplog.at_level(logging.WARNING):
        fetch_weights([source])
    assert "MODEL.AUDIO.WEIGHTS vggish: about 289 MB, license Apache-2.0" in caplog.text
    assert source.fetch() == source.local_file() == str(cache / "vggish.pth")
    assert len(server.requests) == 1


def test_a_published_sum_is_checked(server, monkeypatch):
    known = replace(PUBLISHED["mask2former_R50"], address=f"{server.address}/m.pkl")
    monkeypatch.setitem(PUBLISHED, "mask2former_R50", known)
    with pytest.raises(OSError, match="has the md5 sum .*expected 3c8ec9"):
        WeightSource("mask2former_R50", "MODEL.WEIGHTS").fetch()


def test_addresses_are_downloaded(server):
    path = WeightSource(f"{server.address}/a/model.pth", "MODEL.WEIGHTS").fetch()
    assert path.endswith("-model.pth")
    with open(path, "rb") as file:
        assert file.read() == CONTENT


def test_an_existing_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vggish").touch()
    assert WeightSource("vggish", "MODEL.AUDIO.WEIGHTS").local_file() == "vggish"


@pytest.mark.parametrize(
    "source, message",
    [
        (WeightSource("mask2former_swin_bas", "MODEL.WEIGHTS"), "mask2former_swin_base"),
        (WeightSource("model.pth", "MODEL.WEIGHTS"), "no weight file or name 'model.pth' .MODEL"),
        (WeightSource("w/vggish-10086976.pth", "MODEL.AUDIO.WEIGHTS"), "is vggish"),
        (WeightSource("ViT-B-16.pt", "MODEL.CLIP.WEIGHTS", "ViT-B-16"), "is openai"),
        (WeightSource("openia", "MODEL.CLIP.WEIGHTS", "ViT-B-16"), "openai"),
        (WeightSource("file:///etc/passwd", "MODEL.WEIGHTS"), "no weight file"),
    ],
)
def test_unknown_names_are_one_line_with_the_closest_ones(source, message):
    with pytest.raises(FileNotFoundError, match=message) as caught:
        source.fetch()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["R50", "swin"])
def test_the_shipped_configs_need_no_files_by_hand(cache, name):
    sources = weight_sources(load_config(f"{REPOSITORY}/configs/ovavss_{name}.yaml"))
    assert [source.key for source in sources] == [
        "MODEL.WEIGHTS",
        "MODEL.AUDIO.WEIGHTS",
        "MODEL.CLIP.WEIGHTS",
    ]
    assert all(source.is_name() for source in sources)
    assert all("license" in source.describe() for source in sources)


def test_offline_one_line_says_where_to_put_the_file(cache):
    cfg = load_config(f"{REPOSITORY}/configs/ovavss_R50.yaml")
    target = cache / "model_final_3c8ec9.pkl"
    with pytest.raises(OSError, match=f"'{target}' does not exist: download https://dl.fbai"):
        check_weight_files(cfg)


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model.safetensors"):
        WeightSource(str(tmp_path), "MODEL.WEIGHTS").fetch()


CHILD = """
from ovavss_d2.weights.sources import WeightSource
source = WeightSource("openai", "MODEL.CLIP.WEIGHTS", "ViT-B-16-quickgelu")
print(source.fetch()); print(source.fetch() == source.local_file())
"""


def test_tags_of_clip_come_from_the_hub_once(tmp_path):
    with serve(CONTENT) as server:
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": server.address,
            "HF_HOME": str(tmp_path),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-c", CHILD]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        path, same = done.stdout.split()
        assert same == "True" and path.startswith(str(tmp_path))
        with open(path, "rb") as file:
            assert file.read() == CONTENT
        asked = len(server.requests)
        environment["HF_HUB_OFFLINE"] = "1"
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stdout.split() == [path, "True"] and len(server.requests) == asked
