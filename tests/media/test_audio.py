import av
import numpy as np
import pytest

from ovavss_d2.media.audio import read_audio, released_examples, seconds_at
from ovavss_d2.media.audio_format import EXAMPLE_HOP, EXAMPLE_SAMPLES


def tone(rate, seconds=2.0, hertz=440.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def encode(path, samples, rate, codec):
    """Write float (S,) sound with PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format.name, rate=rate, frame_size=stream.frame_size or 1024
        )
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))


def test_pcm16_is_exact(tmp_path, wav):
    samples = np.array([-32768, -1, 0, 1, 32767], np.int16)
    wav(tmp_path / "a.wav", samples)
    assert (read_audio(tmp_path / "a.wav") == samples / np.float32(32768)).all()


def test_channels_are_averaged(tmp_path, wav):
    wav(tmp_path / "a.wav", np.array([[100, 300], [-2, 4]]))
    assert (read_audio(tmp_path / "a.wav") * 32768).tolist() == [200, 1]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 44099])
def test_any_rate_becomes_16_kHz(tmp_path, wav, rate):
    wav(tmp_path / "a.wav", tone(rate) * 16384, rate)
    audio, expected = read_audio(tmp_path / "a.wav"), tone(16000) / 2
    assert abs(len(audio) - len(expected)) <= 16
    inside = slice(1000, 31000)
    assert np.abs(audio[inside] - expected[inside]).max() < 2e-3


def test_ffmpeg_and_the_short_way_agree(tmp_path, wav):
    wav(tmp_path / "a.wav", tone(16000) * 20000)
    encode(tmp_path / "b.flac", read_audio(tmp_path / "a.wav"), 16000, "flac")
    short, long = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "b.flac")
    assert len(short) == len(long)
    assert np.abs(short - long).max() <= 1 / 32768


def test_a_click_is_heard_in_its_second():
    audio = np.zeros(160000, np.float32)
    audio[int(3.2 * 16000)] = 1
    heard = seconds_at(audio, [float(i) for i in range(10)])
    assert np.argwhere(heard).tolist() == [[3, 3200]]
    assert seconds_at(audio, [3.2])[0, 0] == 1


def test_missing_sound_is_zeros():
    audio = np.ones(24000, np.float32)
    heard = seconds_at(audio, [-0.5, 0.0, 1.0, 2.0])
    assert heard.shape == (4, 16000)
    assert heard.sum(axis=1).tolist() == [8000, 16000, 8000, 0]
    assert not seconds_at(np.zeros(0, np.float32), [0.0]).any()


def test_released_examples_are_valid_where_the_sound_reaches():
    audio = np.arange(2 * EXAMPLE_HOP + EXAMPLE_SAMPLES, dtype=np.float32)
    seconds, valid = released_examples(audio, [0, 2, 3])
    assert valid.tolist() == [True, True, False]
    assert seconds[1, 0] == 2 * EXAMPLE_HOP
    assert released_examples(audio[:-1], [2])[1].tolist() == [False]


def test_ten_seconds_hold_ten_released_examples():
    assert released_examples(np.zeros(160000, np.float32), range(11))[1].sum() == 10


@pytest.mark.parametrize("content", [b"", b"RIFF1234WAVEfmt ", b"no sound at all" * 50])
def test_broken_sound_is_one_line(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.wav") as error:
        read_audio(path)
    assert "\n" not in str(error.value)


def test_missing_sound_file_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="b.wav': no such sound file"):
        read_audio(tmp_path / "b.wav")
    with pytest.raises(FileNotFoundError, match="b.mp3': no such sound file"):
        read_audio(tmp_path / "b.mp3")


def test_a_cut_off_wav_gives_what_is_left(tmp_path, wav):
    path = tmp_path / "a.wav"
    wav(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-501])
    assert (read_audio(path) * 32768).tolist() == list(range(749))
