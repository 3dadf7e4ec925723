"""Previews of data sets: frames, ground truth and audio are drawn where they belong."""

import time

import numpy as np
import pytest
from PIL import Image

from ovavss_d2.evaluation.previews import (
    CELL,
    SPECTROGRAM_HEIGHT,
    TIMES_HEIGHT,
    WIDTH,
    Preview,
    draw_preview,
    draw_spectrogram,
)
from ovavss_d2.vocabulary import voc_palette
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script

DATASET = "avsbench_derived_train_base"


@pytest.fixture
def browse(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(prepared))
    script = load_script("datasets/browse.py")

    def run(*arguments):
        script.main([*arguments, "--output", str(tmp_path / "out")])
        return sorted((tmp_path / "out").rglob("*"))[1:]

    return run


def draw(**changes):
    preview = {
        "caption": "a video",
        "faults": (),
        "frames": [np.full((24, 32, 3), 90, np.uint8)] * 4,
        "ids": [np.ones((24, 32), np.uint8), np.zeros((24, 32), np.uint8), None, None],
        "audio": np.zeros(64000, np.float32),
        "times": [0.0, 1.0, 2.0, 3.0],
    }
    return draw_preview(Preview(**(preview | changes)), voc_palette(5))


@pytest.mark.parametrize("hertz", [1000, 4000, 7000])
def test_a_tone_is_a_line_at_its_frequency_and_time(hertz):
    audio = np.zeros(32000, np.float32)
    audio[16000:] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
    picture = draw_spectrogram(audio, 4.0, 80, 200).astype(int).sum(axis=2)
    assert abs(picture[:, 75].argmax() - 80 * (1 - hertz / 8000)) <= 2
    loud = picture.max(axis=0) > 300
    assert loud[52:98].all() and not loud[:48].any() and not loud[102:].any()


def test_the_spectrogram_of_a_day_takes_little_time():
    start = time.process_time()
    picture = draw_spectrogram(np.ones(32000, np.float32), 86400.0, 80, 200)
    assert picture.shape == (80, 200, 3) and time.process_time() - start < 10


def test_frames_are_above_the_audio_at_their_times():
    picture = draw()
    assert picture.shape[1] == WIDTH
    lines = (picture[-TIMES_HEIGHT - SPECTROGRAM_HEIGHT // 2] == (0, 158, 115)).all(axis=1)
    assert np.flatnonzero(lines).tolist() == [i * CELL[1] for i in range(4)]
    top = len(picture) - TIMES_HEIGHT - SPECTROGRAM_HEIGHT - CELL[0]
    frames = [picture[top + 40, i * CELL[1] + 60].tolist() for i in range(4)]
    assert frames[0] != frames[1] == frames[2] == frames[3] == [90, 90, 90]
    bottom = [picture[top + 90, i * CELL[1] + 110].tolist() for i in range(4)]
    assert bottom[1] == [90, 90, 90] and bottom[2] == [255, 255, 255]  # "no ground truth"


def test_long_videos_have_evenly_spaced_frames_and_faults_an_extra_line():
    frames = [np.full((24, 32, 3), i, np.uint8) for i in range(25)]
    long = draw(frames=frames, ids=[None] * 25, times=[float(i) for i in range(25)])
    assert long.shape == draw().shape
    top = len(long) - TIMES_HEIGHT - SPECTROGRAM_HEIGHT - CELL[0]
    assert long[top + 40, 60 :: CELL[1], 0].tolist() == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert len(draw(faults=("no audio file",))) > len(draw())


def test_pages_of_videos_and_of_training_clips(browse):
    (page,) = browse(DATASET)
    with Image.open(page) as image:
        assert image.width == WIDTH and image.height > 3 * CELL[0]
    config = str(REPOSITORY / "configs/ovavss_toy.yaml")
    assert browse(DATASET, "--id", "two", "--config-file", config) == [page]
    with Image.open(page) as image:
        assert image.height < 3 * CELL[0]


def test_only_videos_with_faults(browse, capsys):
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
    error = capsys.readouterr().err
    assert end.value.code == 1 and error.count("\n") == 1 and words in error
    assert not (tmp_path / "out").exists()
