"""Sound as a stream is the sound as a whole."""

import numpy as np
import pytest

from ovavss_d2.media.audio import resample, seconds_at
from ovavss_d2.media.audio_stream import Listener, Sound, open_sound


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.3, 2.6])
def test_seconds_are_those_of_the_whole_resampled_at_once(tmp_path, wav, rate, seconds):
    samples = np.random.default_rng(rate).normal(0, 4000, int(rate * seconds)).astype(np.int16)
    wav(tmp_path / "a.wav", samples, rate)
    pieces = list(Sound(str(tmp_path / "a.wav")).seconds())
    assert {len(piece) for piece in pieces[:-1]} <= {16000}
    whole = resample(samples / np.float32(32768), rate)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


@pytest.mark.parametrize("size", [1000, 16000, 100_000])
def test_a_listener_hears_what_is_cut_out_of_the_whole(size):
    audio = np.random.default_rng(0).random(50_000, np.float32)
    times = [-1.5, -0.25, 0, 0.1, 0.1, 1.7, 2.9, 3.5, 8]
    listener = Listener(audio[i : i + size] for i in range(0, len(audio), size))
    heard = [listener.second_from(round(time * 16000)) for time in times]
    np.testing.assert_array_equal(
        np.stack([second for second, _ in heard]), seconds_at(audio, times)
    )
    assert [count for _, count in heard] == [0, 12000, 16000, 16000, 16000, 16000, 3600, 0, 0]


def test_no_more_is_kept_than_is_heard():
    listener = Listener(np.zeros(16000, np.float32) for _ in range(3600))
    for time in range(3600):
        listener.second_from(time * 16000)
    assert len(listener._kept) <= 2 * 16000


def test_duration_is_told_or_counted(tmp_path, wav):
    wav(tmp_path / "a.wav", np.zeros(24000))
    assert open_sound(tmp_path / "a.wav").duration() == pytest.approx(1.5)
    with pytest.raises(FileNotFoundError, match="b.wav': no such sound file"):
        open_sound(tmp_path / "b.wav")
