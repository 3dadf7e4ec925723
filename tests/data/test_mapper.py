"""Records become clips: frames, audio, ground truth; errors name the file or the video."""

import copy

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.mapper import (
    AVSClipMapper,
    build_test_loader,
    build_train_loader,
    select_test_audio,
)
from ovavss_d2.vocabulary import AVSBENCH_NAMES


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    cfg.INPUT.MIN_SIZE_TEST = 36
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.DATASETS.TRAIN = ("avsbench_derived_train_base",)
    cfg.SOLVER.IMS_PER_BATCH = 3
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


@pytest.fixture
def datasets(prepared, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(prepared))


@pytest.fixture
def train(datasets):
    return {r["video_id"]: r for r in DatasetCatalog.get("avsbench_derived_train_base")}


@pytest.fixture
def test(datasets):
    return DatasetCatalog.get("avsbench_derived_test_all")


def train_clip(cfg, record, seed=0):
    np.random.seed(seed)
    return AVSClipMapper(cfg, is_train=True)(record)


def test_a_training_clip_has_the_inputs_of_the_model(cfg, tree, train):
    clip = train_clip(cfg, train["two"])
    assert clip["image"].shape == (5, 3, 48, 64) and clip["image"].dtype == torch.uint8
    assert clip["audio"].shape == (5, 16000) and clip["audio"].dtype == torch.float32
    assert clip["audio_valid"].tolist() == clip["labeled"].tolist() == [True] * 5
    assert clip["times"] == [0, 1, 2, 3, 4]
    assert (clip["height"], clip["width"], clip["subset"]) == (24, 32, "v1m")
    assert len(clip["instances"]) == 5
    for i, frame in enumerate(clip["instances"]):
        assert frame.image_size == (48, 64)
        assert frame.gt_classes.tolist() == [AVSBENCH_NAMES.index(n) for n in ("dog", "man")]
        labels = tree.labels(i, ["dog", "man"])
        truth = Image.fromarray(labels.astype(np.uint8)).resize((64, 48), Image.NEAREST)
        for mask, label in zip(frame.gt_masks.tensor, frame.gt_classes + 1, strict=True):
            assert (mask.numpy() == (np.asarray(truth) == int(label))).all()


@pytest.mark.parametrize("frames", [1, 3, 5, 10])
@pytest.mark.parametrize("video", ["half", "two", "long"])
def test_clips_of_any_length_are_sorted_and_repeat_only_in_short_videos(cfg, train, video, frames):
    cfg.INPUT.SAMPLING_FRAME_NUM = frames
    length = len(train[video]["file_names"])
    for seed in range(8):
        clip = train_clip(cfg, train[video], seed)
        assert len(clip["times"]) == len(clip["image"]) == len(clip["instances"]) == frames
        assert clip["times"] == sorted(clip["times"])
        assert len(set(clip["times"])) == min(frames, length)
        assert clip["labeled"].any()
        labeled = [file is not None for file in clip["label_files"]]
        assert clip["labeled"].tolist() == labeled


def test_frames_are_sampled_near_each_other_in_the_whole_video(cfg, train):
    cfg.INPUT.SAMPLING_FRAME_NUM, cfg.INPUT.SAMPLING_FRAME_RANGE = 2, 2
    seen = set()
    for seed in range(60):
        times = train_clip(cfg, train["long"], seed)["times"]
        assert 0 < times[1] - times[0] <= 2
        seen.update(times)
    assert seen == set(range(10))


def test_objects_are_in_all_frames_and_hidden_ones_in_none(cfg, train):
    record = copy.deepcopy(train["two"])
    record["annotations"][0]["segmentations"][2] = None
    record["annotations"][1]["segmentations"] = [None] * 5
    clip = train_clip(cfg, record)
    ids = record["annotations"][0]["id"]
    assert [frame.gt_ids.tolist() for frame in clip["instances"]] == [[ids]] * 5
    seen = [frame.gt_masks.tensor.any().item() for frame in clip["instances"]]
    assert seen == [True, True, False, True, True]
    (frame, *_) = train_clip(cfg, record | {"annotations": [], "names": []})["instances"]
    assert frame.gt_masks.tensor.shape == (0, 48, 64) and frame.gt_classes.dtype == torch.int64


def test_the_same_seed_gives_the_same_clip(cfg, train):
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.COLOR_AUG = (24, 36, 48), True
    a, b = (train_clip(cfg, train["long"], 3) for _ in range(2))
    assert a["clip_seed"] == b["clip_seed"] and (a["image"] == b["image"]).all()
    others = {train_clip(cfg, train["long"], seed)["clip_seed"] for seed in range(9)}
    assert len(others) > 5


def test_a_test_clip_is_the_whole_video(cfg, test):
    for record in test:
        clip = AVSClipMapper(cfg, is_train=False, records=test)(record)
        assert len(clip["image"]) == len(record["file_names"])
        assert clip["image"].shape[2:] == (36, 48)
        assert clip["label_files"] == record["label_files"]
        assert "instances" not in clip


def test_frames_of_another_size_are_resized(cfg, test, tmp_path):
    record = copy.deepcopy(test[0])
    Image.new("RGB", (64, 50)).save(tmp_path / "x.jpg")
    record["file_names"][1] = str(tmp_path / "x.jpg")
    assert AVSClipMapper(cfg, is_train=False, records=test)(record)["image"].shape[2:] == (36, 48)


