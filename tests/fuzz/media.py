"""Videos, audio files and pictures: as many kinds as PyAV and Pillow write.

Frames show four gray quarters, audio is a tone in all channels, so that results are known.
"""

import functools
import io
import itertools
import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st
from PIL import Image

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)
from ovavss_d2.media.audio import AudioTrack, open_audio, read_audio
from ovavss_d2.media.source import open_source, read_image
from tests.fuzz.case import ANY, PORT, REFUSED, Case, Kind, maybe_damaged

SECONDS = 1.5
QUARTERS = (40, 100, 160, 220)  # gray: top left, top right, bottom left, bottom right
CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))  # x to the right, y down
# Orientations as EXIF numbers them from 1 on: x' = a x + c y, y' = b x + d y.
MATRICES = (
    (1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1),
    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0),
)  # fmt: skip
MOST = 2000  # frames, or seconds of sound, of a small file


def quarters_image(height: int = 32, width: int = 48) -> np.ndarray:
    """uint8 (height, width, 3) with another gray in every quarter."""
    image = np.empty((height, width, 3), np.uint8)
    for gray, (x, y) in zip(QUARTERS, CORNERS, strict=True):
        rows = slice(height // 2, None) if y > 0 else slice(height // 2)
        columns = slice(width // 2, None) if x > 0 else slice(width // 2)
        image[rows, columns] = gray
    return image


def turned_quarters(orientation: int) -> list[int]:
    """The grays of the quarters in an orientation."""
    a, b, c, d = MATRICES[orientation]
    moved = {
        (a * x + c * y, b * x + d * y): gray for (x, y), gray in zip(CORNERS, QUARTERS, strict=True)
    }
    return [moved[corner] for corner in CORNERS]


def check_quarters(image: np.ndarray, expected: Sequence[int]) -> None:
    """Check the grays in the middle of the quarters."""
    height, width = image.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    found = [int(image[y, x].mean()) for y, x in itertools.product(rows, columns)]
    assert np.abs(np.subtract(found, expected)).max() <= 12, f"{found}, expected {expected}"


def tone(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """float32 (S,): 300 Hz at half of full scale."""
    times = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * math.pi * 300 * times)).astype(np.float32)


def check_tone(samples: np.ndarray) -> None:
    """Check the duration of a tone at 16 kHz, and its amplitude and frequency in the middle."""
    assert abs(len(samples) / 16000 - SECONDS) <= 0.15, f"{len(samples) / 16000} s of sound"
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    rms, crossings = np.sqrt(np.mean(middle**2)), np.count_nonzero(np.diff(middle > 0))
    assert 0.25 < rms < 0.42, f"the level of the tone is {rms}"
    assert abs(crossings * 16000 / len(middle) / 600 - 1) < 0.1, f"{crossings} zero crossings"


# container, codec, pixel format and size
VIDEO_KINDS = (
    ("mp4", "libx264", "yuv420p", (32, 48)), ("mov", "mjpeg", "yuvj420p", (32, 48)),
    ("matroska", "libx264", "yuv444p", (33, 47)), ("matroska", "ffv1", "yuv444p", (35, 51)),
    ("mp4", "libx264", "yuv420p10le", (32, 48)), ("avi", "mpeg4", "yuv420p", (32, 48)),
    ("mpegts", "libx264", "yuv420p", (32, 48)), ("webm", "libvpx-vp9", "yuv420p", (48, 64)),
)  # fmt: skip
SUFFIX = {"matroska": "mkv", "mpegts": "ts"}
AUDIO_OF = {  # codecs that containers hold
    "mp4": ("aac", "flac", "mp3"), "mov": ("aac", "pcm_s16le"), "avi": ("pcm_s16le",),
    "matroska": ("aac", "flac", "pcm_s16le"), "mpegts": ("aac", "mp2"), "webm": ("libopus",),
}  # fmt: skip
LAYOUTS = {"mp3": ("mono", "stereo"), "mp2": ("mono", "stereo")}
ALL_LAYOUTS = ("mono", "stereo", "5.1", "7.1")


@functools.lru_cache(maxsize=64)
def video_bytes(
    kind: tuple, times: tuple[float, ...], orientation: int, audio: tuple | None
) -> bytes:
    """A video of `quarters_image` at times in seconds, with a tone of 1.5 s."""
    container, codec, pix_fmt, (height, width) = kind
    target, rate = io.BytesIO(), round(1 / (times[1] - times[0]))
    with av.open(target, "w", format=container) as output:
        video = output.add_stream(codec, rate=rate)
        video.height, video.width, video.pix_fmt, video.thread_count = height, width, pix_fmt, 1
        sound = output.add_stream(audio[0], rate=48000, layout=audio[1]) if audio else None
        for time in times:
            frame = av.VideoFrame.from_ndarray(quarters_image(height, width), format="rgb24")
            frame.pts, frame.time_base = round(time * rate), Fraction(1, rate)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound is not None:
            _mux_tone(output, sound, times[0])
    content = target.getvalue()
    return _with_matrix(content, orientation, height, width) if orientation else content


def _mux_tone(output: Any, stream: Any, start: float = 0.0) -> None:
    samples = (tone(48000) * 32767).astype(np.int16)
    for i in range(0, len(samples), 960):
        packed = np.repeat(samples[i : i + 960], stream.layout.nb_channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=stream.layout)
        frame.sample_rate, frame.pts = 48000, i + round(start * 48000)
        frame.time_base = Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _with_matrix(content: bytes, orientation: int, height: int, width: int) -> bytes:
    a, b, c, d = MATRICES[orientation]
    x, y = width * (min(a, c) < 0), height * (min(b, d) < 0)
    matrix = struct.pack(">9i", *(n << 16 for n in (a, b, 0, c, d, 0, x, y)), 1 << 30)
    start = content.index(b"tkhd") + 44
    return content[:start] + matrix + content[start + 36 :]


PLAYLISTS = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:" + PORT + b"/a.ts\n",
    b"ffconcat version 1.0\nfile http://127.0.0.1:" + PORT + b"/a.ts\n",
    b"v=0\nc=IN IP4 127.0.0.1\nm=video " + PORT + b" RTP/AVP 96\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
)


