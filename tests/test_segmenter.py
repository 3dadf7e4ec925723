"""The segmenter: files and arrays, the evaluation's label maps, typed results, one-line errors."""

import json

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from ovavss_d2 import segmenter as module
from ovavss_d2.data.augmentation import build_augmentation
from ovavss_d2.data.folder import load_folder
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_pairing import AudioContext, context_at_times
from ovavss_d2.media.source import open_source
from ovavss_d2.segmenter import FrameResult, Segmenter
from tests.helpers.clips import NAMES
from tests.helpers.small import small_config
from tests.helpers.stub_model import (
    VOCABULARY,
    StubModel,
    make_audio,
    make_frames,
    write_config,
    write_video,
)
from tests.helpers.tiny_clip import write_architecture

LOUD = (1, 0, 0, 1)


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
    config = write_config(tmp_path)
    return lambda **options: Segmenter.from_config_file(config, **options)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    cfg = small_config()
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(tmp_path_factory.mktemp("clip"))
    cfg.MODEL.CLASSIFIER.VOCABULARY = NAMES
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = NAMES[:2]
    cfg.DATASETS.TRAIN = ("toy_ov_train_base",)
    cfg.TEST.SCORE_THRESHOLD = 1e-9  # the scores of random weights are low
    cfg.INPUT.MIN_SIZE_TEST = 48
    torch.manual_seed(0)
    return cfg, build_model(cfg).eval()


@pytest.mark.parametrize("pairing", ["time", "released"])
@pytest.mark.parametrize("length", [3, 5, 7, 11])
def test_label_maps_are_those_of_the_evaluation(small_model, tmp_path, wav, pairing, length):
    cfg, model = small_model
    cfg.MODEL.AUDIO.PAIRING = pairing
    rng = np.random.default_rng(length)
    video = tmp_path / "video"
    (video / "frames").mkdir(parents=True)
    for i in range(length):
        image = rng.integers(0, 255, (32, 40, 3), np.uint8)
        Image.fromarray(image).save(video / "frames" / f"{i}.png")
    loudness = np.repeat(rng.permutation(length) > 0, 16000)  # one frame is silent
    samples = rng.normal(0, 3000, (16000 * length, 2)) * loudness[:, None]
    wav(video / "audio.wav", samples[: -4000 * (length % 2)].astype(np.int16))

    (record,) = load_folder(tmp_path, NAMES, frames_per_second=1, training=False)
    clip = AVSClipMapper(cfg, is_train=False, records=[record])(record)
    scored = model([clip])[0]["label_map"].numpy()
    segmenter = Segmenter(
        model=model,
        resize=build_augmentation(cfg, is_train=False),
        window=cfg.INPUT.SAMPLING_FRAME_NUM,
        pairing=pairing,
    )
    results = list(segmenter(video))
    assert scored.any()
    np.testing.assert_array_equal(np.stack([result.label_map for result in results]), scored)
    for result in results:
        pixels = sum(segment.mask.astype(int) for segment in result.segments)
        np.testing.assert_array_equal(pixels, result.label_map > 0)


def test_a_video_file_gives_the_sounding_objects_of_each_frame(build, tmp_path):
    results = list(build()(write_video(tmp_path / "v.mp4", LOUD)))
    assert [type(result) for result in results] == [FrameResult] * 4
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert [result.time for result in results] == [0, 1, 2, 3]
    assert [bool(result.segments) for result in results] == [bool(loud) for loud in LOUD]
    first = results[0]
    assert first.scores() == {"red circle": 0.9, "blue square": 0.6}
    assert first.image.shape == (64, 96, 3) and first.image.dtype == np.uint8
    assert first.names == VOCABULARY
    assert (first.label_map[:, :48] == 1).all() and (first.label_map[20:, 48:] == 0).all()


def test_arrays_give_the_results_of_the_file(build, tmp_path):
    segmenter = build()
    from_file = list(segmenter(write_video(tmp_path / "v.mp4", LOUD), fps=2))
    frames = make_frames(4, 10)[::5]
    times = np.arange(8) / 2
    stereo = np.stack([make_audio(LOUD)] * 2, axis=1)
    from_arrays = list(segmenter(frames, times=times, audio=stereo, sample_rate=16000))
    assert [r.time for r in from_arrays] == [r.time for r in from_file]
    for one, other in zip(from_file, from_arrays, strict=True):
        np.testing.assert_array_equal(one.label_map, other.label_map)


def test_results_are_computed_window_by_window_as_they_are_read(build):
    segmenter = build()
    results = segmenter(make_frames(7, 1))
    next(results)
    assert len(segmenter.model.clips) == 1
    assert [result.index for result in results] == [1, 2, 3, 4, 5, 6]
    times = [clip["times"] for clip in segmenter.model.clips]
    assert times == [[0, 1, 2], [3, 4, 5], [4, 5, 6]]
    assert [clip["image"].shape[1:] for clip in segmenter.model.clips] == [(3, 48, 72)] * 3


