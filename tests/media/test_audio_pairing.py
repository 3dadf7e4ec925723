"""Each frame gets the audio of its time, from a stream as from the whole track."""

import numpy as np
import pytest

from ovavss_d2.media.audio_format import EXAMPLE_HOP, EXAMPLE_SAMPLES
from ovavss_d2.media.audio_pairing import AudioContext, FrameAudio, audio_at_times, context_at_times


def test_a_click_is_in_the_second_of_its_frame():
    audio = np.zeros(160000, np.float32)
    audio[int(3.2 * 16000)] = 1
    seconds, valid = audio_at_times(audio, range(10), "time")
    assert np.argwhere(seconds).tolist() == [[3, 3200]] and valid.all()
    assert audio_at_times(audio, [3.2], "time")[0][0, 0] == 1


@pytest.mark.parametrize("size", [1000, 16000, 100_000])
def test_pieces_of_any_size_give_slices_of_the_whole(size):
    audio = np.random.default_rng(0).random(50_000, np.float32)
    frame_audio = FrameAudio((audio[i : i + size] for i in range(0, len(audio), size)), "time")
    padded = np.concatenate([np.zeros(32000, np.float32), audio, np.zeros(200_000, np.float32)])
    for time in [-1.5, -0.25, 0, 0.1, 0.1, 1.7, 2.9, 3.5, 8]:
        second, valid = frame_audio.at(time)
        start = 32000 + round(time * 16000)
        np.testing.assert_array_equal(second, padded[start : start + 16000])
        assert valid


def test_missing_audio_is_zeros():
    seconds, valid = audio_at_times(np.zeros(0, np.float32), [0.0, 1.0], "time")
    assert seconds.shape == (2, 16000) and not seconds.any() and valid.all()


def test_released_examples_are_valid_if_the_audio_reaches_their_end():
    audio = np.arange(2 * EXAMPLE_HOP + EXAMPLE_SAMPLES, dtype=np.float32)
    seconds, valid = audio_at_times(audio, [0, 2, 3], "released")
    assert valid.tolist() == [True, True, False]
    assert seconds[1, 0] == 2 * EXAMPLE_HOP
    assert audio_at_times(audio[:-1], [2], "released")[1].tolist() == [False]
    assert audio_at_times(np.zeros(160000, np.float32), range(11), "released")[1].sum() == 10


def test_about_a_second_is_kept_in_memory():
    frame_audio = FrameAudio((np.zeros(16000, np.float32) for _ in range(3600)), "time")
    for time in range(3600):
        frame_audio.at(time)
    assert len(frame_audio._kept) <= 2 * 16000


@pytest.mark.parametrize("seconds", [1.0, 4.0, 0.5])
def test_the_context_is_centered_on_the_second_of_its_frame(seconds):
    rate = 1000
    audio = np.arange(1, 10 * rate + 1, dtype=np.float32)
    padded = np.concatenate([np.zeros(5 * rate, np.float32), audio, np.zeros(9 * rate, np.float32)])
    times = [0, 2.5, 9, 12]
    found = context_at_times(audio, times, AudioContext(rate, seconds))
    for time, around in zip(times, found, strict=True):
        middle = round((time + 0.5 + 5) * rate)
        half = round(seconds * rate / 2)
        np.testing.assert_array_equal(around, padded[middle - half : middle + half])
