"""Reading videos: upright frames by presentation time.

A video's clock starts at the presentation time of its first frame.
"""

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from av.container import Flags
from av.stream import Disposition

from ovavss_d2.media.audio import AudioTrack, check_decoder, open_container, select_audio_stream
from ovavss_d2.media.clock import timed
from ovavss_d2.media.images import check_shape

logger = logging.getLogger(__name__)

# File formats round times: a frame that comes less than this many seconds late is on time.
TIME_TOLERANCE = 0.0005
_CUT_TOLERANCE = 0.5  # seconds by which tracks may end before the stated duration


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Frames with times, and audio on the same clock: a `Video` or `ImageFiles`."""

    path: str
    height: int  # of the upright frames
    width: int
    rate: float  # frames per second, on average
    duration: float  # seconds, as stated in the file, without the missing ones; 0 if unknown
    missing_seconds: float = 0.0  # at the end of a file that was cut off
    audio_track: AudioTrack | None = None
    aspect: Fraction = Fraction(1)  # width of a pixel relative to its height

    def __post_init__(self) -> None:
        """Check the size."""
        check_shape(self.path, self.height, self.width)

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
    is_cover: bool = False  # the only frame is the cover image of an audio file

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Decode the frames."""
        with open_container(self.path, "video") as container:
            if self.missing_seconds:  # the last packet is not whole
                container.flags |= cast(int, Flags.discard_corrupt.value)
            frames = self._timed_frames(container)
            for time, frame in frames if fps is None else _at_rate(frames, fps):
                yield time, self._upright(frame)

    def _timed_frames(
        self, container: av.container.InputContainer
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        stream = _select_stream(container)
        assert stream is not None
        stream.thread_type = "AUTO"
        last = -math.inf
        for time, frame in timed(container.decode(stream), self.origin, 1 / self.rate):
            if time > last:
                yield time - self.origin, frame
                last = time

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        swapped, step_y, step_x = _orientation(frame)
        width, height = (self.height, self.width) if swapped else (self.width, self.height)
        if (frame.width, frame.height) != (width, height):  # the size changed within the stream
            frame = frame.reformat(width=width, height=height)
        image = frame.to_ndarray(format="rgb24")
        image = image.swapaxes(0, 1) if swapped else image
        return np.ascontiguousarray(image[::step_y, ::step_x])


def open_video(path: str | os.PathLike, *, audio_index: int | None = None) -> Video:
    """Open a video file with one of its audio tracks, from 0 (None: the file's default).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, has no frames, or no such audio track.
    """
    path = os.fspath(path)
    with open_container(path, "video") as container:
        stream = _select_stream(container)
        if stream is None:
            only = ", only audio" if container.streams.audio else ""
            raise ValueError(f"'{path}': has no video track{only}")
        check_decoder(stream, path)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError(f"'{path}': has no frames")
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if _orientation(frame)[0]:
            width, height, aspect = height, width, 1 / aspect
        origin = float(frame.time or 0.0)
        duration = (container.duration or 0) / av.time_base
        if stream.duration and stream.time_base:  # of the frames; the audio may be longer
            duration = float(stream.duration * stream.time_base)
        missing = _missing_seconds(container, stream, duration)
        if missing:
            logger.warning(
                "'%s' was cut off: the last %.2f of %.2f seconds are missing.",
                path, missing, duration,
            )  # fmt: skip
        return Video(
            path=path,
            height=height,
            width=width,
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            duration=duration - missing,
            missing_seconds=missing,
            origin=origin,
            is_cover=_is_cover(stream),
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


def _select_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The default video track; without one, the cover image."""
    best = container.streams.best("video")
    assert best is None or isinstance(best, av.VideoStream)
    if best is not None and _is_cover(best):
        return next((s for s in container.streams.video if not _is_cover(s)), best)
    return best


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _missing_seconds(
    container: av.container.InputContainer, stream: av.VideoStream, duration: float
) -> float:
    """Seconds of the stated duration that a file does not have, as after an interrupted copy.

    The index of MP4 and MOV has the position of each packet. Matroska, WebM and FLV state a
    duration, to which the last packets are compared.
    """
    entries, base = stream.index_entries, float(stream.time_base or 0)
    if entries and stream.duration and entries[-1].pos + entries[-1].size > container.size:
        lost = min(e.timestamp for e in entries if e.pos + e.size > container.size)
        return min(max(duration - (lost - entries[0].timestamp) * base, base), duration)
    if stream.duration or not container.duration:
        return 0.0
    end = 0.0
    for start in (container.duration, 0):
        with suppress(av.FFmpegError):
            container.seek(start)
            for packet in container.demux():
                if packet.pts is not None and packet.time_base and not packet.is_corrupt:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if end:
            break
    missing = container.duration / av.time_base - end
    frame = 1 / float(stream.average_rate or 25)  # the last one may have no duration
    return missing if missing > _CUT_TOLERANCE + frame else 0.0


def _orientation(frame: av.VideoFrame) -> tuple[bool, int, int]:
    """How a frame becomes upright, by its display matrix: a turn by the closest multiple of 90
    degrees, possibly mirrored.

    Returns:
        Whether to swap the axes, and then the steps, 1 or -1, along y and x.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, 1, 1
    # A pixel (x, y) is displayed at (a x + c y, b x + d y).
    a, b, _, c, d, *_ = np.frombuffer(bytes(cast(Buffer, data)), np.int32).astype(float)
    swapped = bool(abs(a) + abs(d) < abs(b) + abs(c))
    down, right = (b, c) if swapped else (d, a)
    return swapped, -1 if down < 0 else 1, -1 if right < 0 else 1


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
