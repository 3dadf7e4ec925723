"""Writing videos with audio."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from fractions import Fraction
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from ovavss_d2.files import hidden_folder
from ovavss_d2.media.audio import (
    STATED_TIMES,
    AudioTrack,
    decode_audio,
    finite,
    open_container,
    select_audio_stream,
)
from ovavss_d2.media.clock import timed

_TIME_BASE = Fraction(1, 90_000)  # MPEG's clock; common frame rates are close to whole ticks
_MAX_SIDE = 16384  # pixels, of libx264
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class VideoWriter:
    """Writes frames as H.264, with the audio of another file.

    The video is written to a hidden file in the same folder, which is renamed at the end of the
    `with` block. After an error in the block nothing is left, or what was written so far under
    another name. Audio is copied if the container supports its codec, otherwise encoded as AAC.

        with VideoWriter("out.mp4", rate=video.rate, audio_track=video.audio_track) as writer:
            for time, frame in video.frames():
                writer.write(frame, time)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        rate: float = 25.0,
        audio_track: AudioTrack | None = None,
        aspect: Fraction = Fraction(1),
        keep_partial_as: str | os.PathLike | None = None,
        comment: str | None = None,
    ):
        """
        Args:
            path: the file to write; its ending selects the container (".mp4", ".mkv", ...).
            rate: frames per second; only a hint if `write` is given times.
            audio_track: audio to add, on the clock of the frames.
            aspect: width of a pixel relative to its height.
            keep_partial_as: path for what was written before an error in the block.
            comment: stored in the file.
        """
        self.path = os.fspath(path)
        self.rate = Fraction(rate).limit_denominator(1001)
        self.aspect = aspect
        self.keep_partial_as = keep_partial_as
        self.comment = comment
        self._audio_track = audio_track
        self._audio: AudioMux | None = None
        self._stream: av.VideoStream | None = None
        self._count = 0
        self._reformatter = VideoReformatter()
        self._last_tick = -1
        self._end = 0.0

    def __enter__(self) -> "VideoWriter":
        parent, name = os.path.split(self.path)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(hidden_folder(parent))
                self._partial = os.path.join(folder, name)
                self._container = av.open(f"file:{self._partial}", "w")
            except (OSError, ValueError) as error:
                raise ValueError(f"'{self.path}': cannot write a video there ({error})") from error
            stack.callback(self._close)
            if self.comment is not None:
                self._container.metadata["comment"] = self.comment
            if "libx264" not in self._container.supported_codecs:
                raise ValueError(f"'{self.path}': does not support H.264; write .mp4 or .mkv")
            if self._audio_track is not None:
                path = self._audio_track.path
                source = stack.enter_context(open_container(path, "audio"))
                if not _can_copy(source):
                    source = stack.enter_context(open_container(path, "audio", STATED_TIMES))
                self._audio = AudioMux(self._container, self._audio_track, source)
            self._cleanup = stack.pop_all()
        return self

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 (H, W, 3) RGB, all of one size. The codec needs even sizes: for odd ones
                the last row or column is repeated.
            time: in seconds, later than the frame before; None: 1 / rate after it.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        start = self._count / float(self.rate) if time is None else time
        frame = self._to_yuv(av.VideoFrame.from_ndarray(np.ascontiguousarray(image)))
        self._last_tick = max(round(start / _TIME_BASE), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, _TIME_BASE
        with self._one_line_errors():
            if self._stream is None:
                self._stream = self._add_stream(frame)
            self._container.mux(self._stream.encode(frame))
            self._count += 1
            self._end = start + 1 / float(self.rate)
            if self._audio:
                self._audio.mux_until(start)

    def _to_yuv(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert RGB with the matrix that players expect: BT.709 for HD, otherwise BT.601."""
        is_hd = frame.width >= 1280 or frame.height > 576
        return self._reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709 if is_hd else Colorspace.SMPTE170M,
            dst_color_range=ColorRange.MPEG,
        )

    def _add_stream(self, frame: av.VideoFrame) -> av.VideoStream:
        if max(frame.height, frame.width) > _MAX_SIDE:
            raise ValueError(
                f"'{os.path.basename(self.path)}': frames of {frame.width} x {frame.height} pixels "
                f"are too large, H.264 allows sides of {_MAX_SIDE}"
            )
        stream = self._container.add_stream("libx264", rate=self.rate, options={"crf": "20"})
        stream.height, stream.width = frame.height, frame.width
        stream.pix_fmt = frame.format.name
        context = stream.codec_context
        context.time_base = _TIME_BASE
        context.sample_aspect_ratio = self.aspect
        context.colorspace, context.color_range = frame.colorspace, frame.color_range
        context.color_primaries = ColorPrimaries.BT709  # which are those of screens
        context.color_trc = ColorTrc.BT709
        return stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        target = self.path if error is None else self.keep_partial_as
        with self._cleanup:
            if target and (error is None or self._count):
                with suppress(ValueError) if error else nullcontext():
                    self._finish()
                    os.replace(self._partial, target)

    def _finish(self) -> None:
        if self._stream is None or not self._count:
            raise ValueError(f"'{self.path}': no frame was written")
        with self._one_line_errors():
            self._container.mux(self._stream.encode(None))
            if self._audio:
                self._audio.mux_until(self._end)
                self._audio.flush()
            self._container.close()  # writes the index at the end of the file

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Turn FFmpeg's errors, such as a full disk, into one line."""
        try:
            yield
        except av.FFmpegError as error:
            name = os.path.basename(self.path)  # the folder may be hidden
            raise ValueError(f"'{name}': cannot be written ({error.strerror})") from error

    def _close(self) -> None:
        with suppress(av.FFmpegError):
            self._container.close()


class AudioMux:
    """Muxes an audio track into a video: copies packets if the container supports their codec,
    otherwise encodes AAC."""

    def __init__(
        self,
        target: av.container.OutputContainer,
        track: AudioTrack,
        container: av.container.InputContainer,
    ):
        """
        Args:
            target: an open file to write to.
            track: the audio to add; its time 0 is the target's.
            container: the open file of the track.
        """
        self._target = target
        self._track = track
        source = select_audio_stream(container, track.path, track.index)
        name = source.codec_context.name
        # Some containers accept raw samples that few players can read.
        supported = name in target.supported_codecs and not name.startswith("pcm")
        self.copied = supported and _can_copy(container)
        parts: Iterator[av.Packet | av.AudioFrame]
        if self.copied:
            self._stream = target.add_stream_from_template(source)
            parts = (p for p in container.demux(source) if p.pts is not None)
        else:
            rate = source.rate if source.rate in _AAC_RATES else 48000
            self._stream = target.add_stream("aac", rate=rate)
            layout = self._stream.layout.name
            parts = decode_audio(
                container, source, track.path, rate=rate, format="fltp", layout=layout
            )
        self._parts = timed(parts, track.origin)
        self._next: tuple[float, av.Packet | av.AudioFrame] | None = None
        self._last = -1

    def mux_until(self, time: float) -> None:
        """Write all audio that starts before `time`, in seconds."""
        while following := self._next or self._read():
            self._next = following
            start, part = following
            if start - self._track.origin >= time:
                return
            self._next = None
            assert part.time_base is not None
            part.pts = round((start - self._track.origin) / part.time_base)
            if part.pts > self._last:  # containers refuse times that decrease
                self._last = part.pts
                self._mux(part)

    def _read(self) -> tuple[float, av.Packet | av.AudioFrame] | None:
        try:
            return next(self._parts, None)
        except av.FFmpegError as error:
            message = f"'{self._track.path}': damaged audio ({error.strerror})"
            raise ValueError(message) from error

    def _mux(self, part: av.Packet | av.AudioFrame) -> None:
        if isinstance(part, av.Packet):
            part.dts = part.pts
            part.stream = self._stream
            self._target.mux(part)
        else:
            self._target.mux(self._stream.encode(_finite_frame(part)))

    def flush(self) -> None:
        """Write the audio that remains in the encoder."""
        if not self.copied:
            self._target.mux(self._stream.encode(None))


def _finite_frame(frame: av.AudioFrame) -> av.AudioFrame:
    """The frame without NaN and infinity, which the encoder refuses; its format is "fltp"."""
    samples = frame.to_ndarray()
    if np.isfinite(samples).all():
        return frame
    repaired = av.AudioFrame.from_ndarray(finite(samples), format="fltp", layout=frame.layout.name)
    repaired.sample_rate, repaired.time_base, repaired.pts = (
        frame.sample_rate,
        frame.time_base,
        frame.pts,
    )
    return repaired


def _can_copy(container: av.container.InputContainer) -> bool:
    """Whether a file has one sample rate and layout for each track; MPEG-TS may change them."""
    return container.format.name != "mpegts"