def test_frames_are_paired_with_the_second_at_their_time(cfg, train, wav, tmp_path):
    samples = np.zeros(160000)
    samples[int(3.2 * 16000)] = 16384
    wav(tmp_path / "click.wav", samples)
    record = train["long"] | {"audio_file": str(tmp_path / "click.wav")}
    for seed in range(5):
        clip = train_clip(cfg, record, seed)
        assert clip["audio"].abs().amax(1).tolist() == [0.5 * (t == 3) for t in clip["times"]]
    clip = train_clip(cfg, record | {"audio_file": None})
    assert not clip["audio"].any() and clip["audio_valid"].all()


def test_no_object_sounds_in_frames_with_swapped_audio(cfg, train):
    cfg.INPUT.SWAPPED_AUDIO = 1.0
    records = [train["two"], {**train["two"], "video_id": "other", "names": ["cat"]}]
    mapper = AVSClipMapper(cfg, is_train=True, records=records)
    clips = [mapper({**train["two"], "audio_file": None}) for _ in range(30)]
    swapped = torch.stack([clip["audio"].any(dim=1) for clip in clips])  # its own is silence
    seen = [[bool(f.gt_masks.tensor.any()) for f in clip["instances"]] for clip in clips]
    assert not (torch.tensor(seen) & swapped).any()
    assert torch.stack([clip["labeled"] for clip in clips])[swapped].all()
    everywhere = swapped.all(dim=1)
    assert everywhere.any() and not everywhere.all()
    assert torch.tensor(seen)[~everywhere].any()


def test_a_clip_keeps_its_audio_if_no_other_video_fits(cfg, train):
    cfg.INPUT.SWAPPED_AUDIO = 1.0
    mapper = AVSClipMapper(cfg, is_train=True, records=[train["two"]])
    assert len(mapper(train["two"])["instances"][0]) > 0


def test_silence_and_other_audio_at_test_time(cfg, test):
    audio = {}
    for cfg.TEST.AUDIO in ("own", "silence", "other"):
        mapper = AVSClipMapper(cfg, is_train=False, records=test)
        audio[cfg.TEST.AUDIO] = [mapper(record)["audio"] for record in test]
    assert not any(seconds.any() for seconds in audio["silence"])
    for other, own in zip(audio["other"], (*audio["own"][1:], audio["own"][0]), strict=True):
        length = min(len(other), len(own))
        assert own.any() and (other[:length] == own[:length]).all()


def test_the_other_audio_shares_no_name():
    records = [
        {"video_id": i, "names": names.split(), "audio_file": f"{i}.wav"}
        for i, names in enumerate(["dog", "dog cat", "cat", "", "dog"])
    ]
    records[2]["audio_file"] = None
    assert select_test_audio(records, "other") == dict(
        enumerate(["3.wav", "3.wav", "3.wav", "4.wav", "3.wav"])
    )
    with pytest.raises(ValueError, match="shares a name with '0'"):
        select_test_audio(records[:2], "other")


@pytest.mark.parametrize("key", ["MODEL.AUDIO.PAIRING", "TEST.AUDIO"])
def test_an_unknown_choice_names_the_key(cfg, test, key):
    cfg.merge_from_list([key, "loud"])
    with pytest.raises(ValueError, match=f"{key} is 'loud', expected one of"):
        AVSClipMapper(cfg, is_train=False, records=test)


def test_a_missing_file_and_an_invalid_mask_give_an_error(cfg, test, train):
    mapper = AVSClipMapper(cfg, is_train=False, records=test)
    with pytest.raises(FileNotFoundError, match="gone.jpg': no such image"):
        mapper(test[0] | {"file_names": ["gone.jpg"] * 10})
    with pytest.raises(FileNotFoundError, match="gone.wav"):
        mapper(test[0] | {"audio_file": "gone.wav"})
    record = copy.deepcopy(train["two"])
    record["annotations"][0]["segmentations"] = [{"size": [4, 4], "counts": "0"}] * 5
    with pytest.raises(ValueError, match="video 'two', annotation") as error:
        train_clip(cfg, record)
    assert "\n" not in str(error.value)


def test_a_training_video_without_labels_is_an_error(cfg, train):
    with pytest.raises(ValueError, match="'half' has no labeled frame"):
        train_clip(cfg, train["half"] | {"label_files": [None] * 5})


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_make_batches(cfg, datasets, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    batch = next(iter(build_train_loader(cfg)))
    assert len(batch) == 3 and all("instances" in clip for clip in batch)
    videos = [clip["video_id"] for (clip,) in build_test_loader(cfg, "avsbench_derived_test_all")]
    assert sorted(videos) == ["test_base", "test_mixed", "test_novel"]


def test_an_audio_classifier_gets_the_audio_around_the_frames_at_test_time(cfg, test, train):
    cfg.MODEL.AUDIO_CLASSIFIER.NAME = "CLAP"
    record = next(r for r in test if r["audio_file"])
    clip = AVSClipMapper(cfg, is_train=False)(record)
    assert clip["audio_context"].shape == (len(clip["times"]), 4 * 48000)
    cfg.MODEL.AUDIO_CLASSIFIER.SAMPLE_RATE, cfg.MODEL.AUDIO_CLASSIFIER.CONTEXT = 16000, 1.0
    second = AVSClipMapper(cfg, is_train=False)(record)
    assert torch.equal(second["audio_context"], second["audio"])
    assert "audio_context" not in train_clip(cfg, train["two"])
