"""Pictures and sounds of the stamps data set."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.stamps import pictures, sounds, videos
from ovavss_d2.stamps.objects import OBJECTS
from ovavss_d2.stamps.source import Stamps
from ovavss_d2.toy.dataset import Clip
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.vocabulary import STAMPS_BASE_IDS, STAMPS_NAMES
from tests.helpers.stamps_package import STAMPS, write_package

SIZE = (64, 96)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return Stamps(package=write_package(tmp_path_factory.mktemp("package")) / STAMPS)


def clips(source, split, count):
    return [(clip, clip.schedule()) for clip in (Clip(source, 0, split, i) for i in range(count))]


def test_silent_objects_are_visible_and_never_sound(source):
    visible = []
    for _, schedule in clips(source, "train", 300):
        audible = {i for now in schedule.audible() for i in now}
        assert audible <= set(STAMPS_BASE_IDS)
        assert set(schedule.visible) <= {*STAMPS_BASE_IDS, *source.silent_ids}
        visible += schedule.visible
    assert 0.1 < np.mean(np.array(visible) > len(STAMPS_NAMES)) < 0.4


def test_about_thirty_percent_of_the_objects_sound_in_a_second(source):
    objects = sounding = 0
    for clip, schedule in clips(source, "train", 1000):
        objects += clip.seconds * len(schedule.visible)
        sounding += sum(map(len, schedule.sounding))
    assert sounding / objects == pytest.approx(0.29, abs=0.03)


def test_objects_turn_change_their_size_and_stay_visible(source):
    rng = np.random.default_rng(0)
    areas, hidden = [], []
    for ids in ([1, 80], [2, 3, 90], [4, 5, 6, 200]) * 4:
        scene = draw_scene(source, rng, ids, SIZE, 5)
        frames, found = render(scene, np.arange(5.0))
        assert frames.shape == (5, *SIZE, 3) and set(np.unique(found)) <= {0, *ids}
        for item in scene.objects:
            _, alone = render(replace(scene, objects=(item,)), np.arange(5.0))
            area = (alone > 0).sum((1, 2))
            areas.append(area)
            hidden.append(1 - (found == item.class_id).sum() / area.sum())
    assert min(map(min, areas)) > 60
    assert max(np.ptp(area) / area.mean() for area in areas) > 0.1
    assert 0.01 < np.mean(hidden) < 0.25


def test_a_stamp_covers_its_opaque_pixels_and_mixes_at_soft_edges(tmp_path, source):
    picture = np.zeros((20, 30, 4), np.uint8)
    picture[5:15, 5:25] = (0, 0, 200, 255)  # BGR
    picture[5:15, 5:10, 3] = 51
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    data = pictures.read_picture(tmp_path / "a.png")
    assert data.shape == (10, 15, 4)  # what is opaque
    trajectory = draw_scene(source, np.random.default_rng(0), [1, 2], SIZE, 1).objects[0].trajectory
    stamp = pictures.Stamp(1, 0.2, trajectory, data, (0.0, 0.0, 0.0), (0.0, 0.0))
    canvas = np.full((*SIZE, 3), 100, np.float32)
    cover = stamp.paint(canvas, 0.0)
    inside = cover > 0.999
    assert inside.sum() > 50 and np.abs(canvas[inside] - (200, 0, 0)).max() < 1
    assert np.abs(canvas[cover == 0] - 100).max() == 0


def test_backgrounds_are_textures_and_softened_pictures(source):
    rng = np.random.default_rng(0)
    images = [source.draw_background(rng, SIZE) for _ in range(20)]
    assert {image.shape for image in images} == {(*SIZE, 3)}
    assert all(image.min() >= 0 and image.max() <= 255 for image in images)
    assert len({image.mean().round() for image in images}) > 10


def test_long_pauses_are_cut_and_all_recordings_are_equally_loud(tmp_path):
    from scipy.io import wavfile

    tone = 0.05 * np.sin(2 * np.pi * 500 * np.arange(8000) / 16000)
    wave = np.concatenate([np.zeros(8000), tone, np.zeros(16000), tone, np.zeros(8000)])
    wavfile.write(tmp_path / "a.wav", 16000, (wave * 32767).astype(np.int16))
    recording = sounds.read_recording(tmp_path / "a.wav")
    assert len(recording) / SAMPLE_RATE == pytest.approx(1 + sounds.PAUSE, abs=0.05)
    assert np.sqrt(np.mean(recording**2)) == pytest.approx(1, abs=0.01)
    wavfile.write(tmp_path / "b.wav", 16000, np.zeros(8000, np.int16))
    with pytest.raises(ValueError, match="nothing can be heard"):
        sounds.read_recording(tmp_path / "b.wav")


def test_a_recording_runs_through_the_seconds_in_which_its_object_sounds():
    audible = [(1,), (1, 2), (), (2,), (1,)]
    assert list(sounds.periods(audible)) == [(1, 0, 2), (1, 4, 1), (2, 1, 1), (2, 3, 1)]


def test_audio_follows_the_schedule_and_never_clips(source):
    track = source.draw_audio(np.random.default_rng(3), [(), (1, 12), (), (30,), (5, 6, 7, 8)])
    assert (track.dtype, track.shape) == (np.int16, (5 * SAMPLE_RATE,))
    loudness = np.sqrt(((track.reshape(5, -1) / 32768.0) ** 2).mean(1))
    assert loudness[[0, 2]].max() < 0.3 * loudness[[1, 3, 4]].min()
    assert np.abs(track.astype(int)).max() < 32767


def test_a_second_has_the_pitch_of_its_class(source):
    rng = np.random.default_rng(0)
    for class_id in (1, 20, 70):
        wave = source.draw_audio(rng, [(class_id,)]).astype(float)
        strongest = np.abs(np.fft.rfft(wave)).argmax()  # Hz
        assert strongest == pytest.approx(200 + 40 * class_id, rel=1.2 * sounds.SPEED)


def test_demo_videos_have_silent_objects_novel_names_and_off_screen_sounds(source):
    sounding, visible = set(), set()
    for plan in videos.STAMPS_VIDEOS.values():
        assert len(plan.sounding()) == 10 and () in plan.sounding()
        visible |= set(map(source.id_of, plan.visible))
        sounding |= {source.id_of(name) for now in plan.sounding() for name in now}
    assert sounding <= set(range(1, len(STAMPS_NAMES) + 1))
    kinds = {OBJECTS[i - 1].kind for i in sounding}
    assert kinds == {"base", "novel"} and visible & set(source.silent_ids) and sounding - visible
