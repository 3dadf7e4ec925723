"""Random points at which masks are compared, and bilinear sampling at points.

Shape letters: see `modeling/__init__.py`. Points are (x, y) in [0, 1] x [0, 1] of a map's extent,
so they mean the same at every resolution. The R rows are matched objects in labeled frames.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample maps at points, bilinearly, with zeros outside (`align_corners` false).

    Args:
        maps: float (N, C, h, w).
        points: float (N, P, 2), (x, y) in [0, 1].

    Returns:
        float (N, C, P).
    """
    if maps.shape[0] == 0:
        return maps.new_zeros(0, maps.shape[1], points.shape[1])
    grid = 2 * points.to(maps.dtype).unsqueeze(1) - 1
    return F.grid_sample(maps, grid, mode="bilinear", align_corners=False).squeeze(2)


def most_uncertain(logits: Tensor, count: int) -> Tensor:
    """Indices of the `count` points of each row whose logits are nearest to zero.

    Args:
        logits: float (R, P).
        count: at most P.

    Returns:
        int64 (R, count).
    """
    return logits.abs().topk(count, dim=1, largest=False, sorted=False).indices


class PointSampler:
    """The only source of random points in training.

    Every draw has its own generator, keyed by (seed, step, clip, prediction, purpose). So runs are
    reproducible, and a clip gets the same points in any batch and process. A GPU draws other
    points than a CPU or another kind of GPU.
    """

    def __init__(self, *, seed: int, oversample_ratio: float = 3.0, importance_ratio: float = 0.75):
        """
        Args:
            seed: seed of the run.
            oversample_ratio: candidates per point, at least 1 (PointRend's k).
            importance_ratio: share of points chosen by uncertainty, 0 to 1 (PointRend's beta).

        Raises:
            ValueError: a ratio is out of its range.
        """
        if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
            raise ValueError(
                f"oversample ratio {oversample_ratio} and importance ratio {importance_ratio}: "
                "expected at least 1, and 0 to 1"
            )
        self.seed = seed
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio

    def match_points(
        self,
        num_points: int,
        *,
        step: int,
        clip_seeds: list[int],
        prediction: int,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Uniform points for matching: one set per clip, shared by its queries, targets and frames.

        Returns:
            float32 (B, num_points, 2) on the device.
        """
        generators = self._generators(step, clip_seeds, prediction, "match", device)
        return torch.stack([_uniform(num_points, generator=g) for g in generators])

    def loss_points(
        self,
        logits: Tensor,
        rows: list[int],
        num_points: int,
        *,
        step: int,
        clip_seeds: list[int],
        prediction: int,
    ) -> Tensor:
        """Points for the mask losses, most of them at uncertain pixels of the prediction.

        Source: PointRend (arXiv 1912.08193, section 3.1).

        Args:
            logits: predicted mask logits (R, h, w), clip by clip.
            rows: number of rows of each clip, B numbers.
            num_points: points per row.

        Returns:
            float32 (R, num_points, 2) on the device of `logits`.
        """
        important = int(self.importance_ratio * num_points)
        candidates = int(self.oversample_ratio * num_points) if important else 0
        generators = self._generators(step, clip_seeds, prediction, "loss", logits.device)
        drawn = [
            _uniform(count, candidates + num_points - important, generator=g)
            for count, g in zip(rows, generators, strict=True)
        ]
        points = torch.cat(drawn)
        if not important:
            return points
        points, uniform = points.split([candidates, num_points - important], dim=1)
        with torch.no_grad():
            values = sample_points(logits.unsqueeze(1), points).squeeze(1)
        chosen = most_uncertain(values, important).unsqueeze(-1).expand(-1, -1, 2)
        return torch.cat([points.gather(1, chosen), uniform], dim=1)

    def _generators(
        self, step: int, clip_seeds: list[int], prediction: int, purpose: str, device: Any
    ) -> Iterator[torch.Generator]:
        for clip_seed in clip_seeds:
            key = f"{self.seed}:{step}:{clip_seed}:{prediction}:{purpose}"
            digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
            yield torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Points (*shape, 2), drawn on the generator's device."""
    return torch.rand(*shape, 2, generator=generator, device=generator.device)
