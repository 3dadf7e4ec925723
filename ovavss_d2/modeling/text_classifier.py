"""Classification of masks with CLIP's text embeddings: by pixels, by queries, or by both."""

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip
from ovavss_d2.modeling.crop_classifier import CropClassifier
from ovavss_d2.modeling.dense_classifier import DenseClassifier
from ovavss_d2.vocabulary import name_key, synonyms_of

logger = logging.getLogger(__name__)

CHOICES = ("crop", "query", "ensemble", "dense")
PIXEL_CLASSIFIERS = ("crop", "dense")  # they need no text head


class ClassVocabulary(NamedTuple):
    """The words of all classes, and how they form classes."""

    words: tuple[str, ...]  # class after class, background classes last
    counts: tuple[int, ...]  # synonyms of each class
    trained: tuple[bool, ...]  # whether each class is in the training vocabulary

    def class_logits(self, logits: Tensor) -> Tensor:
        """Logits of each class's most likely synonym: (..., words) to (..., classes)."""
        if max(self.counts) == 1:
            return logits
        parts = logits.split(self.counts, dim=-1)
        return torch.stack([part.amax(-1) for part in parts], dim=-1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the classes: (Q, words) to (Q, classes)."""
        return self.class_logits(logits).softmax(-1)


@functools.lru_cache(maxsize=16)  # the same for all windows of a video
def class_vocabulary(
    names: tuple[str, ...], background_names: tuple[str, ...], training_names: tuple[str, ...]
) -> ClassVocabulary:
    """Split classes into words; a background name that is a synonym of a class is omitted.

    Names are compared by `name_key`.
    """
    named = {name_key(word) for name in names for word in synonyms_of(name)}
    background = {name_key(name): name for name in reversed(background_names)}
    classes = [*names, *(name for key, name in reversed(background.items()) if key not in named)]
    synonyms = [synonyms_of(name) for name in classes]
    trained = {name_key(word) for name in training_names for word in synonyms_of(name)}
    return ClassVocabulary(
        words=tuple(word for words in synonyms for word in words),
        counts=tuple(len(words) for words in synonyms),
        trained=tuple(not trained.isdisjoint(map(name_key, words)) for words in synonyms),
    )


def ensemble(query_probabilities: Tensor, pixel_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Geometric mean p_query^(1-w) p_pixel^w of (Q, K) probabilities, normalized over the names.

    The weight w of each name, (K,), is from 0 (queries alone) to 1 (pixels alone).
    """
    mixed = query_probabilities ** (1 - weights) * pixel_probabilities**weights
    return mixed / mixed.sum(-1, keepdim=True).clamp(min=torch.finfo(mixed.dtype).tiny)


@SEM_SEG_HEADS_REGISTRY.register()
class TextEmbeddingHead(nn.Module):
    """Logits of names from queries: an MLP (C, C, D), then the cosine times a learned scale."""

    @configurable
    def __init__(self, *, query_dim: int, text_dim: int) -> None:
        super().__init__()
        layers = nn.Linear(query_dim, query_dim), nn.ReLU(), nn.Linear(query_dim, text_dim)
        self.layers = nn.Sequential(*layers)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @classmethod
    def from_config(cls, cfg: CfgNode, text_dim: int) -> dict[str, int]:
        """Read MODEL.MASK_FORMER.HIDDEN_DIM."""
        return {"query_dim": cfg.MODEL.MASK_FORMER.HIDDEN_DIM, "text_dim": text_dim}

    def forward(self, queries: Tensor, text: Tensor) -> Tensor:
        """Compare queries (..., C) with unit text embeddings (K, D): logits (..., K)."""
        embeddings = F.normalize(self.layers(queries), dim=-1)
        scale = self.logit_scale.clamp(max=math.log(MAX_LOGIT_SCALE)).exp()
        return scale * embeddings @ text.to(embeddings.dtype).t()


class OpenVocabularyClassifier(nn.Module):
    """Names masks with any vocabulary, by one of four classifiers.

    "crop" and "dense" compare the pixels of a mask with the names, "query" its query, and
    "ensemble" combines "query" with one of the other two. Background names compete in the softmax
    and are never returned.
    """

    @configurable
    def __init__(
        self,
        *,
        clip: FrozenClip,
        text_head: TextEmbeddingHead | None,
        choice: str,
        pixel_classifiers: Mapping[str, CropClassifier | DenseClassifier],
        ensemble_with: str = "crop",
        background_names: Sequence[str],
        weight_seen: float,
        weight_unseen: float,
    ) -> None:
        """
        Args:
            clip: frozen image and text encoders.
            text_head: None for weights without one; then "query" and "ensemble" are not available.
            choice: see `use`.
            pixel_classifiers: those named "crop" and "dense".
            ensemble_with: which of them is part of the ensemble.
            weight_seen, weight_unseen: exponents of the pixel probability in the ensemble, for
                names in the training vocabulary and for others.

        Raises:
            ValueError: there is no such classifier.
        """
        super().__init__()
        if ensemble_with not in PIXEL_CLASSIFIERS:
            raise ValueError(
                f"MODEL.CLASSIFIER.ENSEMBLE_WITH is '{ensemble_with}', expected one of "
                f"{', '.join(PIXEL_CLASSIFIERS)}"
            )
        self.clip = clip
        self.text_head = text_head
        self.pixel_classifiers = dict(pixel_classifiers)
        self.ensemble_with = ensemble_with
        self.background_names = tuple(background_names)
        self.weight_seen = weight_seen
        self.weight_unseen = weight_unseen
        self.use(choice)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read MODEL.CLIP and MODEL.CLASSIFIER."""
        keys, clip_keys = cfg.MODEL.CLASSIFIER, cfg.MODEL.CLIP
        clip = FrozenClip(cfg)
        size, cover = clip_keys.DENSE_SIZE, clip_keys.DENSE_COVER
        return {
            "clip": clip,
            "text_head": TextEmbeddingHead(cfg, clip.embed_dim) if keys.TEXT_HEAD else None,
            "choice": keys.NAME,
            "pixel_classifiers": {
                "crop": CropClassifier(
                    clip=clip, batch_size=clip_keys.BATCH, max_frames=clip_keys.CROP_FRAMES
                ),
                "dense": DenseClassifier(clip=clip, short_side=size, cover=cover),
            },
            "ensemble_with": keys.ENSEMBLE_WITH,
            "background_names": keys.BACKGROUND_NAMES,
            "weight_seen": keys.ENSEMBLE_WEIGHT_SEEN,
            "weight_unseen": keys.ENSEMBLE_WEIGHT_UNSEEN,
        }

    def use(self, choice: str) -> None:
        """Choose the classifier; "crop" replaces those that need a text head if there is none.

        Raises:
            ValueError: there is no such classifier.
        """
        if choice not in CHOICES:
            raise ValueError(
                f"MODEL.CLASSIFIER.NAME is '{choice}', expected one of {', '.join(CHOICES)}"
            )
        if choice not in PIXEL_CLASSIFIERS and self.text_head is None:
            logger.info("The model has no text head: names come from 'crop', not '%s'.", choice)
            choice = "crop"
        self.choice = choice

    @torch.no_grad()
    def name_probabilities(
        self,
        queries: Tensor | None,
        mask_logits: Tensor,
        frames: Tensor,
        names: Sequence[str],
        training_names: Sequence[str] = (),
    ) -> Tensor:
        """Probability of each name for each query of one window.

        A class is as likely as its most likely synonym: synonyms compete before the softmax, so a
        class gains nothing from their number (as with a sum of probabilities), and they are not
        averaged (as with a mean embedding).

        Args:
            queries: normalized queries of the mask decoder (Q, C); None: the pixels alone count.
            mask_logits: (Q, T, H, W), at the size of the padded frames.
            frames: uint8 (T, 3, H', W'), RGB, resized and not padded.
            names: K different names; synonyms of one class are joined by "|".
            training_names: the training vocabulary; the ensemble gives queries more weight there.

        Returns:
            float32 (Q, K). The background names take the rest of each row to 1. Pixel classifiers
            give zeros for a query without a pixel above 0.5.

        Raises:
            ValueError: there are no names.
        """
        if not names:
            raise ValueError("the vocabulary is empty, expected at least one name")
        vocabulary = class_vocabulary(tuple(names), self.background_names, tuple(training_names))
        text = self.clip.encode_text(vocabulary.words)

        def by_queries() -> Tensor:
            assert self.text_head is not None and queries is not None  # see `use`
            return vocabulary.probabilities(self.text_head(queries, text).float())

        def by_pixels(classifier: str) -> Tensor:
            logits, visible = self.pixel_classifiers[classifier](mask_logits, frames, text)
            return vocabulary.probabilities(logits) * visible.unsqueeze(1)

        if self.choice in PIXEL_CLASSIFIERS:
            probabilities = by_pixels(self.choice)
        elif queries is None:
            probabilities = by_pixels(self.ensemble_with)
        elif self.choice == "query":
            probabilities = by_queries()
        else:
            trained = torch.tensor(vocabulary.trained, device=text.device)
            weights = torch.where(trained, self.weight_seen, self.weight_unseen)
            probabilities = ensemble(by_queries(), by_pixels(self.ensemble_with), weights)
        return probabilities[:, : len(names)]
