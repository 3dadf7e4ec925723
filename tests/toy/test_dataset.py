"""The toy data set: AVSBench-semantic's form, and what it promises about itself."""

import csv
import json
import wave

import numpy as np
import pytest
from PIL import Image

from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.data.split_lists import write_derived_lists
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.dataset import SECONDS, SPLITS, ToyClip, write_clip, write_toy
from ovavss_d2.toy.schedule import BASE_IDS, NOVEL_IDS, VIEWS
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES

COUNTS = {"train": 10, "val": 5, "test": 6}
SIZE = (36, 48)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A small toy world, to be read only."""
    root = tmp_path_factory.mktemp("datasets")
    write_toy(root, COUNTS, size=SIZE, workers=1)
    return root / "toy"


def clips():
    return [ToyClip(0, split, i) for split in SPLITS for i in range(COUNTS[split])]


def folder_of(home, clip):
    return home / "AVSBench-semantic" / clip.subset / clip.uid


def bytes_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sound_of(home, clip):
    with wave.open(str(folder_of(home, clip) / "audio.wav")) as file:
        assert file.getparams()[:3] == (1, 2, 16000)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.reshape(clip.seconds, SAMPLE_RATE) / 32768


def test_the_tree_has_exactly_avsbench_semantics_form(home):
    for clip in clips():
        folder = folder_of(home, clip)
        frames = {f"frames/{i}.jpg" for i in range(clip.seconds)}
        labeled = 1 if clip.split == "train" and clip.subset == "v1s" else clip.seconds
        labels = {f"labels_rgb/{i}.png" for i in range(labeled)}
        assert set(bytes_below(folder)) == frames | labels | {"audio.wav"}
        for name in frames | labels:
            with Image.open(folder / name) as image:
                assert (image.mode, image.size) == ("RGB", SIZE[::-1])
        assert sound_of(home, clip).shape == (SECONDS[clip.subset], SAMPLE_RATE)


def test_metadata_and_label_ids_are_avsbench_semantics(home):
    semantic = home / "AVSBench-semantic"
    with open(semantic / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    assert [row["uid"] for row in rows] == [clip.uid for clip in clips()]
    assert [(row["split"], row["label"]) for row in rows] == [(c.split, c.subset) for c in clips()]
    ids = json.loads((semantic / "label2idx.json").read_text())
    assert ids == {"background": 0} | {name: i for i, name in enumerate(TOY_NAMES, 1)}
    assert len({row["label"] for row in rows}) == 3


def test_the_code_for_the_real_data_splits_it_without_a_complaint(home, tmp_path):
    report = write_derived_lists(
        home / "AVSBench-semantic", tmp_path, TOY_NAMES, TOY_BASE_IDS, workers=0
    )
    assert not report.problems
    assert [counts["videos"] for counts in report.files.values()] == list(COUNTS.values())


def test_labels_cover_what_sounds_and_nothing_else(home):
    for clip in clips():
        with np.load(home / "visible" / f"{clip.uid}.npz") as file:
            visible = file["ids"]
        assert visible.shape == (clip.seconds, *SIZE)
        heard = set()
        for i, now in enumerate(clip.cast().sounding[: clip.labeled]):
            path = folder_of(home, clip) / "labels_rgb" / f"{i}.png"
            truth, unknown = read_labels(path, 1 + len(TOY_NAMES))
            assert unknown == 0
            assert np.array_equal(truth, np.where(np.isin(visible[i], now), visible[i], 0))
            assert set(np.unique(truth)) == {0, *now}
            heard |= set(now)
        assert heard <= {TOY_NAMES.index(n) + 1 for n in clip.metadata()["a_obj"].split("_")}


def test_a_silent_second_holds_noise_alone(home):
    for clip in clips():
        loudness = np.sqrt((sound_of(home, clip) ** 2).mean(1))
        for level, heard in zip(loudness, clip.cast().heard(), strict=True):
            assert (0.07 < level < 0.25) if heard else (0.004 < level < 0.012)


def test_the_views_of_the_test_videos_are_listed(home):
    views = json.loads((home / "views.json").read_text())
    assert views == {clip.uid: clip.view for clip in clips() if clip.split == "test"}
    assert sorted(views.values()) == sorted(VIEWS * 2)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path):
    for place, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_clip(ToyClip(seed, "train", 1), home=tmp_path / place, size=SIZE)
    one, two, other = (bytes_below(tmp_path / place) for place in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if not name.endswith(".png"))


def test_an_interrupted_run_goes_on_and_keeps_what_is_finished(tmp_path):
    counts = {"train": 2, "val": 1, "test": 1}
    write_toy(tmp_path, counts, size=SIZE, workers=1)
    home = tmp_path / "toy"
    whole = bytes_below(home)
    lost, kept = ToyClip(0, "train", 0), ToyClip(0, "train", 1)
    folder_of(home, lost).rename(folder_of(home, lost).with_name(f"{lost.uid}.part"))
    (folder_of(home, lost).with_name(f"{lost.uid}.part") / "stray").write_text("half-written")
    (home / "AVSBench-semantic" / "metadata.csv").unlink()
    mark = folder_of(home, kept) / "mark"
    mark.write_text("not written anew")
    write_toy(tmp_path, counts, size=SIZE, workers=1)
    assert mark.exists()
    mark.unlink()
    assert bytes_below(home) == whole


def test_two_worlds_are_never_mixed(home):
    with pytest.raises(ValueError, match="'seed': 0.*'seed': 1.*remove it or give another --root"):
        write_toy(home.parent, COUNTS, seed=1, size=SIZE)


def casts(split, count=600):
    return [(clip, clip.cast()) for clip in (ToyClip(5, split, i) for i in range(count))]


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_and_validation_never_show_or_sound_a_novel_class(split):
    for _, cast in casts(split):
        everything = {*cast.visible, *(i for now in cast.heard() for i in now)}
        assert everything <= set(BASE_IDS)


def test_every_base_class_is_seen_sounding_and_silent_in_training():
    sounding, silent = set(), set()
    for _, cast in casts("train"):
        for now in cast.sounding:
            sounding |= set(now)
            silent |= set(cast.visible) - set(now)
    assert sounding == silent == set(BASE_IDS)


def test_the_three_views_are_what_they_say():
    for clip, cast in casts("test"):
        seen, heard = set(cast.visible), {i for now in cast.heard() for i in now}
        sounding = {i for now in cast.sounding for i in now}
        if clip.view == "base":
            assert seen | heard <= set(BASE_IDS)
        if clip.view == "novel_silent":
            assert seen & set(NOVEL_IDS) and heard <= set(BASE_IDS) and seen - heard - {*NOVEL_IDS}
        if clip.view == "novel_sounding":
            assert sounding & set(NOVEL_IDS)


def test_shares_of_sounding_objects_silence_and_two_sounds_are_as_stated():
    seconds = objects = sounding = silent = outside = two = 0
    for clip, cast in casts("train", 2000):
        seconds += clip.seconds
        objects += clip.seconds * len(cast.visible)
        sounding += sum(map(len, cast.sounding))
        silent += sum(not heard for heard in cast.heard())
        outside += sum(map(bool, cast.off_screen))
        two += sum(len(now) == 2 for now in cast.sounding)
    assert sounding / objects == pytest.approx(0.29, abs=0.02)
    assert silent / seconds == pytest.approx(0.25, abs=0.01)
    assert outside / seconds == pytest.approx(0.12, abs=0.01)
    assert 0.1 < two / seconds < 0.3


def test_what_sounds_changes_within_most_clips():
    changing = [len(set(cast.sounding)) > 1 for _, cast in casts("train")]
    assert np.mean(changing) > 0.95


def test_most_scenes_hold_a_silent_look_alike():
    def alike(one, other):  # ids go through the shapes first
        return (one - 1) % 5 == (other - 1) % 5 or (one - 1) // 5 == (other - 1) // 5

    found = []
    for _, cast in casts("train"):
        assert len(set(cast.visible)) == len(cast.visible) in (2, 3, 4)
        for now in cast.sounding:
            if now:
                rest = set(cast.visible) - set(now)
                found.append(any(alike(i, j) for i in now for j in rest))
    assert np.mean(found) > 0.6


def test_the_only_labeled_frame_of_a_training_clip_has_something_to_paint():
    assert all(cast.sounding[0] for clip, cast in casts("train") if clip.subset == "v1s")


def test_two_sounds_cannot_be_mistaken_for_two_others():
    for _, cast in casts("train"):
        for now in cast.sounding:
            if len(now) == 2:
                one, other = (divmod(i - 1, 5) for i in now)
                assert one[0] != other[0] and one[1] != other[1]
                seen = {divmod(i - 1, 5) for i in cast.visible}
                assert not seen & {(one[0], other[1]), (other[0], one[1])}
