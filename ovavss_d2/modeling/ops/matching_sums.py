"""Sums over points of every query with every object, for the matching costs.

Shape letters: see `modeling/__init__.py`. G is the largest number of objects in a clip here.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.modeling.ops.points import sample_points
from ovavss_d2.modeling.ops.sparse_sampling import sample_sums

MIN_CHANNELS = 64  # a CPU reads all channels of a point together from this number on
BLOCK = 1 << 13  # points of all frames at a time, so that their logits stay in a CPU's cache


class MatchingSums(nn.Module):
    """The sums in plain PyTorch."""

    def forward(
        self, masks: Tensor, points: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Args:
            masks: logits (N, Q, h, w).
            points: (N, P, 2) in [0, 1].
            targets: objects at the points (N, G, P), in [0, 1].

        Returns:
            Sums over the points: binary cross-entropy (N, Q, G), product of probability and target
            (N, Q, G), probability (N, Q, 1), target (N, 1, G).
        """
        return sums_at_points(sample_points(masks, points), targets)


class FastMatchingSums(MatchingSums):
    """Computes the sums block by block on a CPU, so that a block stays in the cache."""

    def forward(
        self, masks: Tensor, points: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if masks.device.type != "cpu":
            return super().forward(masks, points, targets)
        size = max(1, BLOCK // len(masks))
        logits = _sample_channels(masks, points)
        blocks = zip(logits.split(size, dim=2), targets.split(size, dim=2), strict=True)
        sums = zip(*(sums_at_points(*block) for block in blocks), strict=True)
        cross_entropy, overlap, predicted, true = (sum(x[1:], x[0]) for x in sums)
        return cross_entropy, overlap, predicted, true


def _sample_channels(masks: Tensor, points: Tensor) -> Tensor:
    """`sample_points`; many channels are read together."""
    if masks.shape[1] < MIN_CHANNELS:
        return sample_points(masks, points)
    values = masks.flatten(2).transpose(1, 2).unsqueeze(2)
    locations = points[:, :, None, None, None]
    weights, (height, width) = masks.new_ones(locations.shape[:-1]), masks.shape[2:]
    return sample_sums(values, [(height, width)], locations, weights).transpose(1, 2)


def sums_at_points(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums of `MatchingSums` for logits at points (N, Q, P)."""
    probabilities = logits.sigmoid()
    # The cross-entropy of logit x and target t is softplus(x) - x t.
    cross_entropy = F.softplus(logits).sum(2, keepdim=True) - _products(logits, targets)
    overlap = _products(probabilities, targets)
    return cross_entropy, overlap, probabilities.sum(2, keepdim=True), targets.sum(2)[:, None]


def _products(queries: Tensor, objects: Tensor) -> Tensor:
    """(N, Q, P) and (N, G, P) -> (N, Q, G), fast if a query's points are apart in memory."""
    return (objects @ queries.transpose(1, 2)).transpose(1, 2)
