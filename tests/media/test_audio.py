"""Reading audio: exact values, any sample rate, second by second as all at once."""

import subprocess
import sys

import numpy as np
import pytest

from ovavss_d2.media.audio import AudioTrack, open_audio, read_audio
from ovavss_d2.media.resampling import resample
from tests.helpers.audio_files import wav_bytes, write_audio

PCM16 = (np.sin(np.arange(16000) / 5) * 9000).astype("<i2").tobytes()


# With pcm_*_planar, flac and wavpack, FFmpeg decodes to planes.
CODECS = ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_f64le"]
CODECS += ["pcm_s16le_planar", "pcm_s32le_planar", "wavpack", "flac"]


def read_streamed(path):
    return open_audio(path).read()


EACH_READER = pytest.mark.parametrize("read", [read_audio, read_streamed])


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
@pytest.mark.parametrize("target", [16000, 48000])
def test_seconds_equal_the_whole_resampled_at_once(tmp_path, wav, rate, seconds, target):
    samples = np.random.default_rng(rate).normal(0, 4000, int(rate * seconds)).astype(np.int16)
    wav(tmp_path / "a.wav", samples, rate)
    pieces = list(AudioTrack(str(tmp_path / "a.wav")).seconds(target))
    assert {len(piece) for piece in pieces[:-1]} <= {target}
    whole = resample(samples / np.float32(32768), rate, target)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    # Decoded by FFmpeg, as read by the wave module.
    read = read_audio(tmp_path / "a.wav", target)
    np.testing.assert_array_equal(np.concatenate(pieces), read)


def test_high_frequencies_survive_at_a_high_rate(tmp_path, wav):
    wav(tmp_path / "a.wav", tone(44100, hertz=12000) * 16384, 44100)
    high, low = (read_audio(tmp_path / "a.wav", rate) for rate in (48000, 16000))
    assert np.abs(high).max() > 0.45 and np.abs(low[4000:-4000]).max() < 1e-3


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


def write_many_channels(folder):
    """Files of many channels, each with a constant value; returns the mean of each file."""
    means = {}
    for count in (2, 8, 9, 24, 64):
        channels = np.arange(1, count + 1)[:, None] / 128 * np.ones((1, 2000))
        for codec in CODECS:
            if codec == "flac" and count > 8:
                continue
            ending = {"flac": "flac", "wavpack": "wv"}.get(codec, "nut")
            layout = "7.1" if count == 8 else None
            name = f"{codec}_{count}.{ending}"
            write_audio(folder / name, channels, codec=codec, layout=layout)
            means[name] = channels.mean()
    return means


def write_unusual_orders(folder):
    """Files whose channels are in an order that FFmpeg has no layout for, in the same way."""
    means = {}
    # Core Audio's MPEG_3_0_B, MPEG_5_1_B and DiscreteInOrder.
    for tag in [(114 << 16) | 3, (122 << 16) | 6, (147 << 16) | 6]:
        for ending, offset in {"mov": 8, "caf": 12}.items():
            count = tag & 0xFF
            channels = np.arange(1, count + 1)[:, None] / 128 * np.ones((1, 2000))
            path = folder / f"{tag}.{ending}"
            layout = {3: "3.0", 6: "5.1"}[count]
            content = write_audio(path, channels, codec="pcm_s16le", layout=layout).read_bytes()
            start = content.index(b"chan") + offset
            path.write_bytes(content[:start] + tag.to_bytes(4, "big") + content[start + 4 :])
            means[path.name] = channels.mean()
    return means


def write_lossy(folder):
    """The same tone in eight or six channels."""
    for name, codec, layout in [("a.m4a", "aac", "7.1"), ("a.ts", "ac3", "5.1")]:
        channels = np.tile(tone(48000) / 2, (8 if layout == "7.1" else 6, 1))
        write_audio(folder / name, channels, codec=codec, rate=48000, layout=layout)
        yield name


