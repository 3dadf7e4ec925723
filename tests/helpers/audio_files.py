"""Small audio files of any codec, container, channel count and header."""

import struct
from fractions import Fraction

import av
import numpy as np


def write_audio(path, channels, *, codec, rate=16000, container=None, layout=None, options=None):
    """Write float32 (C, S) with FFmpeg."""
    layout = layout or f"{len(channels)} channels"
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, channels.shape[1], 1024):
            piece = channels[:, start : start + 1024].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(piece, np.float32), format="flt", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def wav_bytes(data, *, code=1, rate=16000, bits=16, fmt_size=16, data_size=None, chunk=b""):
    """A mono WAV file whose header may be wrong; `chunk` comes before the data."""
    width = bits // 8
    fields = struct.pack("<HHIIHH", code, 1, rate, rate * width % 2**32, width, bits)
    size = len(data) if data_size is None else data_size
    body = struct.pack("<4sI", b"fmt ", fmt_size) + fields + chunk
    body += struct.pack("<4sI", b"data", size) + data
    return struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WAVE") + body
