"""Sine position encodings in two and three dimensions; sine and cosine alternate along C.

Shape letters: see `modeling/__init__.py`.
"""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6


def sine_encoding(length: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Encodings (length, C) of the positions 1..length of an axis, scaled to end at 2 pi."""
    position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    position = position / (length + EPSILON) * (2 * math.pi)
    pair = torch.arange(channels, device=device) // 2
    angle = position[:, None] / TEMPERATURE ** (2 * pair / channels)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1)


def encoding_2d(
    height: int, width: int, channels: int, device: torch.device | None = None
) -> Tensor:
    """Encoding of a map: (h * w, C), first half of the channels y, second half x (DETR)."""
    rows = sine_encoding(height, channels // 2, device)[:, None].expand(-1, width, -1)
    columns = sine_encoding(width, channels // 2, device)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def encoding_3d(
    frames: int, height: int, width: int, channels: int, device: torch.device | None = None
) -> Tensor:
    """The 2-D encoding plus one of time: (T * h * w, C) (Mask2Former-video)."""
    time = sine_encoding(frames, channels, device)[:, None]
    return (time + encoding_2d(height, width, channels, device)[None]).flatten(0, 1)
