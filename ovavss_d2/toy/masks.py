"""Imperfect masks like those of a segmenter: coarse, eroded, dilated, shifted, noisy, cut.

Shapes: N masks, H W pixels. Masks are float in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PERFECT = 0.2  # share of masks that are not changed
CUT = 0.25  # share of masks that lose a part
MIN_PIXELS = 12  # above 0.5, of a result
_STRIDES = (4, 8)  # of the coarse versions that are mixed in


def rough_masks(masks: Tensor) -> Tensor:
    """Degrade perfect masks at random (with torch's global generator).

    Args:
        masks: (N, H, W), 0 or 1.

    Returns:
        (N, H, W); masks that would have too few pixels are not changed.
    """
    count = len(masks)
    soft = _displace(_coarsen(masks))
    shift = _uniform(count, -0.32, 0.32)
    soft = torch.sigmoid(_uniform(count, 6, 30) * (soft - 0.5 - shift))
    soft = torch.where(_chance(count, CUT), soft * _half_planes(masks), soft)
    keep = _chance(count, PERFECT) | ((soft > 0.5).sum((1, 2)) < MIN_PIXELS)[:, None, None]
    return torch.where(keep, masks, soft)


def background_masks(masks: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Move masks to a random position, and keep only their pixels on the background.

    Args:
        masks: (N, H, W).
        background: bool (N, H, W), pixels without an object.

    Returns:
        (N, H, W), and bool (N,), whether enough pixels are left.
    """
    _, height, width = masks.shape
    rows = (torch.arange(height) + torch.randint(height, (len(masks), 1))) % height
    columns = (torch.arange(width) + torch.randint(width, (len(masks), 1))) % width
    moved = masks[torch.arange(len(masks))[:, None, None], rows[:, :, None], columns[:, None]]
    moved = moved * background
    return moved, (moved > 0.5).sum((1, 2)) >= MIN_PIXELS


def _coarsen(masks: Tensor) -> Tensor:
    """Mix with noisy versions at larger strides."""
    size = masks.shape[-2:]
    mixed, total = masks, torch.ones(len(masks), 1, 1)
    for stride in _STRIDES:
        small = F.avg_pool2d(masks[:, None], stride, ceil_mode=True)
        small = small + 0.15 * torch.randn_like(small)
        large = F.interpolate(small, size=size, mode="bilinear", align_corners=False)[:, 0]
        weight = _uniform(len(masks), 0, 2)
        mixed, total = mixed + weight * large, total + weight
    return mixed / total


def _displace(masks: Tensor) -> Tensor:
    """Shift by up to 4% of the frame and scale by up to 6%, bilinear."""
    count = len(masks)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = _uniform(count, 0.94, 1.06)[:, 0, 0]
    theta[:, :, 2] = torch.empty(count, 2).uniform_(-0.08, 0.08)
    grid = F.affine_grid(theta, [count, 1, *masks.shape[-2:]], align_corners=False)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def _half_planes(masks: Tensor) -> Tensor:
    """Soft half planes that keep each mask's center and a random part around it."""
    count, height, width = masks.shape
    y, x = torch.arange(height).float()[:, None], torch.arange(width).float()
    area = masks.sum((1, 2)).clamp(min=1)
    center_y = ((masks.sum(2) @ y[:, 0]) / area)[:, None, None]
    center_x = ((masks.sum(1) @ x) / area)[:, None, None]
    angle = _uniform(count, 0, 2 * torch.pi)
    margin = _uniform(count, 0, 0.8) * (area / torch.pi).sqrt()[:, None, None]
    return torch.sigmoid((x - center_x) * angle.cos() + (y - center_y) * angle.sin() + margin)


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count, 1, 1).uniform_(low, high)


def _chance(count: int, probability: float) -> Tensor:
    return torch.rand(count, 1, 1) < probability
