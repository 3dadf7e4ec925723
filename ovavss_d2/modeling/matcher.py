"""Assignment of queries to objects.

Shapes: B clips, Q queries, N objects of a clip, M objects of the batch, T frames, P points, h w and
H W map sizes.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ovavss_d2.modeling.ops.points import sample_points

POINTS_AT_ONCE = 1 << 13  # on a CPU: the logits of a hundred queries there stay in its cache


@dataclass(frozen=True)
class TargetBatch:
    """The objects of all clips in one list, clip by clip.

    Attributes:
        masks: float (M, T, H, W).
        labels: int64 (M,), 0-based into the training vocabulary, -1 for a name outside it.
        clips: int64 (M,), the clip of each object.
        counts: B numbers of objects.
        labeled: bool (B, T) on the CPU, frames with truth.
    """

    masks: Tensor
    labels: Tensor
    clips: Tensor
    counts: tuple[int, ...]
    labeled: Tensor

    @classmethod
    def pack(cls, targets: list[dict[str, Tensor]], device: torch.device) -> "TargetBatch":
        """Gather a list of B target dicts ("labels" (N,), "masks" (N, T, H, W), "labeled" (T,)).

        Raises:
            ValueError: a dict holds different numbers of labels and masks.
        """
        counts = tuple(len(t["masks"]) for t in targets)
        labels = tuple(len(t["labels"]) for t in targets)
        if labels != counts:
            raise ValueError(
                f"targets with {labels} labels and {counts} masks: expected equal numbers"
            )
        clips = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return cls(
            masks=torch.cat([t["masks"] for t in targets]).to(device, torch.float32),
            labels=torch.cat([t["labels"] for t in targets]).to(device),
            clips=clips.to(device, non_blocking=True),
            counts=counts,
            labeled=torch.stack([t["labeled"] for t in targets]).cpu(),
        )

    def first_object(self) -> list[int]:
        """Position in the list of each clip's first object: B numbers."""
        return [sum(self.counts[:b]) for b in range(len(self.counts))]


def mask_cost(logits: Tensor, probabilities: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of every query with every object, summed over points.

    Args:
        logits: (B, Q, P).
        probabilities: their sigmoid.
        targets: (B, N, P), in [0, 1].

    Returns:
        (B, Q, N).
    """
    # BCE(x, t) = softplus(x) - x t: the sum of products over points is one matrix product. Softplus
    # is x - log(sigmoid(x)), and 0 where the sigmoid leaves the range of floats.
    smallest = torch.finfo(probabilities.dtype).tiny
    softplus = (logits - probabilities.clamp(min=smallest).log_()).relu_()
    return softplus.sum(-1, keepdim=True) - _products(logits, targets)


def dice_cost(overlap: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
    """Dice distance of every query to every object, with +1 smoothing.

    Args:
        overlap: (B, Q, N), products of probabilities and targets, summed over points.
        predicted: (B, Q, 1), probabilities summed over points.
        true: (B, 1, N), targets summed over points.

    Returns:
        (B, Q, N).
    """
    return 1 - (2 * overlap + 1) / (predicted + true + 1)


def sums_over_points(logits: Tensor, targets: Tensor) -> list[Tensor]:
    """`mask_cost` of logits (B, Q, P) and targets (B, N, P), and what `dice_cost` takes.

    On a CPU a block of points at a time, which then need not be read from memory again.
    """
    size = max(1, POINTS_AT_ONCE // len(logits)) if logits.device.type == "cpu" else logits.shape[2]
    blocks = zip(logits.split(size, dim=2), targets.split(size, dim=2), strict=True)
    return [sum(parts) for parts in zip(*(_sums(*block) for block in blocks), strict=True)]


def _sums(logits, targets):
    probabilities = logits.sigmoid()
    return (
        mask_cost(logits, probabilities, targets),
        _products(probabilities, targets),
        probabilities.sum(2, keepdim=True),
        targets.sum(2)[:, None],
    )


def _products(queries: Tensor, objects: Tensor) -> Tensor:
    """(B, Q, P) and (B, N, P) -> (B, Q, N); fast for queries whose points lie apart in memory."""
    return (objects @ queries.transpose(1, 2)).transpose(1, 2)


def _over_labeled_frames(sums: Tensor, labeled: Tensor) -> Tensor:
    """(B * T, Q, N) and (B, T) -> (B, Q, N)."""
    sums = sums.unflatten(0, labeled.shape)
    return sums.masked_fill(~labeled[:, :, None, None], 0).sum(1)


class HungarianMatcher:
    """Optimal one-to-one assignment under weighted object, mask and dice costs.

    Source: Mask2Former (arXiv 2112.01527), with masks of all frames of a clip compared together.
    """

    def __init__(self, *, object_weight: float, mask_weight: float, dice_weight: float):
        self.object_weight = object_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight

    @torch.no_grad()
    def __call__(
        self, predictions: list[dict], targets: TargetBatch, points: list[Tensor]
    ) -> list[list[tuple[Tensor, Tensor]]]:
        """Match every prediction on its own.

        Args:
            predictions: dicts with "pred_logits" (B, Q, 2) and "pred_masks" (B, Q, T, h, w).
            targets: the clips' objects.
            points: one (B, P, 2) per prediction.

        Returns:
            Per prediction and clip a pair of int64 CPU tensors (queries, objects), ordered by
            query; objects count from 0 in each clip.
        """
        if not targets.masks.shape[0]:
            nothing = torch.zeros(0, dtype=torch.int64)
            return [[(nothing, nothing) for _ in targets.counts] for _ in predictions]
        costs = [self.costs(p, targets, q) for p, q in zip(predictions, points, strict=True)]
        # One transfer for all predictions. A diverged model's NaN shall reach the loss, which the
        # trainer checks.
        table = torch.nan_to_num(torch.stack(costs)).cpu().numpy()
        return [
            [self._assign(c[:, :n]) for c, n in zip(cost, targets.counts, strict=True)]
            for cost in table
        ]

    def costs(self, prediction: dict, targets: TargetBatch, points: Tensor) -> Tensor:
        """Costs of one prediction at points (B, P, 2); frames without truth take no part.

        Returns:
            (B, Q, N) with N the most objects of a clip; columns past a clip's own number are void.
        """
        masks = prediction["pred_masks"].float()
        frames = masks.shape[2]
        logits = sample_points(
            masks.transpose(1, 2).flatten(0, 1), points.repeat_interleave(frames, dim=0)
        )
        truth = self._truth_at(targets, points).transpose(1, 2).flatten(0, 1)
        labeled = targets.labeled.to(masks.device, non_blocking=True)
        in_frames = sums_over_points(logits, truth)
        cross_entropy, *shares = (_over_labeled_frames(x, labeled) for x in in_frames)
        num_points = (labeled.sum(1) * points.shape[1]).clamp(min=1)
        is_object = prediction["pred_logits"].float().softmax(-1)[..., :1]
        return (
            self.mask_weight * cross_entropy / num_points[:, None, None]
            + self.dice_weight * dice_cost(*shares)
            - self.object_weight * is_object
        )

    @staticmethod
    def _truth_at(targets, points):
        """Objects at their clip's points, padded with empty ones: (B, N, T, P)."""
        values = sample_points(targets.masks, points[targets.clips])
        return torch.nn.utils.rnn.pad_sequence(values.split(targets.counts), batch_first=True)

    @staticmethod
    def _assign(cost):
        queries, objects = linear_sum_assignment(cost)
        return torch.as_tensor(queries), torch.as_tensor(objects)
