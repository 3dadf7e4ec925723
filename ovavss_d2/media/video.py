"""Reading videos: upright frames by presentation time.

A video's clock starts at the presentation time of its first frame.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from ovavss_d2.media.audio import AudioTrack, check_decoder, open_container, select_audio_stream

logger = logging.getLogger(__name__)

# File formats round times: a frame that comes less than this many seconds late is on time.
TIME_TOLERANCE = 0.0005


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Frames with times, and audio on the same clock: a `Video` or `ImageFiles`."""

    path: str
    height: int  # of the upright frames
    width: int
    rate: float  # frames per second, on average
    duration: float  # seconds, as stated in the file; 0 if unknown
    audio_track: AudioTrack | None = None
    aspect: Fraction = Fraction(1)  # width of a pixel relative to its height

    @abstractmethod
    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Read the frames, upright.

        Args:
            fps: frames per second: at each time k / fps, the frame that is displayed then.
                None: every frame, at its own time.

        Yields:
            The time in seconds since the first frame, and the frame, uint8 (height, width, 3) RGB.

        Raises:
            ValueError: a file is damaged.
        """


@dataclass(frozen=True, kw_only=True)
class Video(Source):
    """A video file."""

    origin: float  # time of the first frame on the file's own clock

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Decode the frames."""
        with open_container(self.path, "video") as container:
            frames = self._timed_frames(container)
            for time, frame in frames if fps is None else _at_rate(frames, fps):
                yield time, self._upright(frame)

    def _timed_frames(
        self, container: av.container.InputContainer
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        for i, frame in enumerate(container.decode(stream)):
            # Raw streams have no times.
            yield (i / self.rate if frame.time is None else frame.time - self.origin), frame

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        turns = _quarter_turns(frame)
        width, height = (self.height, self.width) if turns % 2 else (self.width, self.height)
        if (frame.width, frame.height) != (width, height):  # the size changed within the stream
            frame = frame.reformat(width=width, height=height)
        return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def open_video(path: str | os.PathLike, *, audio_index: int | None = None) -> Video:
    """Open a video file with one of its audio tracks, from 0 (None: the file's default).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, has no frames, or no such audio track.
    """
    path = os.fspath(path)
    with open_container(path, "video") as container:
        stream = container.streams.best("video")
        if stream is None:
            only = ", only audio" if container.streams.audio else ""
            raise ValueError(f"'{path}': has no video track{only}")
        check_decoder(stream, path)
        assert isinstance(stream, av.VideoStream)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError(f"'{path}': has no frames")
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if _quarter_turns(frame) % 2:
            width, height, aspect = height, width, 1 / aspect
        origin = float(frame.time or 0.0)
        duration = (container.duration or 0) / av.time_base
        if stream.duration and stream.time_base:  # of the frames; the audio may be longer
            duration = float(stream.duration * stream.time_base)
        return Video(
            path=path,
            height=height,
            width=width,
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            duration=duration,
            origin=origin,
            audio_track=_select_audio(container, path, origin, audio_index),
            aspect=aspect,
        )


def _select_audio(
    container: av.container.InputContainer, path: str, origin: float, index: int | None
) -> AudioTrack | None:
    streams = container.streams.audio
    if index is None and not streams:
        return None
    if index is None and len(streams) > 1:
        index = streams.index(container.streams.best("audio"))
        logger.warning("'%s' has %d audio tracks: number %d is used.", path, len(streams), index)
    select_audio_stream(container, path, index or 0)
    return AudioTrack(path, origin, index or 0)


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4  # counterclockwise, as in NumPy


def _at_rate(
    frames: Iterable[tuple[float, av.VideoFrame]], fps: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Of (time, frame) pairs, select the one that is displayed at each k / fps."""
    last, end, k = None, 0.0, 0
    for time, frame in frames:
        while last is not None and k / fps < time - TIME_TOLERANCE:
            yield k / fps, last
            k += 1
        last = frame
        end = time + float((frame.duration or 0) * (frame.time_base or 0))
    while last is not None and (k / fps < end - TIME_TOLERANCE or k == 0):
        yield k / fps, last
        k += 1
