"""The toy data set: AVSBench-semantic's format and the properties of its schedules."""

import csv
import functools
import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from ovavss_d2.data.avsbench import SPLITS
from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.data.split_lists import derived_lists, write_lists
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.dataset import Clip, write_clip, write_dataset
from ovavss_d2.toy.schedule import VIEWS
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES, novel_ids

COUNTS = {"train": 10, "val": 5, "test": 6}
SIZE = (36, 48)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A small toy world, to be read only."""
    root = tmp_path_factory.mktemp("datasets")
    write_dataset(TOY, root, COUNTS, size=SIZE, workers=1)
    return root / "toy"


def clips():
    return [Clip(TOY, 0, split, i) for split in SPLITS for i in range(COUNTS[split])]


def folder_of(toy, clip):
    return toy / "AVSBench-semantic" / clip.subset / clip.uid


def bytes_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sound_of(toy, clip):
    rate, samples = wavfile.read(folder_of(toy, clip) / "audio.wav")
    assert (rate, samples.dtype, samples.ndim) == (16000, np.int16, 1)
    return samples.reshape(clip.seconds, SAMPLE_RATE) / 32768


def test_the_folder_has_avsbench_semantics_format(toy):
    for clip in clips():
        folder = folder_of(toy, clip)
        frames = {f"frames/{i}.jpg" for i in range(clip.seconds)}
        labeled = 1 if clip.split == "train" and clip.subset == "v1s" else clip.seconds
        labels = {f"labels_rgb/{i}.png" for i in range(labeled)}
        assert set(bytes_below(folder)) == frames | labels | {"audio.wav"}
        for name in frames | labels:
            with Image.open(folder / name) as image:
                assert (image.mode, image.size) == ("RGB", SIZE[::-1])
        assert sound_of(toy, clip).shape == (clip.seconds, SAMPLE_RATE)


def test_metadata_label_ids_and_views_are_complete(toy):
    semantic = toy / "AVSBench-semantic"
    with open(semantic / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    assert [row["uid"] for row in rows] == [clip.uid for clip in clips()]
    assert [(row["split"], row["label"]) for row in rows] == [(c.split, c.subset) for c in clips()]
    ids = json.loads((semantic / "label2idx.json").read_text())
    assert ids == {"background": 0} | {name: i for i, name in enumerate(TOY_NAMES, 1)}
    views = json.loads((toy / "views.json").read_text())
    assert views == {clip.uid: clip.view for clip in clips() if clip.split == "test"}
    assert sorted(views.values()) == sorted(VIEWS * 2)


def test_the_code_for_the_real_data_splits_it_without_problems(toy, tmp_path):
    lists = derived_lists(tmp_path, TOY_NAMES, TOY_BASE_IDS)
    report = write_lists(toy / "AVSBench-semantic", lists, TOY_NAMES)
    assert not report.problems
    assert [counts["videos"] for counts in report.files.values()] == list(COUNTS.values())


def test_labels_cover_what_sounds_and_nothing_else(toy):
    for clip in clips():
        with np.load(toy / "visible" / f"{clip.uid}.npz") as file:
            visible = file["ids"]
        assert visible.shape == (clip.seconds, *SIZE)
        audible = set()
        for i, now in enumerate(clip.schedule().sounding[: clip.labeled]):
            path = folder_of(toy, clip) / "labels_rgb" / f"{i}.png"
            truth, unknown = read_labels(path, 1 + len(TOY_NAMES))
            assert unknown == 0
            assert np.array_equal(truth, np.where(np.isin(visible[i], now), visible[i], 0))
            assert set(np.unique(truth)) == {0, *now}
            audible |= set(now)
        assert audible <= {TOY_NAMES.index(n) + 1 for n in clip.metadata()["a_obj"].split("_")}


def test_a_silent_second_is_only_noise(toy):
    for clip in clips():
        loudness = np.sqrt((sound_of(toy, clip) ** 2).mean(1))
        for level, audible in zip(loudness, clip.schedule().audible(), strict=True):
            assert (0.07 < level < 0.25) if audible else (0.004 < level < 0.012)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_clip(Clip(TOY, seed, "train", 1), folder=tmp_path / name, size=SIZE)
    one, two, other = (bytes_below(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if not name.endswith(".png"))


def test_an_interrupted_run_resumes_and_keeps_finished_clips(tmp_path):
    counts = {"train": 2, "val": 1, "test": 1}
    write_dataset(TOY, tmp_path, counts, size=SIZE, workers=1)
    toy = tmp_path / "toy"
    whole = bytes_below(toy)
    lost, kept = Clip(TOY, 0, "train", 0), Clip(TOY, 0, "train", 1)
    hidden = folder_of(toy, lost).with_name(".0123456789abcdef.partial")
    folder_of(toy, lost).rename(hidden)
    (hidden / "stray").write_text("half-written")
    (toy / "AVSBench-semantic" / "metadata.csv").unlink()
    mark = folder_of(toy, kept) / "mark"
    mark.write_text("not written anew")
    write_dataset(TOY, tmp_path, counts, size=SIZE, workers=2)  # other processes, as in another run
    assert mark.exists()
    mark.unlink()
    assert bytes_below(toy) == whole


def test_two_worlds_are_never_mixed(toy):
    with pytest.raises(ValueError, match="'seed': 0.*'seed': 1.*remove it or give another --root"):
        write_dataset(TOY, toy.parent, COUNTS, seed=1, size=SIZE)


@functools.cache
def schedules(split, count=600):
    return [(clip, clip.schedule()) for clip in (Clip(TOY, 5, split, i) for i in range(count))]


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_and_validation_have_no_novel_class(split):
    for _, schedule in schedules(split):
        audible = {i for now in schedule.audible() for i in now}
        assert {*schedule.visible, *audible} <= set(TOY_BASE_IDS)


def test_every_base_class_is_sounding_and_silent_in_training():
    sounding, silent = set(), set()
    for _, schedule in schedules("train"):
        for now in schedule.sounding:
            sounding |= set(now)
            silent |= set(schedule.visible) - set(now)
    assert sounding == silent == set(TOY_BASE_IDS)


def test_the_three_views_differ_in_novel_classes():
    base, novel = set(TOY_BASE_IDS), set(novel_ids(TOY_NAMES, TOY_BASE_IDS))
    for clip, schedule in schedules("test"):
        visible, audible = set(schedule.visible), {i for now in schedule.audible() for i in now}
        if clip.view == "base":
            assert visible | audible <= base
        if clip.view == "novel_silent":
            assert visible & novel and audible <= base and visible - audible - novel
        if clip.view == "novel_sounding":
            assert {i for now in schedule.sounding for i in now} & novel


def test_shares_of_sounding_objects_silence_and_two_sounds():
    seconds = objects = sounding = silent = outside = two = 0
    for clip, schedule in schedules("train", 2000):
        seconds += clip.seconds
        objects += clip.seconds * len(schedule.visible)
        sounding += sum(map(len, schedule.sounding))
        silent += sum(not audible for audible in schedule.audible())
        outside += sum(map(bool, schedule.off_screen))
        two += sum(len(now) == 2 for now in schedule.sounding)
    assert sounding / objects == pytest.approx(0.29, abs=0.02)
    assert silent / seconds == pytest.approx(0.25, abs=0.01)
    assert outside / seconds == pytest.approx(0.12, abs=0.01)
    assert 0.1 < two / seconds < 0.3


def test_sounding_objects_change_in_most_clips_and_one_sounds_in_the_only_labeled_frame():
    changing = [len(set(schedule.sounding)) > 1 for _, schedule in schedules("train")]
    assert np.mean(changing) > 0.95
    v1s = [schedule for clip, schedule in schedules("train") if clip.subset == "v1s"]
    assert v1s and all(schedule.sounding[0] for schedule in v1s)


def test_most_scenes_have_a_silent_look_alike_and_two_sounds_are_never_ambiguous():
    look_alikes = []
    for _, schedule in schedules("train"):
        visible = {divmod(i - 1, 5) for i in schedule.visible}  # (color, shape)
        assert len(visible) == len(schedule.visible) in (2, 3, 4)
        for now in filter(None, schedule.sounding):
            sounding = [divmod(i - 1, 5) for i in now]
            silent = visible - set(sounding)
            look_alikes.append(any(a == c or b == d for a, b in sounding for c, d in silent))
            if len(now) == 2:
                (color, shape), (other_color, other_shape) = sounding
                assert color != other_color and shape != other_shape
                assert not visible & {(color, other_shape), (other_color, shape)}
    assert np.mean(look_alikes) > 0.6
