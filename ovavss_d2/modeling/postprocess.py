"""From scored (query, name) pairs to a label map. Shape letters: see `modeling/__init__.py`."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor

SCORINGS = ("score", "released")
RELEASED_PAIRS = 10


class Pairs(NamedTuple):
    """R (query, name) pairs, best first: scores float (R,), indices int64 (R,)."""

    scores: Tensor
    queries: Tensor
    names: Tensor


def rank_pairs(scores: Tensor, limit: int | None = None, above: float = -math.inf) -> Pairs:
    """The (query, name) pairs of scores (Q, K) above a score, all or `limit` of them, best first.

    Weak pairs are removed before sorting: a large vocabulary has many of them.
    """
    queries, names = (scores > above).nonzero(as_tuple=True)
    values, order = scores[queries, names].sort(descending=True, stable=True)
    order = order[:limit]
    return Pairs(values[:limit], queries[order], names[order])


class PostProcessor:
    """Scores pairs, removes silent frames and weak pairs, and paints the rest.

    - scoring "score": object probability x name probability.
    - scoring "released": the name probability alone, of the ten best pairs, as in the published
      code.
    """

    @configurable
    def __init__(self, *, scoring: str, threshold: float, silence_rms: float):
        """
        Args:
            scoring: "score" or "released".
            threshold: pairs above this score are painted.
            silence_rms: frames whose sound has a lower root mean square are not painted (full
                scale is 1); 0 paints all.

        Raises:
            ValueError: unknown scoring.
        """
        if scoring not in SCORINGS:
            raise ValueError(f"TEST.SCORING is '{scoring}': expected one of {', '.join(SCORINGS)}")
        self.scoring = scoring
        self.threshold = threshold
        self.silence_rms = silence_rms

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read TEST.SCORING, TEST.SCORE_THRESHOLD and TEST.SILENCE_RMS."""
        return {
            "scoring": cfg.TEST.SCORING,
            "threshold": cfg.TEST.SCORE_THRESHOLD,
            "silence_rms": cfg.TEST.SILENCE_RMS,
        }

    def has_sound(self, audio: Tensor) -> Tensor:
        """Frames that are not silent, bool (T,), from their sound (T, S), full scale 1."""
        return audio.square().mean(-1).sqrt() >= self.silence_rms

    def select_by_objectness(self, objectness: Tensor) -> Tensor:
        """Queries whose score can exceed the threshold, bool (Q,), from object probabilities."""
        if self.scoring == "released":
            return torch.ones_like(objectness, dtype=torch.bool)
        return objectness > self.threshold

    def select_by_mask(self, mask_logits: Tensor, has_sound: Tensor) -> Tensor:
        """Queries with a pixel in a frame that is not silent, bool (Q,); others need no name.

        Mask logits (Q, T, h, w) are without padding, `has_sound` is bool (T,).
        """
        if self.scoring == "released":  # a query without pixels can be among the ten best
            return torch.ones(len(mask_logits), dtype=torch.bool, device=mask_logits.device)
        peaks = mask_logits.amax((-2, -1))  # a resized mask exceeds 0 only if this one does
        return ((peaks > 0) & has_sound).any(1)

    def pairs(self, objectness: Tensor, name_probabilities: Tensor) -> Pairs:
        """The pairs to paint, best first, from objectness (Q,) and name probabilities (Q, K)."""
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
        """Paint one window: a pixel gets the name of the best pair whose mask contains it.

        Args:
            objectness: object probability (Q,).
            name_probabilities: (Q, K).
            mask_logits: (Q, T, h, w), without padding.
            audio: sound of each frame (T, S), full scale 1.
            size: (H, W) of the output.
            names: K names.

        Returns:
            int32 label map (T, H, W): 0 background, k the k-th name; and the painted pairs, best
            first, as dicts with "name", "label" (k), "score" and "masks", the painted pixels, bool
            (T, H, W).
        """
        pairs = self.pairs(objectness, name_probabilities)
        has_sound = self.has_sound(audio).to(mask_logits.device)[:, None, None]
        label_map = torch.zeros(len(audio), *size, dtype=torch.int32, device=mask_logits.device)
        segments: list[dict] = []
        done = set()
        for score, query, name in zip(*(x.tolist() for x in pairs), strict=True):
            if query in done:  # the pixels of this mask have a name already
                continue
            done.add(query)
            # one query at a time, so that memory does not grow with their number
            logits = mask_logits[query].unsqueeze(0).float()
            mask = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0] > 0
            mask &= (label_map == 0) & has_sound
            if mask.any():
                label_map[mask] = name + 1
                segments.append(
                    {"name": names[name], "label": name + 1, "score": score, "masks": mask}
                )
        return label_map, segments
