"""Sampling feature maps at points, and choosing points where a prediction is uncertain.

Shape letters: N maps, C channels, H, W their size, P points. Points are x, y in [0, 1] x [0, 1].
Source: PointRend (Kirillov et al., 2020), section 3.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

__all__ = ["get_uncertain_point_coords_with_randomness", "point_sample"]


def point_sample(input: torch.Tensor, point_coords: torch.Tensor, **kwargs) -> torch.Tensor:
    """Sample maps at points.

    Args:
        input: (N, C, H, W).
        point_coords: (N, P, 2) or (N, H', W', 2).
        **kwargs: of `torch.nn.functional.grid_sample`, whose defaults hold.

    Returns:
        (N, C, P) or (N, C, H', W').
    """
    is_list = point_coords.dim() == 3
    grid = point_coords.unsqueeze(2) if is_list else point_coords
    output = F.grid_sample(input, 2.0 * grid - 1.0, **kwargs)
    return output.squeeze(3) if is_list else output


def get_uncertain_point_coords_with_randomness(
    coarse_logits: torch.Tensor,
    uncertainty_func: Callable[[torch.Tensor], torch.Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> torch.Tensor:
    """Choose points: the most uncertain ones among random candidates, and some at random.

    Args:
        coarse_logits: (N, C, H, W) or (N, 1, H, W).
        uncertainty_func: (N, C, P) logits to (N, 1, P) uncertainties.
        num_points: P.
        oversample_ratio: candidates for each point, at least 1.
        importance_sample_ratio: part of the points that is chosen for uncertainty, in [0, 1].

    Returns:
        (N, P, 2) points: those chosen come first, the most uncertain one at the front.
    """
    if oversample_ratio < 1:
        raise AssertionError(f"oversample_ratio must be at least 1, got {oversample_ratio}")
    if not 0 <= importance_sample_ratio <= 1:
        raise AssertionError(
            f"importance_sample_ratio must be in [0, 1], got {importance_sample_ratio}"
        )
    count, device = coarse_logits.shape[0], coarse_logits.device
    candidates = torch.rand(count, int(num_points * oversample_ratio), 2, device=device)
    logits = point_sample(coarse_logits, candidates, align_corners=False)
    # Uncertainty is judged at the points: interpolating the grid's would blur the boundary away.
    uncertainty = uncertainty_func(logits)[:, 0]
    chosen = int(importance_sample_ratio * num_points)
    best = uncertainty.topk(chosen, dim=1).indices
    points = candidates.gather(1, best.unsqueeze(2).expand(-1, -1, 2))
    spare = torch.rand(count, num_points - chosen, 2, device=device)
    return torch.cat([points, spare], dim=1)