@st.composite
def videos(draw: Callable) -> Case:
    """A video, or a playlist under a video's name."""
    if draw(st.integers(0, 11)) == 0:
        return Case({"v.mp4": draw(st.sampled_from(PLAYLISTS))}, {"path": "v.mp4"}, REFUSED)
    kind = draw(st.sampled_from(VIDEO_KINDS))
    container = kind[0]
    is_mov = container in ("mp4", "mov")
    orientation = draw(st.integers(0, len(MATRICES) - 1)) if is_mov else 0
    audio = draw(st.none() | st.sampled_from(AUDIO_OF[container]))
    if audio:
        audio = audio, draw(st.sampled_from(LAYOUTS.get(audio, ALL_LAYOUTS)))
    rate = draw(st.sampled_from([2, 4, 10, 25]))
    start = draw(st.sampled_from([0, 0, 2, 60])) if container in ("mpegts", "matroska") else 0
    times = tuple(start + i / rate for i in range(round(SECONDS * rate)))
    if container in ("mp4", "matroska") and draw(st.booleans()):  # varying intervals
        times = (*times[:2], *times[3:])
    name = draw(st.sampled_from(["v", "12:30 party", "a b%d#?", "狗"]))
    path = f"{name}.{SUFFIX.get(container, container)}"
    expected = {
        "times": [time - start for time in times], "quarters": turned_quarters(orientation),
        "size": kind[3][::-1] if orientation > 3 else kind[3], "sound": audio is not None,
    }  # fmt: skip
    content = video_bytes(kind, times, orientation, audio)
    return draw(maybe_damaged(Case({path: content}, {"path": path}, expected)))


