"""The sound of a source on its way into another file, in step with the pictures."""

from collections.abc import Iterator

import av

from ovavss_d2.media.audio import open_container
from ovavss_d2.media.audio_stream import Sound, sound_stream

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class SoundCopy:
    """Copies packets where the container takes their codec, otherwise encodes AAC."""

    def __init__(self, target: av.container.OutputContainer, sound: Sound):
        """
        Args:
            target: an open file to write to.
            sound: what to take along; its clock's zero becomes the target's.
        """
        self._target = target
        self._path = sound.path
        self._origin = sound.origin
        self._opened = open_container(sound.path, "sound")
        container = self._opened.__enter__()
        try:
            source = sound_stream(container, sound.path, sound.track)
        except ValueError:
            self.close()
            raise
        name = source.codec_context.name
        # Containers may take raw samples of which few players know.
        self.copied = name in target.supported_codecs and not name.startswith("pcm")
        self._parts: Iterator[av.Packet | av.AudioFrame]
        if self.copied:
            self._stream = target.add_stream_from_template(source)
            self._parts = (p for p in container.demux(source) if p.pts is not None)
        else:
            self._stream = target.add_stream(
                "aac", rate=source.rate if source.rate in _AAC_RATES else 48000
            )
            self._parts = container.decode(source)
        self._next = None
        self._last = -1

    def mux_until(self, time: float) -> None:
        """Write all sound that starts before `time` on the pictures' clock."""
        while True:
            part = self._next = self._next or self._read()
            if part is None or float(part.pts * part.time_base) - self._origin >= time:
                return
            self._next = None
            part.pts -= round(self._origin / part.time_base)
            if part.pts > self._last:  # broken clocks step back, which containers refuse
                self._last = part.pts
                self._mux(part)

    def _read(self):
        try:
            return next(self._parts, None)
        except av.FFmpegError as error:
            raise ValueError(f"'{self._path}': broken sound ({error.strerror})") from error

    def _mux(self, part) -> None:
        if self.copied:
            part.dts = part.pts
            part.stream = self._stream
            self._target.mux(part)
        else:
            self._target.mux(self._stream.encode(part))

    def flush(self) -> None:
        """Write what the encoder still holds."""
        if not self.copied:
            self._target.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the file that the sound comes from."""
        self._opened.__exit__(None, None, None)
