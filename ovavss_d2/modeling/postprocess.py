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

    - scoring "score": object probability x name probability, each to the power of its exponent,
      and in each frame x the probability that the name is heard, if there is an audio classifier.
    - scoring "released": the name probability alone, of the ten best pairs, as in the published
      code.
    """

    @configurable
    def __init__(
        self,
        *,
        scoring: str,
        threshold: float,
        silence_rms: float,
        object_exponent: float = 1.0,
        name_exponent: float = 1.0,
        sound_exponents: tuple[float, float] = (1.0, 1.0),
    ):
        """
        Args:
            scoring: "score" or "released".
            threshold: pairs above this score are painted.
            silence_rms: frames whose sound has a lower root mean square are not painted (full
                scale is 1); 0 paints all.
            object_exponent: of the object probability, at least 0, as the others.
            name_exponent: of the name probability.
            sound_exponents: of the probability that a name is heard, for names in the training
                vocabulary and for others.

        Raises:
            ValueError: unknown scoring.
        """
        if scoring not in SCORINGS:
            raise ValueError(f"TEST.SCORING is '{scoring}': expected one of {', '.join(SCORINGS)}")
        self.scoring = scoring
        self.threshold = threshold
        self.silence_rms = silence_rms
        self.object_exponent, self.name_exponent = object_exponent, name_exponent
        self.sound_exponents = sound_exponents

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read TEST.SCORING, TEST.SCORE_THRESHOLD, TEST.SILENCE_RMS and the exponents."""
        return {
            "scoring": cfg.TEST.SCORING,
            "threshold": cfg.TEST.SCORE_THRESHOLD,
            "silence_rms": cfg.TEST.SILENCE_RMS,
            "object_exponent": cfg.TEST.OBJECT_EXPONENT,
            "name_exponent": cfg.TEST.NAME_EXPONENT,
            "sound_exponents": (cfg.TEST.SOUND_EXPONENT_SEEN, cfg.TEST.SOUND_EXPONENT_UNSEEN),
        }

    def has_sound(self, audio: Tensor) -> Tensor:
        """Frames that are not silent, bool (T,), from their sound (T, S), full scale 1."""
        return audio.square().mean(-1).sqrt() >= self.silence_rms

    def select_by_objectness(self, objectness: Tensor) -> Tensor:
        """Queries whose score can exceed the threshold, bool (Q,), from object probabilities."""
        if self.scoring == "released":
            return torch.ones_like(objectness, dtype=torch.bool)
        return objectness**self.object_exponent > self.threshold

    def sound_factors(self, heard: Tensor, trained: Tensor) -> Tensor:
        """Factors (T, K) of the scores, from the probabilities that names are heard (T, K).

        `trained`, bool (K,), are names in the training vocabulary.
        """
        seen, unseen = self.sound_exponents
        return heard ** torch.where(trained, seen, unseen)

    def can_paint(self, factors: Tensor, objectness: Tensor | None = None) -> Tensor:
        """Frames in which a score can exceed the threshold, since probabilities are at most 1.

        From `sound_factors` (T, K): bool (T,), or with object probabilities (Q,) of each query:
        bool (Q, T).
        """
        highest = factors.amax(1)
        if objectness is not None:
            highest = objectness[:, None] ** self.object_exponent * highest
        return highest > self.threshold

    def select_by_mask(self, mask_logits: Tensor, has_sound: Tensor) -> Tensor:
        """Queries with a pixel in a frame that can be painted, bool (Q,); others need no name.

        Mask logits (Q, T, h, w) are without padding, `has_sound` is bool (T,) or (Q, T).
        """
        if self.scoring == "released":  # a query without pixels can be among the ten best
            return torch.ones(len(mask_logits), dtype=torch.bool, device=mask_logits.device)
        peaks = mask_logits.amax((-2, -1))  # a resized mask exceeds 0 only if this one does
        return ((peaks > 0) & has_sound).any(1)

    def pairs(
        self, objectness: Tensor, name_probabilities: Tensor, factors: Tensor | None = None
    ) -> Pairs:
        """The pairs to paint, best first.

        From objectness (Q,), name probabilities (Q, K), and the factors of a frame (K,).
        """
        # A name that a query cannot have stays at 0, also with exponent 0.
        scores = name_probabilities**self.name_exponent * (name_probabilities > 0)
        if self.scoring == "score":
            scores = objectness.unsqueeze(1) ** self.object_exponent * scores
        if factors is not None:
            scores = scores * factors
        limit = RELEASED_PAIRS if self.scoring == "released" else None
        return rank_pairs(scores, limit, self.threshold)

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
        factors: Tensor | None = None,
    ) -> tuple[Tensor, list[dict]]:
        """Paint one window: a pixel gets the name of the best pair whose mask contains it.

        With factors each frame has its own scores, and the names of a query can change.

        Args:
            objectness: object probability (Q,).
            name_probabilities: (Q, K).
            mask_logits: (Q, T, h, w), without padding.
            audio: sound of each frame (T, S), full scale 1.
            size: (H, W) of the output.
            names: K names.
            factors: of the scores, see `sound_factors`; None: 1.

        Returns:
            int32 label map (T, H, W): 0 background, k the k-th name; and the painted pairs, best
            first, as dicts with "name", "label" (k), "score" (of its best frame) and "masks",
            the painted pixels, bool (T, H, W).
        """
        has_sound = self.has_sound(audio).to(mask_logits.device)
        if factors is None:
            pairs = self.pairs(objectness, name_probabilities)
            label_map, painted = _paint(pairs, mask_logits, has_sound, size)
        else:  # frame by frame
            maps, painted = [], {}
            for t, factor in enumerate(factors):
                pairs = self.pairs(objectness, name_probabilities, factor)
                one = slice(t, t + 1)
                label_map, found = _paint(pairs, mask_logits[:, one], has_sound[one], size)
                maps.append(label_map)
                for key, (score, mask) in found.items():
                    best, masks = painted.get(key, (0.0, mask.new_zeros(len(audio), *size)))
                    masks[t] = mask[0]
                    painted[key] = max(score, best), masks
            label_map = torch.cat(maps)
        best_first = sorted(painted.items(), key=lambda item: item[1][0], reverse=True)
        return label_map, [
            {"name": names[name], "label": name + 1, "score": score, "masks": masks}
            for (_, name), (score, masks) in best_first
        ]


def _paint(
    pairs: Pairs, mask_logits: Tensor, has_sound: Tensor, size: tuple[int, int]
) -> tuple[Tensor, dict[tuple[int, int], tuple[float, Tensor]]]:
    """Paint pairs, best first, into frames with sound: the label map (T, H, W), and the score and
    pixels, bool (T, H, W), of each painted query and name."""
    label_map = torch.zeros(len(has_sound), *size, dtype=torch.int32, device=mask_logits.device)
    painted: dict[tuple[int, int], tuple[float, Tensor]] = {}
    done = set()
    for score, query, name in zip(*(x.tolist() for x in pairs), strict=True):
        if query in done:  # the pixels of this mask have a name already
            continue
        done.add(query)
        logits = mask_logits[query].unsqueeze(0).float()
        if not (logits > 0).any():  # a resized mask exceeds 0 only if this one does
            continue
        # one query at a time, so that memory does not grow with their number
        mask = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0] > 0
        mask &= (label_map == 0) & has_sound[:, None, None]
        if mask.any():
            label_map[mask] = name + 1
            painted[query, name] = score, mask
    return label_map, painted