def check_video(expected: dict[str, Any] | None, path: str) -> None:
    source = open_source(path)
    numbers = source.rate, source.duration, source.height, source.width
    assert np.isfinite(numbers).all() and min(numbers) >= 0 and source.rate > 0, numbers
    times, image = [], np.zeros(0)
    for time, image in itertools.islice(source.frames(), MOST):
        assert image.shape == (source.height, source.width, 3) and image.dtype == np.uint8
        times.append(time)
    assert 0 < len(times) < MOST and (np.diff(times) > 0).all(), f"times {times[:20]}"
    assert sum(1 for _ in source.frames(2.0)) <= len(times) + 2 * times[-1] + 2
    samples = source.audio_track and _read_track(source.audio_track)
    if expected is not None:
        assert len(times) == len(expected["times"]), f"{len(times)} frames"
        assert np.allclose(times, expected["times"], atol=0.002), times
        assert [source.height, source.width] == list(expected["size"])
        check_quarters(image, expected["quarters"])
        assert (samples is not None) == expected["sound"]
        if samples is not None:
            check_tone(samples)


def _read_track(track: AudioTrack) -> np.ndarray:
    assert np.isfinite(track.duration()) and track.duration() >= 0
    seconds = list(itertools.islice(track.seconds(), MOST))
    assert len(seconds) < MOST, "no end of sound"
    samples = np.concatenate([np.zeros(0, np.float32), *seconds])
    assert np.isfinite(samples).all(), "sound is not finite"
    return samples


def wav_bytes(
    samples: np.ndarray, rate: int = 16000, *, tag: int = 1, size: int | None = None,
    channels: int = 1, chunk: bytes = b"",
) -> bytes:  # fmt: skip
    """A WAV file; format tag, rate, stated size of the data and a further chunk are free."""
    data, width = samples.tobytes(), samples.itemsize * channels
    form = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * width % 2**32, width % 2**16, 8 * samples.itemsize
    )
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + chunk
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@st.composite
def wavs(draw: Callable) -> Case:
    """A WAV file with a known tone, or with a strange header."""
    rate = draw(st.sampled_from([8000, 16000, 44100, 48000, 11025, 22051]))
    values = tone(rate).astype("<f4")
    pcm = (values * 32767).astype("<i2")
    expected: Any = {"values": (pcm[:99] / 32768).tolist() if rate == 16000 else []}
    match draw(st.sampled_from(["int16", "int32", "float", "stereo", "zero size", "header"])):
        case "int16":
            content = wav_bytes(pcm, rate)
        case "int32":
            content = wav_bytes((values * 2**31).astype("<i4"), rate)
        case "float":
            values[99] = draw(st.sampled_from([0.5, np.nan, np.inf, -np.inf]))
            content = wav_bytes(values, rate, tag=3)
        case "stereo":
            content = wav_bytes(np.repeat(pcm, 2), rate, channels=2)
        case "zero size":  # as programs write that cannot seek
            content = wav_bytes(pcm, rate, size=0)
        case "header":
            content, expected = draw(st.builds(wav_bytes, st.just(pcm), **ODD_HEADERS)), ANY
    return Case({"a.wav": content}, {"path": "a.wav"}, expected)


_SIZES = [0, 3, 2**31, 2**32 - 1]
ODD_HEADERS = {
    "rate": st.sampled_from(
        [16000, 16000, 0, 1, 7, 16001, 192000, 384000, 4096025, 2147483625, 2**32 - 1]
    ),
    "tag": st.sampled_from([1, 1, 0, 2, 6, 7, 0x11, 0x55, 0xFF, 0x161, 0xFFFE, 0xFFFF]),
    "size": st.none() | st.sampled_from(_SIZES),
    "channels": st.sampled_from([1, 1, 0, 3, 7, 8, 9, 16, 255, 65535]),
    "chunk": st.builds(
        lambda name, size: name + struct.pack("<I", size) + b"abcd" if name else b"",
        st.sampled_from([b"", b"LIST", b"fact", b"smpl", b"ID3 ", b"\0\0\0\0"]),
        st.sampled_from(_SIZES),
    ),
}


