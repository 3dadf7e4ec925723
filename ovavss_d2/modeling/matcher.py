"""Assignment of queries to objects.

Shapes: B clips, Q queries, N objects of a clip, M objects of the batch, T frames, P points, h w and
H W map sizes.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ovavss_d2.modeling.points import sample_points


@dataclass(frozen=True)
class TargetBatch:
    """The objects of all clips in one list, clip by clip.

    Attributes:
        masks: float (M, T, H, W).
        labels: int64 (M,), 0-based into the training vocabulary, -1 for a name outside it.
        clips: int64 (M,), the clip of each object.
        counts: B numbers of objects.
        labelled: bool (B, T) on the CPU, frames with truth.
    """

    masks: Tensor
    labels: Tensor
    clips: Tensor
    counts: tuple[int, ...]
    labelled: Tensor

    @classmethod
    def pack(cls, targets: list[dict[str, Tensor]], device: torch.device) -> "TargetBatch":
        """Gather a list of B target dicts ("labels" (N,), "masks" (N, T, H, W), "labelled" (T,)).

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
            labelled=torch.stack([t["labelled"] for t in targets]).cpu(),
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


def dice_cost(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Dice distance of every query to every object, with +1 smoothing.

    Args:
        probabilities: (B, Q, P).
        targets: (B, N, P), in [0, 1].

    Returns:
        (B, Q, N).
    """
    overlap = 2 * _products(probabilities, targets)
    total = probabilities.sum(-1).unsqueeze(2) + targets.sum(-1).unsqueeze(1)
    return 1 - (overlap + 1) / (total + 1)


def _products(queries: Tensor, objects: Tensor) -> Tensor:
    """(B, Q, P) and (B, N, P) -> (B, Q, N); fast for queries whose points lie apart in memory."""
    return (objects @ queries.transpose(1, 2)).transpose(1, 2)


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
        seen = targets.labelled.to(masks.device, masks.dtype, non_blocking=True)[:, None, :, None]
        frames = masks.shape[2]
        logits = sample_points(
            masks.transpose(1, 2).flatten(0, 1), points.repeat_interleave(frames, dim=0)
        )
        logits = logits.unflatten(0, (-1, frames)).transpose(1, 2)  # (B, Q, T, P)
        truth = self._truth_at(targets, points).mul(seen).flatten(2)
        # Far below 0, a logit without truth adds nothing to either cost.
        if not targets.labelled.all():
            logits = logits.masked_fill(seen == 0, -1e4)
        logits = logits.flatten(2)
        num_points = (seen.sum((1, 2, 3)) * points.shape[1]).clamp(min=1)
        is_object = prediction["pred_logits"].float().softmax(-1)[..., :1]
        probabilities = logits.sigmoid()
        return (
            self.mask_weight * mask_cost(logits, probabilities, truth) / num_points[:, None, None]
            + self.dice_weight * dice_cost(probabilities, truth)
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
