"""Naming of masks with CLIP's text embeddings: by their pixels, by their queries, or by both.

Shapes: Q queries, T frames, K names, C query channels, D embedding size, H W padded frames, H' W'
frames before padding.
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip
from ovavss_d2.modeling.crop_classifier import CropClassifier
from ovavss_d2.modeling.dense_classifier import DenseClassifier
from ovavss_d2.vocabulary import synonyms_of

logger = logging.getLogger(__name__)

CHOICES = ("crop", "query", "ensemble", "dense")
SIGHTS = ("crop", "dense")  # the ways to look at pixels, and to do without a query head
START_SCALE = math.log(1 / 0.07)


def ensemble(query_probabilities: Tensor, seen_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Geometric mixture p_query^(1-w) p_seen^w, renormalised over the names.

    Args:
        query_probabilities, seen_probabilities: (Q, K), by the queries and by the pixels.
        weights: w of each name, (K,), from 0 (query alone) to 1 (pixels alone).

    Returns:
        (Q, K).
    """
    mixed = query_probabilities ** (1 - weights) * seen_probabilities**weights
    return mixed / mixed.sum(-1, keepdim=True).clamp(min=torch.finfo(mixed.dtype).tiny)


class Lexicon(NamedTuple):
    """What a vocabulary means to the classifier, worked out once for all windows."""

    words: tuple[str, ...]  # of all classes, one class after the other, background classes last
    counts: tuple[int, ...]  # synonyms of each class
    seen: tuple[bool, ...]  # classes that the query head was trained on

    @classmethod
    def of(cls, names, background_names, training_names) -> "Lexicon":
        """Of names to look for, and names that compete with them unless they are among them."""
        named = {word for name in names for word in synonyms_of(name)}
        classes = [*names, *(name for name in background_names if name not in named)]
        synonyms = [synonyms_of(name) for name in classes]
        trained = set(training_names)
        return cls(
            words=tuple(word for words in synonyms for word in words),
            counts=tuple(len(words) for words in synonyms),
            seen=tuple(not trained.isdisjoint(words) for words in synonyms),
        )


def best_synonyms(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Logits of classes, (Q, K), from those of all their synonyms, one class after the other."""
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
        scale = self.logit_scale.clamp(max=math.log(MAX_LOGIT_SCALE)).exp()
        return scale * embeddings @ text.to(embeddings.dtype).t()


class OpenVocabularyClassifier(nn.Module):
    """The four classifiers over any vocabulary.

    Background names compete in the softmax and are never returned.

    Attributes:
        clip: `FrozenClip`.
        query_head: `TextEmbeddingClassifier` or None.
        choice: "crop", "query", "ensemble" or "dense".
        sight: what the ensemble looks at pixels with, "crop" or "dense".
    """

    @configurable
    def __init__(
        self,
        *,
        clip: FrozenClip,
        query_head: TextEmbeddingClassifier | None,
        choice: str,
        crops: CropClassifier,
        dense: DenseClassifier,
        sight: str = "crop",
        background_names: tuple[str, ...],
        weight_seen: float,
        weight_unseen: float,
    ):
        """
        Args:
            clip: frozen towers.
            query_head: None for weights without it; then there is no "query".
            choice: see `use`.
            crops: names masks by their image crops.
            dense: names masks by CLIP's map of the frame.
            sight: which of the two takes part in the ensemble.
            background_names: names that take part in the softmax and are never painted.
            weight_seen, weight_unseen: the ensemble's exponent of the pixels' probability.
        """
        super().__init__()
        self.clip = clip
        self.query_head = query_head
        self.crops = crops
        self.dense = dense
        if sight not in SIGHTS:
            raise ValueError(
                f"MODEL.CLASSIFIER.ENSEMBLE_WITH is '{sight}': expected one of {', '.join(SIGHTS)}"
            )
        self.sight = sight
        self.background_names = tuple(background_names)
        self.weight_seen = weight_seen
        self.weight_unseen = weight_unseen
        self._lexicon = (None, None)
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
            "dense": DenseClassifier.from_config(cfg, clip),
            "sight": keys.ENSEMBLE_WITH,
            "background_names": keys.BACKGROUND_NAMES,
            "weight_seen": keys.ENSEMBLE_WEIGHT_SEEN,
            "weight_unseen": keys.ENSEMBLE_WEIGHT_UNSEEN,
        }

    def use(self, choice: str) -> None:
        """Choose the classifier; without a query head it is "crop", said in one log line, unless it
        is "dense".

        Raises:
            ValueError: no such classifier.
        """
        if choice not in CHOICES:
            raise ValueError(
                f"MODEL.CLASSIFIER.NAME is '{choice}': expected one of {', '.join(CHOICES)}"
            )
        if choice not in SIGHTS and self.query_head is None:
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
            float32 (Q, K). A row falls short of 1 by the background names' share; by pixels, a
            query that has no pixel above 0.5 has zeros.

        Raises:
            ValueError: no names.
        """
        if not names:
            raise ValueError("the vocabulary is empty: expected at least one name to look for")
        lexicon = self._lexicon_of(tuple(names), tuple(training_names))
        text = self.clip.encode_text(lexicon.words)
        probabilities = self._by_choice[self.choice](
            self, queries, mask_logits, frames, text, lexicon
        )
        return probabilities[:, : len(names)]

    def _lexicon_of(self, *names):
        if self._lexicon[0] != names:
            self._lexicon = names, Lexicon.of(names[0], self.background_names, names[1])
        return self._lexicon[1]

    def _by_queries(self, queries, mask_logits, frames, text, lexicon):
        logits = self.query_head(queries, text).float()
        return best_synonyms(logits, lexicon.counts).softmax(-1)

    def _by_crops(self, queries, mask_logits, frames, text, lexicon):
        return self._by_pixels(self.crops(mask_logits, frames, text), lexicon)

    def _by_dense(self, queries, mask_logits, frames, text, lexicon):
        return self._by_pixels(self.dense(mask_logits, frames, text), lexicon)

    @staticmethod
    def _by_pixels(found, lexicon):
        logits, visible = found
        return best_synonyms(logits, lexicon.counts).softmax(-1) * visible.unsqueeze(1)

    def _by_both(self, *inputs):
        by_queries = self._by_queries(*inputs)
        by_pixels = self._by_choice[self.sight](self, *inputs)
        seen = torch.tensor(inputs[-1].seen, device=by_pixels.device)
        weights = torch.where(seen, self.weight_seen, self.weight_unseen)
        return ensemble(by_queries, by_pixels, weights)

    _by_choice = {
        "crop": _by_crops,
        "query": _by_queries,
        "ensemble": _by_both,
        "dense": _by_dense,
    }
