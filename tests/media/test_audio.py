"""Reading audio: exact values, any sample rate, second by second as all at once."""

import numpy as np
import pytest

from ovavss_d2.media.audio import AudioTrack, open_audio, read_audio, resample


def tone(rate, seconds=2.0, hertz=440.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([-32768, -1, 0, 1, 32767], [-32768, -1, 0, 1, 32767]),
        ([[100, 300], [-2, 4]], [200, 1]),  # the mean of the channels
    ],
)
def test_pcm16_is_exact(tmp_path, wav, samples, expected):
    wav(tmp_path / "a.wav", np.array(samples, np.int16))
    assert (read_audio(tmp_path / "a.wav") * 32768).tolist() == expected


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 44099])
def test_any_rate_becomes_16_khz(tmp_path, wav, rate):
    wav(tmp_path / "a.wav", tone(rate) * 16384, rate)
    audio, expected = read_audio(tmp_path / "a.wav"), tone(16000) / 2
    assert abs(len(audio) - len(expected)) <= 16
    inside = slice(1000, 31000)
    assert np.abs(audio[inside] - expected[inside]).max() < 2e-3


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.3, 2.6])
def test_seconds_equal_the_whole_resampled_at_once(tmp_path, wav, rate, seconds):
    samples = np.random.default_rng(rate).normal(0, 4000, int(rate * seconds)).astype(np.int16)
    wav(tmp_path / "a.wav", samples, rate)
    pieces = list(AudioTrack(str(tmp_path / "a.wav")).seconds())
    assert {len(piece) for piece in pieces[:-1]} <= {16000}
    whole = resample(samples / np.float32(32768), rate)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    # Decoded by FFmpeg, as read by the wave module.
    np.testing.assert_array_equal(np.concatenate(pieces), read_audio(tmp_path / "a.wav"))


def test_duration_is_read_from_the_file(tmp_path, wav):
    wav(tmp_path / "a.wav", np.zeros(24000))
    assert open_audio(tmp_path / "a.wav").duration() == pytest.approx(1.5)


@pytest.mark.parametrize("content", [b"", b"RIFF1234WAVEfmt ", b"no audio at all" * 50])
def test_an_unreadable_file_gives_a_one_line_error(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.wav") as error:
        read_audio(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["b.wav", "b.mp3"])
@pytest.mark.parametrize("read", [read_audio, open_audio])
def test_a_missing_file_gives_a_one_line_error(tmp_path, read, name):
    with pytest.raises(FileNotFoundError, match=f"{name}': no such audio file"):
        read(tmp_path / name)


def test_a_truncated_wav_gives_what_is_left(tmp_path, wav):
    path = tmp_path / "a.wav"
    wav(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-501])
    assert (read_audio(path) * 32768).tolist() == list(range(749))
