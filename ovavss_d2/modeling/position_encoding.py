"""Sine position codes in two and three dimensions.

Shape letters: C channels of a code, h w places of a map, T frames. Sine and cosine alternate
along C.
"""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6


def sine_code(length: int, channels: int, device=None) -> Tensor:
    """Codes of the places 1..length of an axis, scaled to end at 2 pi: (length, channels)."""
    place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    place = place / (length + EPSILON) * (2 * math.pi)
    pair = torch.arange(channels, device=device) // 2
    angle = place[:, None] / TEMPERATURE ** (2 * pair / channels)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1)


def plane_code(height: int, width: int, channels: int, device=None) -> Tensor:
    """2-D code of a map: (h * w, C), first half of the channels y, second half x (DETR)."""
    rows = sine_code(height, channels // 2, device)[:, None].expand(-1, width, -1)
    columns = sine_code(width, channels // 2, device)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def volume_code(frames: int, height: int, width: int, channels: int, device=None) -> Tensor:
    """The 2-D code plus one of time over all channels: (T * h * w, C) (Mask2Former-video)."""
    time = sine_code(frames, channels, device)[:, None]
    return (time + plane_code(height, width, channels, device)[None]).flatten(0, 1)
