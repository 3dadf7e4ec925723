"""Naming of masks with CLIP's text embeddings: from crops, from queries, or from both.

Shapes: Q queries, T frames, K names, C query channels, D embedding size, H W padded frames, H' W'
frames before padding.
"""

import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ovavss_d2.modeling.clip import FrozenClip
from ovavss_d2.modeling.crops import CROP_SCALE, CropClassifier
from ovavss_d2.vocabulary import synonyms_of

logger = logging.getLogger(__name__)

CHOICES = ("crop", "query", "ensemble")
START_SCALE = math.log(1 / 0.07)


def ensemble(query_probabilities: Tensor, crop_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Geometric mixture p_query^(1-w) p_crop^w, renormalised over the names.

    Args:
        query_probabilities, crop_probabilities: (Q, K).
        weights: w of each name, (K,), from 0 (query alone) to 1 (crop alone).

    Returns:
        (Q, K).
    """
    mixed = query_probabilities ** (1 - weights) * crop_probabilities**weights
    return mixed / mixed.sum(-1, keepdim=True).clamp(min=torch.finfo(mixed.dtype).tiny)


def best_synonyms(logits: Tensor, names: Sequence[str]) -> Tensor:
    """Logits of classes, (Q, K), from those of all their synonyms, one class after the other."""
    counts = [len(synonyms_of(name)) for name in names]
    if max(counts) == 1:
        return logits
    return torch.stack([part.amax(-1) for part in logits.split(counts, dim=-1)], dim=-1)


@SEM_SEG_HEADS_REGISTRY.register()
class TextEmbeddingClassifier(nn.Module):
    """Logits of names from queries: an MLP (C, C, D), then cosine times a learnt scale.

    It is built as `TextEmbeddingClassifier(cfg, text_dim)`.
    """

    @configurable
    def __init__(self, *, query_dim: int, text_dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(query_dim, query_dim),
            nn.ReLU(),
            nn.Linear(query_dim, text_dim),
        )
        self.logit_scale = nn.Parameter(torch.tensor(START_SCALE))

    @classmethod
    def from_config(cls, cfg, text_dim):
        """Read MODEL.MASK_FORMER.HIDDEN_DIM."""
        return {"query_dim": cfg.MODEL.MASK_FORMER.HIDDEN_DIM, "text_dim": text_dim}

    def forward(self, queries: Tensor, text: Tensor) -> Tensor:
        """Score queries (..., C) against unit text embeddings (K, D): logits (..., K)."""
        embeddings = F.normalize(self.layers(queries), dim=-1)
        scale = self.logit_scale.clamp(max=math.log(CROP_SCALE)).exp()
        return scale * embeddings @ text.to(embeddings.dtype).t()


class OpenVocabularyClassifier(nn.Module):
    """The three classifiers over any vocabulary.

    Background names compete in the softmax and are never returned.

    Attributes:
        clip: `FrozenClip`.
        query_head: `TextEmbeddingClassifier` or None.
        choice: "crop", "query" or "ensemble".
    """

    @configurable
    def __init__(
        self,
        *,
        clip: FrozenClip,
        query_head: TextEmbeddingClassifier | None,
        choice: str,
        crops: CropClassifier,
        background_names: tuple[str, ...],
        weight_seen: float,
        weight_unseen: float,
    ):
        """
        Args:
            clip: frozen towers.
            query_head: None for weights without it; then only "crop" is possible.
            choice: see `use`.
            crops: names masks by their image crops.
            background_names: names that take part in the softmax and are never painted.
            weight_seen, weight_unseen: the ensemble's exponent of the crop probability.
        """
        super().__init__()
        self.clip = clip
        self.query_head = query_head
        self.crops = crops
        self.background_names = tuple(background_names)
        self.weight_seen = weight_seen
        self.weight_unseen = weight_unseen
        self.use(choice)

    @classmethod
    def from_config(cls, cfg):
        """Read MODEL.CLIP and MODEL.CLASSIFIER."""
        keys = cfg.MODEL.CLASSIFIER
        clip = FrozenClip(cfg)
        return {
            "clip": clip,
            "query_head": TextEmbeddingClassifier(cfg, clip.embed_dim) if keys.QUERY_HEAD else None,
            "choice": keys.NAME,
            "crops": CropClassifier.from_config(cfg, clip),
            "background_names": keys.BACKGROUND_NAMES,
            "weight_seen": keys.ENSEMBLE_WEIGHT_SEEN,
            "weight_unseen": keys.ENSEMBLE_WEIGHT_UNSEEN,
        }

    def use(self, choice: str) -> None:
        """Choose the classifier; without a query head it is "crop", said in one log line.

        Raises:
            ValueError: no such classifier.
        """
        if choice not in CHOICES:
            raise ValueError(
                f"MODEL.CLASSIFIER.NAME is '{choice}': expected one of {', '.join(CHOICES)}"
            )
        if choice != "crop" and self.query_head is None:
            logger.info("The model has no query head: names come from crops, not by '%s'.", choice)
            choice = "crop"
        self.choice = choice

    @torch.no_grad()
    def name_probabilities(
        self,
        queries: Tensor,
        mask_logits: Tensor,
        frames: Tensor,
        names: tuple[str, ...],
        training_names: tuple[str, ...] = (),
    ) -> Tensor:
        """Probability of each name for each query of one window.

        Args:
            queries: decoder-normalised (Q, C).
            mask_logits: (Q, T, H, W), at the size of the padded frames.
            frames: uint8 (T, 3, H', W'), RGB, resized and not padded.
            names: K names without repetition; synonyms of one class are joined by "|". A class is
                as likely as its likeliest synonym: their logits compete before the softmax, so
                that a class gains nothing by their number, as it would if their probabilities were
                added, and no synonym is blurred by another, as it would be by a mean embedding.
            training_names: those that the query head was trained on; the ensemble trusts it more on
                them.

        Returns:
            float32 (Q, K). A row falls short of 1 by the background names' share; with crops, a
            query that has no pixel above 0.5 has zeros.

        Raises:
            ValueError: no names.
        """
        if not names:
            raise ValueError("the vocabulary is empty: expected at least one name to look for")
        named = {word for name in names for word in synonyms_of(name)}
        every = (*names, *(name for name in self.background_names if name not in named))
        text = self.clip.encode_text([word for name in every for word in synonyms_of(name)])
        by_choice = {"crop": self._by_crops, "query": self._by_queries, "ensemble": self._by_both}
        probabilities = by_choice[self.choice](
            queries, mask_logits, frames, text, every, training_names
        )
        return probabilities[:, : len(names)]

    def _by_queries(self, queries, mask_logits, frames, text, names, training_names):
        return best_synonyms(self.query_head(queries, text).float(), names).softmax(-1)

    def _by_crops(self, queries, mask_logits, frames, text, names, training_names):
        logits, visible = self.crops(mask_logits, frames, text)
        return best_synonyms(logits, names).softmax(-1) * visible.unsqueeze(1)

    def _by_both(self, *inputs):
        by_queries, by_crops = self._by_queries(*inputs), self._by_crops(*inputs)
        return ensemble(by_queries, by_crops, self._weights(*inputs[-2:]).to(by_crops.device))

    def _weights(self, names, training_names):
        seen = set(training_names)
        known = [not seen.isdisjoint(synonyms_of(name)) for name in names]
        return torch.tensor([self.weight_seen if k else self.weight_unseen for k in known])