def test_any_channels_in_any_format_become_their_mean(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    means = write_many_channels(folder) | write_unusual_orders(folder)
    lossy = list(write_lossy(folder))
    code = (
        "import sys, pathlib, numpy as np\n"
        "from ovavss_d2.media.audio import read_audio\n"
        "files = sorted(pathlib.Path(sys.argv[1]).iterdir())\n"
        "np.savez(sys.argv[1] + '.npz', **{file.name: read_audio(file) for file in files})\n"
    )
    # In a child process: such files have ended it.
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    audio = np.load(f"{folder}.npz")
    for name, mean in means.items():
        assert audio[name].shape == (2000,)
        np.testing.assert_allclose(audio[name], mean, atol=1e-4, err_msg=name)
    for name in lossy:
        assert len(audio[name]) == pytest.approx(32000, abs=2000)
        assert audio[name][4000:28000].std() == pytest.approx(0.35, abs=0.1)


@EACH_READER
@pytest.mark.parametrize("rate", [1, 999, 4_096_025, 2**31 - 23])
def test_a_rate_that_no_audio_has_gives_a_one_line_error(tmp_path, read, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(PCM16, rate=rate))
    with pytest.raises(ValueError, match=f"a.wav': the sample rate is {rate}, expected 1000 to"):
        read(path)


@EACH_READER
@pytest.mark.parametrize("rate", [1000, 44099, 192_000, 352_800, 384_000, 2_999_999])
def test_seconds_at_the_highest_and_lowest_rates_equal_the_whole(tmp_path, read, rate):
    samples = np.random.default_rng(0).normal(0, 4000, min(2 * rate, 10**6)).astype("<i2")
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples.tobytes(), rate=rate))
    whole = resample(samples / np.float32(32768), rate)
    np.testing.assert_allclose(read(tmp_path / "a.wav"), whole, atol=1e-5)


@EACH_READER
@pytest.mark.parametrize(
    "header",
    [{"code": 0x1234}, {"fmt_size": 0x40010}, {"bits": 0}, {"rate": 0}, {"rate": 2**32 - 1}],
)
def test_a_wrong_wav_header_gives_a_one_line_error(tmp_path, read, header):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(PCM16, **header))
    with pytest.raises(ValueError, match="a.wav': ") as error:
        read(path)
    assert "\n" not in str(error.value)


@EACH_READER
@pytest.mark.parametrize("size", [0, 2**32 - 1, 10**6])
def test_a_wav_of_unknown_or_wrong_size_is_read_to_its_end(tmp_path, read, size):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(PCM16, data_size=size))
    np.testing.assert_array_equal(read(path) * 32768, np.frombuffer(PCM16, "<i2"))


@EACH_READER
def test_tags_in_any_encoding_are_ignored(tmp_path, read):
    tags = b"LIST\x12\0\0\0INFOINAM\x06\0\0\0caf\xe9\0\0"
    (tmp_path / "a.wav").write_bytes(wav_bytes(PCM16, chunk=tags))
    assert len(read(tmp_path / "a.wav")) == 16000


@EACH_READER
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_samples_that_are_no_numbers_are_zeros(tmp_path, read, rate, dtype):
    samples = tone(rate).astype(dtype)
    damaged, expected = samples.copy(), samples.copy()
    expected[5000:5004] = 0
    damaged[5000:5004] = np.nan, np.inf, -np.inf, 1e38
    audio = []
    for values in (damaged, expected):
        content = wav_bytes(values.tobytes(), code=3, rate=rate, bits=8 * samples.itemsize)
        (tmp_path / "a.wav").write_bytes(content)
        audio.append(read(tmp_path / "a.wav"))
    np.testing.assert_array_equal(*audio)


@pytest.mark.parametrize(
    ("container", "codec"), [("mpegts", "aac"), ("mpegts", "mp2"), ("adts", "aac")]
)
@pytest.mark.parametrize(
    "parts", [((44100, "mono"), (48000, "stereo")), ((48000, "stereo"), (24000, "mono"))]
)
@pytest.mark.parametrize("restart", [True, False])
def test_the_rate_and_the_channels_may_change(tmp_path, container, codec, parts, restart):
    content = b""
    for i, (rate, layout) in enumerate(parts):
        offset = {} if restart or not i else {"output_ts_offset": "2"}
        channels = np.tile(tone(rate) / 2, (1 if layout == "mono" else 2, 1))
        path = tmp_path / f"{i}"
        write_audio(
            path,
            channels,
            codec=codec,
            rate=rate,
            container=container,
            layout=layout,
            options=offset,
        )
        content += path.read_bytes()
    (tmp_path / "a").write_bytes(content)
    audio = read_audio(tmp_path / "a")
    assert len(audio) / 16000 == pytest.approx(4, abs=0.2)
    for second in (audio[8000:24000], audio[-24000:-8000]):
        assert np.abs(np.fft.rfft(second)).argmax() == 440
        loudness = second.reshape(-1, 160).std(axis=1)
        assert loudness == pytest.approx(np.full(100, 0.354), abs=0.06)


def test_audio_that_is_too_long_to_be_read_at_once_gives_a_one_line_error(
    tmp_path, wav, monkeypatch
):
    monkeypatch.setattr("ovavss_d2.media.audio._LONGEST", 2)
    wav(tmp_path / "a.wav", np.zeros(33000))
    with pytest.raises(ValueError, match=r"a.wav': has more than .* of audio"):
        open_audio(tmp_path / "a.wav").read()
