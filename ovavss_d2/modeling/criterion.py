"""Training losses of every prediction of the mask decoder.

Shape letters: see `modeling/__init__.py`. The R rows are matched objects in labeled frames.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from torch import Tensor, nn

from ovavss_d2.modeling.matcher import HungarianMatcher, TargetBatch
from ovavss_d2.modeling.ops.points import PointSampler, sample_points

LOSSES = ("loss_object", "loss_mask", "loss_dice", "loss_name")


class Matches(NamedTuple):
    """One prediction's matches and rows, ordered by clip and query."""

    clips: Tensor  # int64 (M,), as the two below
    queries: Tensor
    objects: Tensor  # indices in the batch's list of objects
    of_row: Tensor  # int64 (R,), index of a row's match
    frames: Tensor  # int64 (R,)
    rows: list[int]  # R of each clip


class BatchCounts(NamedTuple):
    """What the losses of a batch are divided by, if it is processed in parts."""

    clips: int
    objects: int
    named: int  # objects whose name is in the training vocabulary


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, mean over points: (R, P) and (R, P) in [0, 1] to (R,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice distance with +1 smoothing: (R, P) and (R, P) in [0, 1] to (R,)."""
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * targets).sum(-1)
    return 1 - (overlap + 1) / (probabilities.sum(-1) + targets.sum(-1) + 1)


class SetCriterion(nn.Module):
    """Matches queries to objects and compares them: object or not, mask, name.

    Sums are divided by counts that are averaged over all processes, so several processes under
    distributed data parallel (which averages gradients) train like one process with all clips.
    Source: Mask2Former (arXiv 2112.01527, section 3.3) for matching and losses at points, OV-AVSS
    (arXiv 2407.21721) for the two classes and the weights.

    Attributes:
        weight_dict: weight of each loss by its key; `forward` returns them unweighted.
    """

    class_weight: Tensor  # (classes + 1,), weights of the classes and of "no object"

    @configurable
    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        sampler: PointSampler,
        num_points: int,
        no_object_weight: float,
        loss_weights: dict[str, float],
        num_predictions: int,
        num_classes: int = 1,
    ):
        """
        Args:
            matcher: assigns queries to objects.
            sampler: draws points.
            num_points: points per mask.
            no_object_weight: weight of "no object" in the cross-entropy, where "object" has 1.
            loss_weights: weights of "loss_object", "loss_mask", "loss_dice" and, if names are
                trained, "loss_name".
            num_predictions: predictions of the mask decoder.
            num_classes: 1 for "object", or the size of the training vocabulary.
        """
        super().__init__()
        self.matcher = matcher
        self.sampler = sampler
        self.num_points = num_points
        weight = torch.tensor([1.0] * num_classes + [no_object_weight])
        self.register_buffer("class_weight", weight, persistent=False)
        suffixes = ["", *(f"_{i}" for i in range(num_predictions - 1))]
        self.weight_dict = {key + s: value for s in suffixes for key, value in loss_weights.items()}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read MODEL.MASK_FORMER, MODEL.CLASSIFIER.TEXT_HEAD and SEED."""
        keys = cfg.MODEL.MASK_FORMER
        weights = [keys.CLASS_WEIGHT, keys.MASK_WEIGHT, keys.DICE_WEIGHT, keys.NAME_WEIGHT]
        used = LOSSES if cfg.MODEL.CLASSIFIER.TEXT_HEAD else LOSSES[:3]
        return {
            "matcher": HungarianMatcher(
                object_weight=keys.CLASS_WEIGHT,
                mask_weight=keys.MASK_WEIGHT,
                dice_weight=keys.DICE_WEIGHT,
            ),
            "sampler": PointSampler(seed=cfg.SEED),
            "num_points": keys.TRAIN_NUM_POINTS,
            "no_object_weight": keys.NO_OBJECT_WEIGHT,
            "loss_weights": dict(zip(used, weights, strict=False)),
            "num_predictions": keys.DEC_LAYERS + 1,
            "num_classes": keys.NUM_CLASSES,
        }

    def forward(
        self,
        outputs: dict,
        targets: list[dict[str, Tensor]],
        *,
        step: int,
        clip_seeds: list[int],
        counts: BatchCounts | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            outputs: "pred_logits" (B, Q, classes + 1), "pred_masks" (B, Q, T, h, w), optionally
                "pred_names" (B, Q, K), and "aux_outputs", a list of the same for the earlier
                predictions.
            targets: B dicts: "labels" (G,), indices in the training vocabulary or -1, "masks" (G,
                T, H, W) at padded size, "labeled" bool (T,). Each object is visible in a labeled
                frame; there may be no object.
            step: training step, part of the key of the random points.
            clip_seeds: one number per clip, which does not depend on the batch.
            counts: of the whole batch, if this is a part of it.

        Returns:
            {"loss_object", "loss_mask", "loss_dice" and, if names are predicted, "loss_name"},
            with "_i" added for the i-th earlier prediction: scalars, unweighted.
        """
        predictions = [*outputs.get("aux_outputs", ()), outputs]
        device = outputs["pred_masks"].device
        with torch.autocast(device.type, enabled=False):
            batch = TargetBatch.pack(targets, device)
            keys: list[dict[str, Any]] = [
                {"step": step, "clip_seeds": clip_seeds, "prediction": i}
                for i in range(len(predictions))
            ]
            points = [self.sampler.match_points(self.num_points, device=device, **k) for k in keys]
            matches = [
                self._in_batch(found, batch) for found in self.matcher(predictions, batch, points)
            ]
            divisors = self._divisors(matches, batch, outputs["pred_logits"].shape[1], counts)
            mask_sums = self._mask_losses(predictions, matches, batch, keys)
            losses = {}
            parts = zip(predictions, matches, mask_sums, divisors, strict=True)
            for i, (prediction, found, masks, divisor) in enumerate(parts):
                sums = [self._object_loss(prediction, found, batch), *masks]
                if "pred_names" in prediction:
                    sums.append(self._name_loss(prediction, found, batch))
                suffix = "" if i == len(predictions) - 1 else f"_{i}"
                for name, total, count in zip(LOSSES, sums, divisor, strict=False):
                    losses[name + suffix] = total / count
        return losses

    def _object_loss(self, prediction: dict, matches: Matches, batch: TargetBatch) -> Tensor:
        logits = prediction["pred_logits"].float()
        num_classes = len(self.class_weight) - 1
        classes = logits.new_full(logits.shape[:2], num_classes, dtype=torch.int64)
        labels = batch.labels[matches.objects] if num_classes > 1 else 0
        classes[matches.clips, matches.queries] = labels
        weight = self.class_weight.to(logits.dtype)
        return F.cross_entropy(
            logits.flatten(0, 1), classes.flatten(), weight, reduction="sum", ignore_index=-1
        )

    def _mask_losses(
        self, predictions: list[dict], matches: list[Matches], batch: TargetBatch, keys: list[dict]
    ) -> list[Tensor]:
        """Cross-entropy and dice of each prediction, summed over its rows: tensors (2,).

        The rows of all predictions are compared together, each at its points.
        """
        if not len(batch.masks):
            # No loss, but every process needs a gradient for every parameter.
            return [p["pred_masks"].float().sum() * batch.masks.new_zeros(2) for p in predictions]
        rows = [self._rows(*one, batch) for one in zip(predictions, matches, keys, strict=True)]
        counts = [len(logits) for logits, _, _ in rows]
        logits, points, truth = (torch.cat(parts) for parts in zip(*rows, strict=True))
        values = sample_points(logits.unsqueeze(1), points).squeeze(1)
        losses = torch.stack([mask_loss(values, truth), dice_loss(values, truth)])
        return [part.sum(dim=1) for part in losses.split(counts, dim=1)]

    def _rows(
        self, prediction: dict, matches: Matches, key: dict, batch: TargetBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One prediction's mask logits (R, h, w), points (R, P, 2) and the truth there (R, P)."""
        masks = prediction["pred_masks"].float()
        found = (matches.clips, matches.queries, matches.objects)
        clips, queries, objects = (x[matches.of_row] for x in found)
        logits = masks[clips, queries, matches.frames]
        with torch.no_grad():
            points = self.sampler.loss_points(logits, matches.rows, self.num_points, **key)
            truth = batch.masks[objects, matches.frames]
            truth = sample_points(truth.unsqueeze(1), points).squeeze(1)
        return logits, points, truth

    @staticmethod
    def _name_loss(prediction: dict, matches: Matches, batch: TargetBatch) -> Tensor:
        logits = prediction["pred_names"].float()
        labels = batch.labels[matches.objects]
        named = logits[matches.clips, matches.queries]
        return F.cross_entropy(named, labels, ignore_index=-1, reduction="sum") + logits.sum() * 0.0

    def _divisors(
        self,
        matches: list[Matches],
        batch: TargetBatch,
        num_queries: int,
        counts: BatchCounts | None,
    ) -> Tensor:
        """Divisors of each prediction's losses, in the order of LOSSES: (predictions, 4).

        They are the weights of all queries, twice the number of objects, and the number of matched
        objects with a name, as means over all processes.
        """
        weights = self.class_weight
        named = torch.stack([(batch.labels[x.objects] >= 0).sum() for x in matches]).to(weights)
        clips, objects, matched = len(batch.counts), len(batch.masks), len(matches[0].objects)
        if counts is not None:
            clips, objects, matched = counts.clips, counts.objects, counts.objects
            named = torch.full_like(named, counts.named)
        queries = weights[0] * matched + weights[-1] * (clips * num_queries - matched)
        columns = [torch.full_like(named, objects)] * 2
        divisors = torch.stack([queries.expand_as(named), *columns, named], dim=1)
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(divisors)
            divisors = divisors / comm.get_world_size()
        divisors[:, 1:] = divisors[:, 1:].clamp(min=1)
        return divisors

    @staticmethod
    def _in_batch(found: list[tuple[Tensor, Tensor]], batch: TargetBatch) -> Matches:
        """One prediction's matches per clip as `Matches` on the targets' device.

        They are computed on the CPU and copied without waiting for a GPU.
        """
        sizes = torch.tensor([len(queries) for queries, _ in found])
        clips = torch.arange(len(found)).repeat_interleave(sizes)
        queries, objects = (torch.cat(parts) for parts in zip(*found, strict=True))
        counts = torch.tensor(batch.counts)
        objects = objects + (counts.cumsum(0) - counts)[clips]
        of_row, frames = batch.labeled[clips].nonzero(as_tuple=True)
        rows = torch.bincount(clips[of_row], minlength=len(found)).tolist()
        device = batch.masks.device
        matched = torch.stack([clips, queries, objects]).to(device, non_blocking=True)
        clips, queries, objects = matched
        of_row, frames = torch.stack([of_row, frames]).to(device, non_blocking=True)
        return Matches(clips, queries, objects, of_row, frames, rows)
