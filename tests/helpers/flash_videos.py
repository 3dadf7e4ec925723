"""Small videos with known content: dark, with one bright flash; silent, with one click."""

import struct
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition

SIZE = (32, 48)


def click(seconds, at, rate):
    """float32 (S,): 20 ms of a tone at `at`."""
    audio = np.zeros(round(seconds * rate), np.float32)
    length = rate // 50
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(length) / rate)
    audio[round(at * rate) :][:length] = tone[: max(0, len(audio) - round(at * rate))]
    return audio


def click_time(audio):
    """Seconds until the first loud sample of 16 kHz audio."""
    return np.flatnonzero(np.abs(audio) > 0.2)[0] / 16000


def frame_image(bright, size=SIZE):
    """Dark or bright; the left quarter is black, which shows whether it is upright."""
    image = np.full((*size, 3), 230 if bright else 30, np.uint8)
    image[:, : size[1] // 4] = 0
    return image


def write_flash(
    path, *, times=None, flash=1.4, rate=10, start=0.0, turn=0, size=SIZE, tracks=((),), **codec
):
    """Write a video that is bright for 0.15 s from the first frame at or after `flash` on.

    Args:
        times: of the frames; None: three seconds at `rate`.
        start: of the file's clock.
        turn: rotation in degrees.
        tracks: audio tracks, each a dict of `mux_click`'s options or empty; () for none.
        codec: more arguments of the video stream.
    """
    times = np.arange(0, 3, 1 / rate) if times is None else times
    first = next(time for time in times if time >= flash - 1e-6)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec.pop("codec", "libx264"), rate=rate, **codec)
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if turn:
            video.set_display_rotation(turn)
        streams = [(add_audio(container, **track), track) for track in map(dict, tracks)]
        for time in times:
            image = frame_image(first <= time < first + 0.15, size)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round((time + start) * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, track in streams:
            mux_click(container, stream, **track)
    return path


def add_audio(container, codec="aac", rate=44100, layout="mono", **_):
    return container.add_stream(codec, rate=rate, layout=layout)


def mux_click(container, stream, at=1.4, begin=0.0, end=3.0, **_):
    """A click at `at` on the file's clock, in audio from `begin` to `end`."""
    rate = stream.rate
    samples = click(end, at, rate)[round(begin * rate) :]
    for i in range(0, len(samples), 1024):
        chunk = np.repeat(samples[None, i : i + 1024], stream.layout.nb_channels, axis=0)
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=stream.layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(begin * rate) + i
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def set_display_matrix(path, matrix):
    """Set the display matrix (a, b, c, d) of an MP4 file: (x, y) is displayed at
    (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def write_cover_art(path, image, seconds=2.0, rate=44100):
    """Write an audio file, with a click at 1 s, that has an image, uint8 (H, W, 3), as its cover.

    The file's ending selects its format: .mp3 or .m4a.
    """
    kind = "mp3" if path.suffix == ".mp3" else "mp4"
    with av.open(str(path), "w", format=kind) as container:
        audio = container.add_stream("mp3" if kind == "mp3" else "aac", rate=rate)
        audio.layout = "mono"
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = *image.shape[:2], "rgb24"
        cover.disposition = Disposition.attached_pic
        container.start_encoding()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        container.mux([*cover.encode(frame), *cover.encode(None)])
        mux_click(container, audio, at=1.0, end=seconds)