def test_silence_and_missing_audio_paint_nothing(build, tmp_path, caplog):
    segmenter = build()
    mute = write_video(tmp_path / "mute.mp4", (1, 1), has_audio=False)
    for video in (make_frames(2, 1), mute):
        assert not any(result.segments for result in segmenter(video))
    assert caplog.messages == [f"'{mute}' has no sound: it is treated as silence."]


def test_vocabulary_and_threshold_are_set(build):
    segmenter = build(vocabulary="cat, dog", threshold=0.7)

    def scores():
        (result,) = segmenter(make_frames(1, 1), audio=make_audio([1]), sample_rate=16000)
        return result.scores()

    assert segmenter.names == ("cat", "dog") and scores() == {"cat": 0.9}
    segmenter.set_vocabulary(["drum|bongo"])
    segmenter.set_threshold(0.95)
    assert segmenter.names == ("drum|bongo",) and scores() == {}
    segmenter.set_threshold(0.5)
    assert segmenter.threshold == 0.5 and scores() == {"drum": 0.9}
    with pytest.raises(ValueError, match="the threshold is 2"):
        segmenter.set_threshold(2)


def test_background_names_are_added_to_those_of_the_config(build, monkeypatch):
    found = []
    monkeypatch.setattr(module, "build_model", lambda cfg: found.append(cfg) or StubModel(cfg))
    build(background="crowd, music")
    assert found[0].MODEL.CLASSIFIER.BACKGROUND_NAMES[-2:] == ["crowd", "music"]
    assert "sky" in found[0].MODEL.CLASSIFIER.BACKGROUND_NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": [0.0]}, "1 times for 2 frames"),
        ({"audio": np.zeros(9)}, "sample_rate is None"),
        ({"audio": np.zeros(9), "sample_rate": 2**31 - 23}, "sample_rate is 2147483625"),
        ({"audio": np.zeros(9, int), "sample_rate": 8000}, "audio is int64"),
    ],
)
def test_wrong_arguments_give_an_error(build, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        build()(make_frames(2, 1), **options)
    with pytest.raises(ValueError, match="expected uint8"):
        build()(np.zeros((2, 3, 4)))
    video = write_video(tmp_path / "v.mp4", (1,))
    for fps in (0, -1, 1e-9, 1e9, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"fps is {fps}, expected 0.001 to 1000"):
            build()(video, fps=fps)
        with pytest.raises(ValueError, match=f"fps is {fps}, expected 0.001 to 1000"):
            build().write(video, tmp_path / "out", fps=fps)
    assert not (tmp_path / "out").exists()
    for times in ([1.0, 0.0], [0.0, np.inf], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="not ascending seconds"):
            build()(make_frames(2, 1), times=times)


@pytest.mark.parametrize("rate", [4, 25])
def test_above_its_rate_each_frame_of_a_video_is_segmented_once(build, tmp_path, caplog, rate):
    video = write_video(tmp_path / "v.mp4", (1, 0), rate=rate)
    results = list(build()(video, fps=rate * 6.25))
    assert [result.time for result in results] == pytest.approx(np.arange(2 * rate) / rate)
    assert caplog.messages == [
        f"'{video}' has {rate} frames per second: {rate} are segmented, not {rate * 6.25:.4g}."
    ]
    build().write(video, tmp_path / "out", fps=999.0, outputs=["json"])
    content = json.loads((tmp_path / "out" / "v.json").read_text())
    assert content["info"]["fps"] == rate and content["videos"][0]["length"] == 2 * rate
    assert [(span["start"], span["end"]) for span in content["sounding"]] == [(0, 1)] * 2


def test_frames_of_several_seconds_are_segmented_at_most_once_a_second(build, tmp_path):
    for i in range(2):
        Image.fromarray(make_frames(1, 1)[0]).save(tmp_path / f"{i}.png")
    slides = open_source(tmp_path, image_rate=0.5)
    for fps in (1.0, 30.0):
        assert [result.time for result in build()(slides, fps=fps)] == [0, 1, 2, 3]


def test_an_audio_classifier_gets_the_context_that_the_evaluation_gives(build, tmp_path, wav):
    segmenter = build(opts=["MODEL.AUDIO_CLASSIFIER.NAME", "CLAP"])
    assert segmenter.context == AudioContext(48000, 4.0)
    samples = np.random.default_rng(0).normal(0, 3000, 4 * 44100).astype(np.int16)
    wav(tmp_path / "a.wav", samples, 44100)
    frames = make_frames(4, 1)
    list(segmenter(frames, audio=samples, sample_rate=44100))
    whole = read_audio(tmp_path / "a.wav", 48000)
    expected = context_at_times(whole, range(4), segmenter.context)
    found = segmenter.model.clips[0]["audio_context"]
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-5)
