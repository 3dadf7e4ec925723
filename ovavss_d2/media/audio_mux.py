"""Muxing an audio track into a video file, in sync with its frames."""

from collections.abc import Iterator

import av

from ovavss_d2.media.audio import AudioTrack, open_container, select_audio_stream

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class AudioMux:
    """Copies packets if the container supports their codec; otherwise encodes AAC."""

    def __init__(self, target: av.container.OutputContainer, track: AudioTrack):
        """
        Args:
            target: an open file to write to.
            track: the audio to add; its time 0 is the target's.
        """
        self._target = target
        self._track = track
        self._opened = open_container(track.path, "audio")
        container = self._opened.__enter__()
        try:
            source = select_audio_stream(container, track.path, track.index)
        except ValueError:
            self.close()
            raise
        name = source.codec_context.name
        # Some containers accept raw samples that few players can read.
        self.copied = name in target.supported_codecs and not name.startswith("pcm")
        self._parts: Iterator[av.Packet | av.AudioFrame]
        if self.copied:
            self._stream = target.add_stream_from_template(source)
            self._parts = (p for p in container.demux(source) if p.pts is not None)
        else:
            rate = source.rate if source.rate in _AAC_RATES else 48000
            self._stream = target.add_stream("aac", rate=rate)
            self._parts = container.decode(source)
        self._next: av.Packet | av.AudioFrame | None = None
        self._last = -1

    def mux_until(self, time: float) -> None:
        """Write all audio that starts before `time`, in seconds."""
        while True:
            part = self._next = self._next or self._read()
            if part is None:
                return
            assert part.pts is not None and part.time_base is not None
            if float(part.pts * part.time_base) - self._track.origin >= time:
                return
            self._next = None
            part.pts -= round(self._track.origin / part.time_base)
            if part.pts > self._last:  # containers refuse times that decrease
                self._last = part.pts
                self._mux(part)

    def _read(self) -> av.Packet | av.AudioFrame | None:
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
            self._target.mux(self._stream.encode(part))

    def flush(self) -> None:
        """Write the audio that remains in the encoder."""
        if not self.copied:
            self._target.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the file that the audio is read from."""
        self._opened.__exit__(None, None, None)
