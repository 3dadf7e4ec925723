"""Videos: frames by presentation time, sound on the same clock, and writing both.

A video's clock starts at the presentation time of its first frame.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
import numpy as np

from ovavss_d2.media.audio import open_container
from ovavss_d2.media.audio_mux import SoundCopy
from ovavss_d2.media.audio_stream import Sound, check_decoder, sound_stream

logger = logging.getLogger(__name__)

_TICK = Fraction(1, 90_000)  # MPEG's clock; every usual frame rate is near enough to whole ticks


class Source(Protocol):
    """Pictures with times, and sound on the same clock: a `Video`, or `Pictures`.

    Attributes:
        path: where it comes from.
        height, width: of its frames.
        rate: frames per second, on average.
        duration: seconds; 0 if not known.
        sound_source: its sound, None if it has none.
    """

    @property
    def path(self) -> str: ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def rate(self) -> float: ...

    @property
    def duration(self) -> float: ...

    @property
    def sound_source(self) -> Sound | None: ...

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]: ...


@dataclass(frozen=True)
class Video:
    """What `open_video` found in a file; a `Source`.

    Attributes:
        path: the file.
        height, width: of the upright frames.
        rate: frames per second, on average.
        duration: seconds, as the file says; 0 if it does not say.
        origin: time of the first frame, on the file's own clock.
        has_sound: whether there is a sound stream.
        track: which of its sound tracks is heard, from 0.
        aspect: width of a pixel relative to its height.
        other_sound: heard instead of its own.
    """

    path: str
    height: int
    width: int
    rate: float
    duration: float
    origin: float
    has_sound: bool
    track: int = 0
    aspect: Fraction = Fraction(1)
    other_sound: Sound | None = None

    @property
    def sound_source(self) -> Sound | None:
        """What is heard with the pictures."""
        if self.other_sound is not None or not self.has_sound:
            return self.other_sound
        return Sound(self.path, self.origin, self.track)

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
        if self.sound_source is None:
            raise ValueError(f"'{self.path}': this video has no sound")
        return self.sound_source.read()

    def _shown(self, container) -> Iterator[tuple[float, av.VideoFrame]]:
        stream = container.streams.best("video")
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


def open_video(path: str | os.PathLike, *, track: int | None = None) -> Video:
    """Look into a video file; its first frame is decoded.

    Args:
        path: the file.
        track: which of its sound tracks to hear, from 0; None: the one that the file calls default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, holds no picture, or has no such track.
    """
    path = os.fspath(path)
    with open_container(path, "video") as container:
        stream = container.streams.best("video")
        if stream is None:
            raise ValueError(f"'{path}': holds no picture{', only sound' * _has_sound(container)}")
        check_decoder(stream, path)
        assert isinstance(stream, av.VideoStream)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError(f"'{path}': holds no picture")
        size, aspect = (frame.height, frame.width), stream.sample_aspect_ratio or Fraction(1)
        if _quarter_turns(frame) % 2:
            size, aspect = size[::-1], 1 / aspect
        return Video(
            path=path,
            height=size[0],
            width=size[1],
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            duration=_duration(container, stream),
            origin=float(frame.time or 0.0),
            has_sound=_has_sound(container),
            track=_track(container, path, track),
            aspect=aspect,
        )


def _has_sound(container: av.container.InputContainer) -> bool:
    return bool(container.streams.audio)


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds that there are pictures: sound may last longer."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _track(container: av.container.InputContainer, path: str, asked: int | None) -> int:
    tracks = container.streams.audio
    if asked is not None:
        sound_stream(container, path, asked)
    elif len(tracks) > 1:
        asked = tracks.index(container.streams.best("audio"))
        logger.warning("'%s' has %d sound tracks: number %d is heard.", path, len(tracks), asked)
    elif tracks:
        check_decoder(tracks[0], path)
    return asked or 0


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
    block; an error in the block leaves nothing behind, or what there was under a name of its own.
    Sound is copied where the container takes its codec, otherwise encoded as AAC.

        with VideoWriter("out.mp4", rate=video.rate, sound_of=video) as writer:
            for time, frame in video.frames():
                writer.write(frame, time)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        rate: float = 25.0,
        sound_of: Source | None = None,
        aspect: Fraction = Fraction(1),
        keep_partial_as: str | os.PathLike | None = None,
    ):
        """
        Args:
            path: the file to write; its ending chooses the container (".mp4", ".mkv", ...).
            rate: frames per second: a hint where `write` is given times, else the times.
            sound_of: the source whose sound goes along, on the same clock.
            aspect: width of a pixel relative to its height.
            keep_partial_as: where an error in the block leaves what was written until then.
        """
        self.path = os.fspath(path)
        self.rate = Fraction(rate).limit_denominator(1001)
        self.aspect = aspect
        self.keep_partial_as = keep_partial_as
        self._sound_source = None if sound_of is None else sound_of.sound_source
        self._count = 0
        self._last_tick = -1
        self._end = 0.0
        self._stream: av.VideoStream | None = None
        self._sound: SoundCopy | None = None
        folder, name = os.path.split(self.path)
        self._partial = os.path.join(folder, f".partial-{name}")

    def __enter__(self):
        try:
            self._container = av.open(self._partial, "w")
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"'{self.path}': cannot write a video there ({error})") from error
        try:
            if "libx264" not in self._container.supported_codecs:
                raise ValueError(f"'{self.path}': takes no H.264; write .mp4 or .mkv")
            if self._sound_source is not None:
                self._sound = SoundCopy(self._container, self._sound_source)
        except BaseException:
            self._container.close()
            self._remove_partial()
            raise
        return self

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 (H, W, 3) RGB, of one size throughout. Odd sizes lose nothing: the last row
                or column is repeated, for the codec wants even ones.
            time: its time in seconds, later than the one before; None: `rate` after it.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        start = self._count / float(self.rate) if time is None else time
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last_tick = max(round(start / _TICK), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, _TICK
        with self._told():
            if self._stream is None:
                self._stream = self._open_stream(image)
            self._container.mux(self._stream.encode(frame))
            self._count += 1
            self._end = start + 1 / float(self.rate)
            if self._sound:
                self._sound.mux_until(start)

    def _open_stream(self, image: np.ndarray) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self.rate, options={"crf": "20"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TICK
        stream.codec_context.sample_aspect_ratio = self.aspect
        return stream

    def __exit__(self, kind, error, trace):
        finished = False
        try:
            if kind is None or (self.keep_partial_as and self._count):
                with suppress(ValueError) if kind else nullcontext():
                    self._finish()
                    finished = True
        finally:
            if self._sound:
                self._sound.close()
            finished &= self._close_container(quietly=not finished or kind is not None)
            if not finished:
                self._remove_partial()
        if finished:
            os.replace(self._partial, self.path if kind is None else self.keep_partial_as)

    def _finish(self) -> None:
        if self._stream is None or not self._count:
            raise ValueError(f"'{self.path}': no frame was written")
        with self._told():
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.mux_until(self._end)
                self._sound.flush()

    def _close_container(self, quietly: bool) -> bool:
        """Write the index at the file's end; whether that went well."""
        try:
            with self._told():
                self._container.close()
        except ValueError:
            self._remove_partial()
            if not quietly:
                raise
            return False
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn FFmpeg's complaints, as about a full disk, into one line."""
        try:
            yield
        except av.FFmpegError as error:
            name = os.path.basename(self.path)  # it may grow in a hidden folder
            raise ValueError(f"'{name}': cannot be written ({error.strerror})") from error

    def _remove_partial(self) -> None:
        if os.path.exists(self._partial):
            os.remove(self._partial)