@functools.lru_cache(maxsize=64)
def audio_bytes(container: str, codec: str, layout: str) -> bytes:
    """An encoded tone of 1.5 s."""
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        _mux_tone(output, output.add_stream(codec, rate=48000, layout=layout))
    return target.getvalue()


ENCODED = (
    ("flac", "flac", "flac"), ("mp3", "mp3", "mp3"), ("ogg", "libopus", "opus"),
    ("mp4", "aac", "m4a"), ("adts", "aac", "aac"),
)  # fmt: skip


@st.composite
def encoded(draw: Callable) -> Case:
    """A compressed audio file."""
    container, codec, suffix = draw(st.sampled_from(ENCODED))
    layout = draw(st.sampled_from(LAYOUTS.get(codec, ALL_LAYOUTS)))
    content = audio_bytes(container, codec, layout)
    return Case({f"a.{suffix}": content}, {"path": f"a.{suffix}"}, {"values": []})


def audio_files() -> st.SearchStrategy[Case]:
    """An audio file of any kind."""
    return wavs() | encoded()


def check_audio(expected: dict[str, Any] | None, path: str) -> None:
    samples, streamed = read_audio(path), _read_track(open_audio(path))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(streamed) == len(samples), f"{len(samples)} samples, streamed {len(streamed)}"
    assert np.allclose(streamed, samples, atol=1e-4), "the stream has other samples"
    if expected is not None:
        check_tone(samples)
        values = expected["values"]
        assert np.allclose(samples[: len(values)], values, atol=1e-4), "other samples"


MODES = {
    "png": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"), "jpg": ("L", "RGB", "CMYK"),
    "tif": ("1", "L", "P", "RGB", "RGBA", "I;16", "F", "CMYK"), "bmp": ("1", "L", "P", "RGB"),
    "webp": ("RGB", "RGBA"),
}  # fmt: skip
FORMATS = {"jpg": "JPEG", "tif": "TIFF"}
NO_PICTURES = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>", b"", b"\0\0\1\0",
    b"P6 999999 999999 255\n", b"SIMPLE  =                    T",
)  # fmt: skip


@functools.lru_cache(maxsize=256)
def picture_bytes(
    suffix: str, mode: str, size: tuple[int, int] = (32, 48), orientation: int = 0
) -> bytes:
    """`quarters_image` as a picture of a mode; 16-bit modes hold the grays times 257."""
    gray = Image.fromarray(quarters_image(*size)[..., 0])
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    else:
        image = gray.convert(mode) if mode in "FP" else gray.convert("RGB").convert(mode)
    target, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation + 1
    options = {"exif": exif} if orientation else {}
    image.save(target, FORMATS.get(suffix, suffix.upper()), **options)
    return target.getvalue()


@st.composite
def pictures(draw: Callable) -> Case:
    """A picture, one of an extreme shape, or another content under a picture's name."""
    suffix = draw(st.sampled_from(sorted(MODES)))
    path = f"p.{suffix}"
    if draw(st.integers(0, 4)) == 0:
        return Case({path: draw(st.sampled_from(NO_PICTURES))}, {"path": path}, REFUSED)
    if draw(st.integers(0, 4)) == 0:
        size = draw(st.sampled_from([(1, 1), (1, 16000), (16000, 1), (2, 9999)]))
        return Case({path: picture_bytes(suffix, "RGB", size)}, {"path": path})
    mode = draw(st.sampled_from(MODES[suffix]))
    orientation = draw(st.integers(0, 7)) if suffix in ("jpg", "png", "webp") else 0
    content = picture_bytes(suffix, mode, (32, 48), orientation)
    expected = ANY if mode in ("1", "F") else {"quarters": turned_quarters(orientation)}
    return draw(maybe_damaged(Case({path: content}, {"path": path}, expected)))


def check_picture(expected: dict[str, Any] | None, path: str) -> None:
    image = read_image(path)
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if expected is not None:
        check_quarters(image, expected["quarters"])


KINDS = {
    "video": Kind(videos(), check_video, 2),
    "audio": Kind(audio_files().flatmap(maybe_damaged), check_audio),
    "picture": Kind(pictures(), check_picture),
}
