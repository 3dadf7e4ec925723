"""From scored (query, name) pairs to a label map.

Shapes: Q queries, K names, N pairs, T frames of a window, S sound samples, h w resized frames, H W
output.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from torch import Tensor

SCORINGS = ("score", "released")
RELEASED_PAIRS = 10


class Pairs(NamedTuple):
    """(Query, name) pairs, best first; scores float (N,), positions int64 (N,)."""

    scores: Tensor
    queries: Tensor
    names: Tensor


def rank_pairs(scores: Tensor, limit: int | None = None, above: float = -math.inf) -> Pairs:
    """The (query, name) pairs of scores (Q, K) above a score, all or `limit` of them, best first.

    Weak pairs are left out before sorting: there are many of them in a large vocabulary.
    """
    queries, names = (scores > above).nonzero(as_tuple=True)
    values, order = scores[queries, names].sort(descending=True, stable=True)
    order = order[:limit]
    return Pairs(values[:limit], queries[order], names[order])


def audible_frames(audio: Tensor, silence_rms: float) -> Tensor:
    """Frames that can be painted: those whose sound is not quieter than `silence_rms`.

    Args:
        audio: (T, S), full scale 1.
        silence_rms: root mean square over a frame's sound.

    Returns:
        bool (T,).
    """
    return audio.square().mean(-1).sqrt() >= silence_rms


def paint(
    pairs: Pairs, mask_logits: Tensor, size: tuple[int, int], audible: Tensor
) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """Paint pairs in order; a pixel keeps its first name.

    Queries are resized one at a time, so that memory does not grow with their number.

    Args:
        pairs: `Pairs`, best first.
        mask_logits: (Q, T, h, w).
        size: (H, W) of the output.
        audible: bool (T,); no other frame is painted.

    Returns:
        int32 (T, H, W), 0 where nothing is painted, else 1 + the name's position; and a list of
        (position in `pairs`, bool (T, H, W) painted pixels) for the pairs that got any.
    """
    label_map = torch.zeros(len(audible), *size, dtype=torch.int32, device=mask_logits.device)
    painted: list[tuple[int, Tensor]] = []
    seen = set()
    if not audible.any():
        return label_map, painted
    for i, (query, name) in enumerate(
        zip(pairs.queries.tolist(), pairs.names.tolist(), strict=True)
    ):
        if query in seen:  # the same mask again: its pixels are taken
            continue
        seen.add(query)
        logits = mask_logits[query].unsqueeze(0).float()
        mask = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0] > 0
        mask &= (label_map == 0) & audible[:, None, None]
        if mask.any():
            label_map[mask] = name + 1
            painted.append((i, mask))
    return label_map, painted


class PostProcessor:
    """Scores pairs in one of two ways, drops silent frames and weak pairs, paints the rest.

    - "score": object probability x name probability.
    - "released": the name probability alone, of the ten best pairs, as the published code does.
    """

    @configurable
    def __init__(self, *, scoring: str, threshold: float, silence_rms: float):
        """
        Args:
            scoring: "score" or "released".
            threshold: pairs above this score are painted.
            silence_rms: frames with less sound are not painted; 0 paints them all.

        Raises:
            ValueError: no such scoring.
        """
        if scoring not in SCORINGS:
            raise ValueError(f"TEST.SCORING is '{scoring}': expected one of {', '.join(SCORINGS)}")
        self.scoring = scoring
        self.threshold = threshold
        self.silence_rms = silence_rms

    @classmethod
    def from_config(cls, cfg):
        """Read TEST.SCORING, TEST.PAINT_THRESHOLD and TEST.SILENCE_RMS."""
        return {
            "scoring": cfg.TEST.SCORING,
            "threshold": cfg.TEST.PAINT_THRESHOLD,
            "silence_rms": cfg.TEST.SILENCE_RMS,
        }

    def paintable(self, objectness: Tensor) -> Tensor:
        """Queries that can be painted at all, bool (Q,), from their object probabilities (Q,)."""
        if self.scoring == "released":
            return torch.ones_like(objectness, dtype=torch.bool)
        return objectness > self.threshold

    def audible(self, audio: Tensor) -> Tensor:
        """Frames that can be painted at all, bool (T,), from their sound (T, S)."""
        return audible_frames(audio, self.silence_rms)

    def showing(self, mask_logits: Tensor, audible: Tensor) -> Tensor:
        """Queries that have a pixel in a frame that can be painted, bool (Q,); others need no name.

        Args:
            mask_logits: (Q, T, h, w), without padding.
            audible: bool (T,).
        """
        if self.scoring == "released":  # there a query that shows nothing can still be among ten
            return torch.ones(len(mask_logits), dtype=torch.bool, device=mask_logits.device)
        peaks = mask_logits.amax((-2, -1))  # a resized mask exceeds 0 only where this one does
        return ((peaks > 0) & audible).any(1)

    def pairs(self, objectness: Tensor, name_probabilities: Tensor) -> Pairs:
        """The pairs to paint, best first.

        Args:
            objectness: object probability (Q,).
            name_probabilities: (Q, K).
        """
        if self.scoring == "released":
            return rank_pairs(name_probabilities, RELEASED_PAIRS, self.threshold)
        return rank_pairs(objectness.unsqueeze(1) * name_probabilities, above=self.threshold)

    @torch.no_grad()
    def __call__(
        self,
        *,
        objectness: Tensor,
        name_probabilities: Tensor,
        mask_logits: Tensor,
        audio: Tensor,
        size: tuple[int, int],
        names: tuple[str, ...],
    ) -> tuple[Tensor, list[dict]]:
        """Paint one window.

        Args:
            objectness: object probability (Q,).
            name_probabilities: (Q, K).
            mask_logits: (Q, T, h, w), without padding.
            audio: each frame's sound (T, S), full scale 1.
            size: (H, W) of the output.
            names: K names.

        Returns:
            int32 label map (T, H, W): 0 background, k the k-th name; and the painted pairs, best
            first, as dicts with "name", "label" (k), "score" and "masks", the bool (T, H, W) pixels
            that bear it.
        """
        pairs = self.pairs(objectness, name_probabilities)
        audible = self.audible(audio).to(mask_logits.device)
        label_map, painted = paint(pairs, mask_logits, size, audible)
        segments = [
            {
                "name": names[pairs.names[i]],
                "label": int(pairs.names[i]) + 1,
                "score": float(pairs.scores[i]),
                "masks": mask,
            }
            for i, mask in painted
        ]
        return label_map, segments
