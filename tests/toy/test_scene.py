"""Frames and audio of the toy world."""

from dataclasses import replace

import numpy as np
import pytest

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.audio import FORMANTS, PITCHES, draw_audio, draw_second
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.toy.shapes import color_of, shape_of
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_NAMES


def scenes(count, size=(72, 96)):
    rng = np.random.default_rng(1)
    for number in range(count):
        classes = list(rng.choice(30, 2 + number % 3, replace=False) + 1)
        yield classes, draw_scene(TOY, rng, classes, size, seconds=10)


def test_shape_and_color_of_a_class_are_its_name():
    for class_id, name in enumerate(TOY_NAMES, 1):
        assert name == f"{color_of(class_id)} {shape_of(class_id)}"


def test_every_object_stays_visible_and_overlaps_are_rare():
    areas, hidden = [], []
    for classes, scene in scenes(30):
        _, ids = render(scene, np.arange(10.0))
        assert set(np.unique(ids)) <= {0, *classes}
        for item in scene.objects:
            area = (ids == item.class_id).sum((1, 2))
            _, alone = render(replace(scene, objects=(item,)), np.arange(10.0))
            areas += area.tolist()
            hidden.append(1 - area.sum() / (alone > 0).sum())
    assert np.mean(np.array(areas) > 150) > 0.99
    assert min(areas) > 40
    assert np.mean(hidden) < 0.05


def test_motion_is_slow_and_the_same_at_any_frame_rate():
    times = np.arange(0, 10, 0.1)
    for _, scene in scenes(10):
        for item in scene.objects:
            path = item.trajectory.position(times)
            speed = np.linalg.norm(np.diff(path, axis=0), axis=1) / 0.1
            assert speed.max() < 0.2  # heights per second
            assert np.array_equal(path[::10], item.trajectory.position(times[::10]))


def test_objects_have_the_color_of_their_name_and_the_background_has_none():
    for classes, scene in scenes(20, size=(72, 128)):
        frames, ids = render(scene, np.array([0.0]))
        assert frames.shape == (1, 72, 128, 3) and ids.shape == (1, 72, 128)
        spread = np.ptp(frames[0].astype(int), axis=-1)
        assert spread[ids[0] == 0].mean() < 45
        assert all(spread[ids[0] == i].mean() > 80 for i in classes)


def spectrum(wave):
    frequencies = np.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)
    return np.abs(np.fft.rfft(wave * np.hanning(SAMPLE_RATE))), frequencies


@pytest.mark.parametrize("class_id", range(1, 31))
def test_pitch_follows_color_and_formant_follows_shape(class_id):
    rng = np.random.default_rng(class_id)
    power, hertz = spectrum(draw_second(rng, class_id))
    low, high = hertz < 3500, hertz > 3700
    pitch = PITCHES[color_of(class_id)]
    strongest = hertz[low][power[low].argmax()]
    assert abs(np.log2(strongest / pitch)) < 3 / 12  # the vibrato reaches two semitones
    center = np.average(hertz[high], weights=power[high] ** 2)
    nearest = min(FORMANTS, key=lambda shape: abs(FORMANTS[shape] - center))
    assert nearest == shape_of(class_id)


def envelope_steps(class_id):
    """Loudness of 20 ms steps of one second."""
    wave = draw_second(np.random.default_rng(0), class_id).reshape(50, -1)
    return np.sqrt((wave**2).mean(1))


def test_shapes_differ_in_their_envelope():
    circle, square, triangle, _, cross = (envelope_steps(i)[8:46] for i in range(1, 6))
    assert circle.std() / circle.mean() < 0.25  # steady
    for wave in (square, cross):
        assert wave.min() < 0.3 * wave.max()
    beats = {
        name: np.abs(np.fft.rfft(wave - wave.mean(), 500)).argmax() / 10  # Hz
        for name, wave in {"square": square, "triangle": triangle, "cross": cross}.items()
    }
    assert beats["square"] == pytest.approx(4, abs=0.6)
    assert beats["triangle"] == pytest.approx(12, abs=1.2)
    assert 2 < beats["cross"] < 3.6


def test_two_seconds_of_a_class_differ():
    rng = np.random.default_rng(0)
    first, second = draw_second(rng, 4), draw_second(rng, 4)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_audio_follows_the_schedule_and_never_clips():
    rng = np.random.default_rng(3)
    track = draw_audio(rng, [(), (1, 12), (), (30,), (5,)])
    assert (track.dtype, track.shape) == (np.int16, (5 * SAMPLE_RATE,))
    loudness = np.sqrt(((track.reshape(5, -1) / 32768.0) ** 2).mean(1))
    assert loudness[[0, 2]].max() < 0.15 * loudness[[1, 3, 4]].min()
    assert np.abs(track.astype(int)).max() < 32767
