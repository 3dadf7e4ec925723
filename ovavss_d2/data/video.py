"""Videos: frames by presentation time, sound on the same clock, and writing both.

A video's clock starts at the presentation time of its first frame.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from ovavss_d2.data.media import decode_sound, open_container

_TICK = Fraction(1, 90_000)  # MPEG's clock; every usual frame rate is near enough to whole ticks


@dataclass(frozen=True)
class Video:
    """What `open_video` found in a file.

    Attributes:
        path: the file.
        height, width: of the upright frames.
        rate: frames per second, on average.
        duration: seconds, as the file says; 0 if it does not say.
        origin: time of the first frame, on the file's own clock.
        has_sound: whether there is a sound stream.
    """

    path: str
    height: int
    width: int
    rate: float
    duration: float
    origin: float
    has_sound: bool

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Decode the frames, upright.

        Args:
            fps: how many a second: at the times k / fps, the frame that is on the screen then.
                None: every frame, at its own time.

        Yields:
            The time in seconds since the first frame, and the frame, uint8 (height, width, 3) RGB.

        Raises:
            ValueError: the file breaks off, or `fps` is not positive.
        """
        if fps is not None and not fps > 0:
            raise ValueError(f"fps must be positive, {fps} was given")
        with open_container(self.path, "video") as container:
            shown = self._shown(container)
            for time, frame in shown if fps is None else _at_rate(shown, fps):
                yield time, self._upright(frame)

    def sound(self) -> np.ndarray:
        """Decode the sound: float32 (S,) at 16 kHz, whose sample 0 is heard with the first frame.

        Raises:
            ValueError: the video has no sound, or it cannot be read.
        """
        if not self.has_sound:
            raise ValueError(f"'{self.path}': this video has no sound")
        with open_container(self.path, "video") as container:
            return decode_sound(container, self.origin)

    def _shown(self, container) -> Iterator[tuple[float, av.VideoFrame]]:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for i, frame in enumerate(container.decode(stream)):
            # Raw streams have no times.
            yield (i / self.rate if frame.time is None else frame.time - self.origin), frame

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        image = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
        if image.shape[:2] != (self.height, self.width):  # the size changed in mid-stream
            turned = self.height, self.width
            if _quarter_turns(frame) % 2:
                turned = turned[::-1]
            frame = frame.reformat(width=turned[1], height=turned[0])
            image = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
        return np.ascontiguousarray(image)


def open_video(path: str | os.PathLike) -> Video:
    """Look into a video file; its first frame is decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no picture.
    """
    path = os.fspath(path)
    with open_container(path, "video") as container:
        if not container.streams.video:
            raise ValueError(f"'{path}': holds no picture, only sound")
        stream = container.streams.video[0]
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError(f"'{path}': holds no picture")
        size = (frame.height, frame.width)
        if _quarter_turns(frame) % 2:
            size = size[::-1]
        return Video(
            path=path,
            height=size[0],
            width=size[1],
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            duration=(container.duration or 0) / av.time_base,
            origin=float(frame.time or 0.0),
            has_sound=bool(container.streams.audio),
        )


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4  # anticlockwise, as numpy counts


