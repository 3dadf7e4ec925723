"""Log-mel examples, the input of VGGish, with the numbers of `media.audio_format`."""

import functools

import torch
from torch import Tensor

from ovavss_d2.media.audio_format import (
    EXAMPLE_SAMPLES,
    FFT_LENGTH,
    LOG_OFFSET,
    MEL_BANDS,
    MEL_MAX_HZ,
    MEL_MIN_HZ,
    SAMPLE_RATE,
    WINDOW_HOP,
    WINDOW_LENGTH,
)


def mel_matrix() -> Tensor:
    """Triangular filters on the HTK mel scale (FFT bins, mel bands)."""

    def mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    limits = mel(torch.tensor([MEL_MIN_HZ, MEL_MAX_HZ], dtype=torch.float64))
    edges = torch.linspace(limits[0], limits[1], MEL_BANDS + 2, dtype=torch.float64)
    hz = torch.arange(FFT_LENGTH // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT_LENGTH
    bins = mel(hz)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """The window and the mel filters, in float64 because quiet bands would lose precision."""
    window = torch.hann_window(WINDOW_LENGTH, periodic=True, dtype=torch.float64)
    precision = torch.float32 if device.type == "mps" else torch.float64
    return window.to(device, precision), mel_matrix().to(device, precision)


@torch.no_grad()
def log_mel_examples(waveforms: Tensor) -> Tensor:
    """Log-mel examples of the first 0.975 s of sounds (N, S) in [-1, 1] at 16 kHz: (N, 1, 96, 64).

    Raises:
        ValueError: the sounds are shorter than an example.
    """
    if waveforms.dim() != 2 or waveforms.shape[1] < EXAMPLE_SAMPLES:
        raise ValueError(
            f"sounds of shape {tuple(waveforms.shape)}, expected (N, S) with S at least "
            f"{EXAMPLE_SAMPLES} ({EXAMPLE_SAMPLES / SAMPLE_RATE} s); pad them with zeros"
        )
    window, weights = _tables(waveforms.device)
    frames = waveforms[:, :EXAMPLE_SAMPLES].to(window).unfold(1, WINDOW_LENGTH, WINDOW_HOP)
    spectrum = torch.fft.rfft(frames * window, n=FFT_LENGTH)
    # three times as fast as spectrum.abs(), which is safe against overflow
    magnitude = (spectrum.real.square() + spectrum.imag.square()).sqrt()
    return torch.log(magnitude @ weights + LOG_OFFSET).float()[:, None]
