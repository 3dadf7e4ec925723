"""Assignment of queries to objects. Shape letters: see `modeling/__init__.py`."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ovavss_d2.modeling.mask_decoder import object_probability
from ovavss_d2.modeling.ops.matching_sums import MatchingSums
from ovavss_d2.modeling.ops.points import sample_points


@dataclass(frozen=True)
class TargetBatch:
    """The objects of all clips in one list, clip by clip.

    Attributes:
        masks: float (G, T, H, W).
        labels: int64 (G,), indices in the training vocabulary, -1 for other names.
        clips: int64 (G,), the clip of each object.
        counts: number of objects of each clip, B numbers.
        labeled: bool (B, T) on the CPU, frames with truth.
    """

    masks: Tensor
    labels: Tensor
    clips: Tensor
    counts: tuple[int, ...]
    labeled: Tensor

    @classmethod
    def pack(cls, targets: list[dict[str, Tensor]], device: torch.device) -> "TargetBatch":
        """Concatenate B target dicts ("labels" (G,), "masks" (G, T, H, W), "labeled" (T,))."""
        counts = tuple(len(t["masks"]) for t in targets)
        assert counts == tuple(len(t["labels"]) for t in targets)
        clips = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return cls(
            masks=torch.cat([t["masks"] for t in targets]).to(device, torch.float32),
            labels=torch.cat([t["labels"] for t in targets]).to(device),
            clips=clips.to(device, non_blocking=True),
            counts=counts,
            labeled=torch.stack([t["labeled"] for t in targets]).cpu(),
        )


class HungarianMatcher(nn.Module):
    """Optimal one-to-one assignment under weighted object, mask and dice costs.

    Source: Mask2Former (arXiv 2112.01527), with the masks of all frames of a clip together.
    """

    def __init__(self, *, object_weight: float, mask_weight: float, dice_weight: float):
        super().__init__()
        self.object_weight = object_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.sums = MatchingSums()

    @torch.no_grad()
    def forward(
        self, predictions: list[dict], targets: TargetBatch, points: list[Tensor]
    ) -> list[list[tuple[Tensor, Tensor]]]:
        """Match every prediction independently.

        Args:
            predictions: dicts with "pred_logits" (B, Q, classes + 1), "pred_masks" (B, Q, T, h, w).
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
        # One transfer for all predictions. NaN of a diverged model is no error here: the trainer
        # checks the loss.
        table = torch.nan_to_num(torch.stack(costs)).cpu().numpy()
        return [
            [self._assign(c[:, :n]) for c, n in zip(cost, targets.counts, strict=True)]
            for cost in table
        ]

    def costs(self, prediction: dict, targets: TargetBatch, points: Tensor) -> Tensor:
        """Costs of one prediction at points (B, P, 2), over the frames with truth.

        Returns:
            (B, Q, G), G being the largest number of objects in a clip. Other clips use the first
            columns.
        """
        masks = prediction["pred_masks"].float()
        frames = masks.shape[2]
        maps = masks.transpose(1, 2).flatten(0, 1)  # (N, Q, h, w)
        values = sample_points(targets.masks, points[targets.clips])  # objects at their points
        truth = pad_sequence(values.split(targets.counts), batch_first=True)  # (B, G, T, P)
        truth = truth.transpose(1, 2).flatten(0, 1)
        labeled = targets.labeled.to(masks.device, non_blocking=True)
        sums = self.sums(maps, points.repeat_interleave(frames, dim=0), truth)
        cross_entropy, overlap, predicted, true = (
            x.unflatten(0, labeled.shape).masked_fill(~labeled[:, :, None, None], 0).sum(1)
            for x in sums
        )
        dice = 1 - (2 * overlap + 1) / (predicted + true + 1)
        num_points = (labeled.sum(1) * points.shape[1]).clamp(min=1)
        is_object = object_probability(prediction["pred_logits"].float()).unsqueeze(-1)
        return (
            self.mask_weight * cross_entropy / num_points[:, None, None]
            + self.dice_weight * dice
            - self.object_weight * is_object
        )

    @staticmethod
    def _assign(cost: np.ndarray) -> tuple[Tensor, Tensor]:
        queries, objects = linear_sum_assignment(cost)
        return torch.as_tensor(queries), torch.as_tensor(objects)