def _at_rate(shown, fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Of (time, frame) pairs, pick the one that is on the screen at each k / fps."""
    last, end, k = None, 0.0, 0
    for time, frame in shown:
        # A frame that comes less than half a millisecond late is meant: file formats round times.
        while last is not None and k / fps < time - 0.0005:
            yield k / fps, last
            k += 1
        last = frame
        end = time + float((frame.duration or 0) * (frame.time_base or 0))
    while last is not None and (k / fps < end - 0.0005 or k == 0):
        yield k / fps, last
        k += 1


class VideoWriter:
    """Write frames as H.264, with the sound of another file.

    The file grows under a hidden name beside its place and is renamed at the end of the `with`
    block; an error in the block leaves nothing behind. Sound is copied where the container takes
    its codec, otherwise encoded as AAC.

        with VideoWriter("out.mp4", rate=video.rate, sound_of=video) as writer:
            for time, frame in video.frames():
                writer.write(frame, time)
    """

    def __init__(
        self, path: str | os.PathLike, *, rate: float = 25.0, sound_of: Video | None = None
    ):
        """
        Args:
            path: the file to write; its ending chooses the container (".mp4", ".mkv", ...).
            rate: frames per second: a hint where `write` is given times, else the times.
            sound_of: the video whose sound goes along, on the same clock.
        """
        self.path = os.fspath(path)
        self.rate = Fraction(rate).limit_denominator(1001)
        self.sound_of = sound_of
        self._count = 0
        self._end = 0.0
        self._stream = None
        self._sound = None
        folder, name = os.path.split(self.path)
        self._partial = os.path.join(folder, f".partial-{name}")

    def __enter__(self):
        try:
            self._container = av.open(self._partial, "w")
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"'{self.path}': cannot write a video there ({error})") from error
        if "libx264" not in self._container.supported_codecs:
            self._container.close()
            raise ValueError(f"'{self.path}': this kind of file takes no H.264; write .mp4 or .mkv")
        if self.sound_of is not None and self.sound_of.has_sound:
            self._sound = _SoundTrack(self._container, self.sound_of)
        return self

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 (H, W, 3) RGB, of one size throughout. Odd sizes lose nothing: the last row
                or column is repeated, for the codec wants even ones.
            time: its time in seconds, later than the one before; None: `rate` after it.
        """
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._open_stream(image)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        start = self._count / float(self.rate) if time is None else time
        frame.pts, frame.time_base = round(start / _TICK), _TICK
        self._container.mux(self._stream.encode(frame))
        self._count += 1
        self._end = start + 1 / float(self.rate)
        if self._sound:
            self._sound.mux_until(start)

    def _open_stream(self, image: np.ndarray) -> None:
        stream = self._container.add_stream("libx264", rate=self.rate, options={"crf": "20"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TICK
        self._stream = stream

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self._finish()
        finally:
            if self._sound:
                self._sound.close()
            self._container.close()
            if (kind is not None or not self._count) and os.path.exists(self._partial):
                os.remove(self._partial)
        if kind is None:
            os.replace(self._partial, self.path)

    def _finish(self) -> None:
        if not self._count:
            raise ValueError(f"'{self.path}': no frame was written")
        self._container.mux(self._stream.encode(None))
        if self._sound:
            self._sound.mux_until(self._end)
            self._sound.flush()


class _SoundTrack:
    """The sound of a video on its way into a container, in step with the pictures."""

    def __init__(self, container, video: Video):
        self._target = container
        self._path = video.path
        self._origin = video.origin
        self._opened = open_container(video.path, "video")
        self._source = self._opened.__enter__()
        source = self._source.streams.audio[0]
        name = source.codec_context.name
        # Containers may take raw samples of which few players know.
        self._copied = name in container.supported_codecs and not name.startswith("pcm")
        if self._copied:
            self._stream = container.add_stream_from_template(source)
            self._parts = (p for p in self._source.demux(source) if p.pts is not None)
        else:
            self._stream = container.add_stream("aac", rate=source.rate)
            self._parts = self._source.decode(source)
        self._next = None

    def mux_until(self, time: float) -> None:
        """Write all sound that starts before `time` on the video's clock."""
        while True:
            part = self._next = self._next or self._read()
            if part is None or float(part.pts * part.time_base) - self._origin >= time:
                return
            self._next = None
            part.pts -= round(self._origin / part.time_base)
            if part.pts >= 0:
                self._mux(part)

    def _read(self):
        try:
            return next(self._parts, None)
        except av.FFmpegError as error:
            raise ValueError(f"'{self._path}': broken sound ({error.strerror})") from error

    def _mux(self, part) -> None:
        if self._copied:
            part.dts = part.pts
            part.stream = self._stream
            self._target.mux(part)
        else:
            self._target.mux(self._stream.encode(part))

    def flush(self) -> None:
        """Write what the encoder still holds."""
        if not self._copied:
            self._target.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the file that the sound comes from."""
        self._opened.__exit__(None, None, None)
