"""Contact sheets show the frames, their truth and their sound where they belong."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from ovavss_d2.data.preview import CELL, SOUND_HEIGHT, WIDTH, Glance, spectrogram, strip
from ovavss_d2.media.drawing import paint_ids
from ovavss_d2.vocabulary import voc_palette
from tests.helpers.paths import REPOSITORY

DATASET = "avsbench_derived_train_base"


@pytest.fixture
def browse(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(prepared))
    spec = importlib.util.spec_from_file_location("browse", REPOSITORY / "datasets/browse.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(*arguments):
        script.main([*arguments, "--output", str(tmp_path / "out")])
        return sorted((tmp_path / "out").rglob("*"))[1:]

    return run


def glance(**changes):
    parts = {
        "caption": "a video",
        "faults": (),
        "frames": [np.full((24, 32, 3), 90, np.uint8)] * 4,
        "ids": [np.ones((24, 32), np.uint8), np.zeros((24, 32), np.uint8), None, None],
        "audio": np.zeros(64000, np.float32),
        "times": [0.0, 1.0, 2.0, 3.0],
    }
    return Glance(**(parts | changes))


@pytest.mark.parametrize("hertz", [1000, 4000, 7000])
def test_a_tone_is_a_line_at_its_height_and_time(hertz):
    audio = np.zeros(32000, np.float32)
    audio[16000:] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
    picture = spectrogram(audio, 4.0, (80, 200)).astype(int).sum(axis=2)
    assert abs(picture[:, 75].argmax() - 80 * (1 - hertz / 8000)) <= 2
    loud = picture.max(axis=0) > 300
    assert loud[52:98].all() and not loud[:48].any() and not loud[102:].any()


def test_frames_stand_over_the_sound_at_their_times():
    picture = strip(glance(), voc_palette(5))
    assert picture.shape[1] == WIDTH
    lines = (picture[-16 - SOUND_HEIGHT // 2] == (0, 158, 115)).all(axis=1)
    assert np.flatnonzero(lines).tolist() == [i * CELL[1] for i in range(4)]
    top = picture.shape[0] - 16 - SOUND_HEIGHT - CELL[0]
    frames = [picture[top + 40, i * CELL[1] + 60].tolist() for i in range(4)]
    assert frames[0] != frames[1] == frames[2] == frames[3] == [90, 90, 90]
    foot = [picture[top + 90, i * CELL[1] + 100].tolist() for i in range(4)]
    assert foot[1] == [90, 90, 90] and foot[2] == [255, 255, 255]  # where "no truth" is written


def test_long_videos_show_evenly_spaced_frames_and_faults_take_a_line():
    frames = [np.full((24, 32, 3), i, np.uint8) for i in range(25)]
    long = glance(frames=frames, ids=[None] * 25, times=[float(i) for i in range(25)])
    assert strip(long, voc_palette(5)).shape[1] == WIDTH
    faulty = strip(glance(faults=("no sound file",)), voc_palette(5))
    assert faulty.shape[0] > strip(glance(), voc_palette(5)).shape[0]


def test_paint_leaves_background_alone():
    frame = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    ids = np.zeros((20, 30), np.uint8)
    ids[5:15, 5:20] = 3
    painted = paint_ids(frame, ids, voc_palette(5))
    assert (painted[ids == 0] == frame[ids == 0]).all()
    assert (painted[7:13, 7:18] != frame[7:13, 7:18]).any(axis=2).all()


def test_pages_of_videos_and_of_training_clips(browse):
    (page,) = browse(DATASET)
    with Image.open(page) as image:
        assert image.width == WIDTH and image.height > 3 * CELL[0]
    config = str(REPOSITORY / "configs/ovavss_toy.yaml")
    assert browse(DATASET, "--id", "two", "--config-file", config) == [page]
    with Image.open(page) as image:
        assert image.height < 3 * CELL[0]


def test_only_videos_that_look_wrong(browse, capsys):
    (page,) = browse(DATASET, "--faults")  # in "two" a cat is drawn but not named
    with Image.open(page) as image:
        assert image.height < 3 * CELL[0]
    assert "1 pages in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["no_such_set"], "no data set 'no_such_set'"),
        ([DATASET, "--id", "nobody"], "no video 'nobody'"),
        (["toy_ov_test_all"], "prepare_toy.py"),
    ],
)
def test_mistakes_are_one_line(browse, capsys, tmp_path, arguments, words):
    with pytest.raises(SystemExit) as end:
        browse(*arguments)
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.count("\n") == 1 and words in said
    assert not (tmp_path / "out").exists()
