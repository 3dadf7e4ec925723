"""Pairing video frames with audio, by time.

- "time": a frame is paired with the second of audio that starts at its time.
- "released": the code that OV-AVSS's authors released pairs the frame of second i with VGGish's
  example i, which starts at 0.96 i seconds. An example that the audio does not reach is not valid
  (their code then uses zeros in log-mel space).

Shapes: S samples, T frames.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ovavss_d2.media.audio_format import EXAMPLE_HOP, EXAMPLE_SAMPLES, SAMPLE_RATE

PAIRINGS = ("time", "released")


def check_pairing(pairing: str) -> str:
    """Return the pairing, or raise a ValueError if it is not one of `PAIRINGS`."""
    if pairing not in PAIRINGS:
        raise ValueError(f"MODEL.AUDIO.PAIRING is '{pairing}', expected one of {PAIRINGS}")
    return pairing


class AudioContext(NamedTuple):
    """The audio around a frame that an audio classifier takes."""

    rate: int  # Hz
    seconds: float  # half of them before the middle of the second that starts with the frame


class FrameAudio:
    """Cuts the audio of frames out of a stream; it holds little more than one piece in memory."""

    def __init__(
        self, pieces: Iterable[np.ndarray], pairing: str, context: AudioContext | None = None
    ):
        """
        Args:
            pieces: float32 (n,), consecutive, from time 0 on; read only as needed.
            pairing: "time" or "released".
            context: what a frame gets with the pairing "time"; None: its second at 16 kHz.
        """
        self.pairing = pairing
        self.rate, seconds = context or AudioContext(SAMPLE_RATE, 1.0)
        self._size = round(seconds * self.rate)
        self._before = (seconds - 1) / 2
        self._pieces = iter(pieces)
        self._kept = np.zeros(0, np.float32)
        self._kept_start = 0  # index of the first kept sample in the stream

    def at(self, time: float) -> tuple[np.ndarray, bool]:
        """The audio of the frame at `time` (seconds), which never decreases from call to call.

        Returns:
            float32 (S,), zeros beyond the audio; and whether it is valid.
        """
        if self.pairing == "released":
            second, count = self._piece_from(round(time) * EXAMPLE_HOP)
            return second, count >= EXAMPLE_SAMPLES
        return self._piece_from(round((time - self._before) * self.rate))[0], True

    def _piece_from(self, start: int) -> tuple[np.ndarray, int]:
        """The audio that starts at a sample, and how many samples of it the stream has."""
        while self._kept_start + len(self._kept) < start + self._size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._kept = np.concatenate([self._kept, piece])
        drop = min(max(start - self._kept_start, 0), len(self._kept))
        self._kept, self._kept_start = self._kept[drop:], self._kept_start + drop
        second = np.zeros(self._size, np.float32)
        offset = max(self._kept_start - start, 0)
        found = self._kept[: max(self._size - offset, 0)]
        second[offset : offset + len(found)] = found
        return second, len(found)


def audio_at_times(
    audio: np.ndarray, times: Sequence[float], pairing: str
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the audio of T frames, at ascending times in seconds, out of a whole track, float32 (S,)
    at 16 kHz.

    Returns:
        float32 (T, 16000), and bool (T,) whether each is valid.
    """
    frame_audio = FrameAudio([audio], pairing)
    seconds, valid = zip(*map(frame_audio.at, times), strict=True)
    return np.stack(seconds), np.array(valid)


def context_at_times(
    audio: np.ndarray, times: Sequence[float], context: AudioContext
) -> np.ndarray:
    """Cut the audio around T frames out of a whole track at the rate of the context: (T, S)."""
    frame_audio = FrameAudio([audio], "time", context)
    return np.stack([frame_audio.at(time)[0] for time in times])


class FrameWithAudio(NamedTuple):
    """A frame and the audio that it is paired with."""

    time: float  # seconds since the first frame
    image: np.ndarray  # uint8 (H, W, 3) RGB
    audio: np.ndarray  # float32 (16000,)
    valid: bool  # whether the model may use the audio
    context: np.ndarray | None = None  # float32 (S,), see `AudioContext`


def pair_frames(
    frames: Iterable[tuple[float, np.ndarray]], audio: FrameAudio, context: FrameAudio | None = None
) -> Iterator[FrameWithAudio]:
    """Pair frames (ascending times in seconds, and images) with audio, and that around them."""
    for time, image in frames:
        around = None if context is None else context.at(time)[0]
        yield FrameWithAudio(time, image, *audio.at(time), around)
