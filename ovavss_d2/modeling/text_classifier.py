"""Naming of masks with CLIP's text embeddings: from crops, from queries, or from both.

Shapes: Q queries, T frames, K names, C query channels, D embedding size, P (query, frame) pairs, S
crop size, H W padded frames, H' W' frames before padding.
"""

import logging
import math

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torchvision.ops import roi_align

from ovavss_d2.modeling.clip import FrozenClip

logger = logging.getLogger(__name__)

CHOICES = ("crop", "query", "ensemble")
CROP_SCALE = 100.0  # CLIP's largest logit scale
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


def boxes_around(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight boxes of the true pixels, ends exclusive (last + 1).

    Args:
        masks: bool (P, H, W).

    Returns:
        float32 boxes (P, 4) as x0, y0, x1, y1 in pixels, and bool (P,), False where no pixel is
        true.
    """
    sides = []
    for line in (masks.any(1), masks.any(2)):
        first = line.int().argmax(1)
        last = line.shape[1] - line.flip(1).int().argmax(1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], 1).float(), masks.flatten(1).any(1)


def squared(boxes: Tensor) -> Tensor:
    """Boxes (P, 4) with the longer side both ways, from the same left-top corner."""
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
    return torch.cat([boxes[:, :2], boxes[:, :2] + side], 1)


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


class CropClassifier:
    """Logits of names from image crops under soft masks, by frozen CLIP (arXiv 2407.21721)."""

    def __init__(self, *, clip: FrozenClip, batch_size: int):
        """
        Args:
            clip: the image and text towers.
            batch_size: crops per pass.
        """
        self.clip = clip
        self.batch_size = batch_size

    @torch.no_grad()
    def similarities(
        self, mask_logits: Tensor, frames: Tensor, text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compare each visible (frame, query) pair with each name.

        Args:
            mask_logits: (Q, T, H, W), at the size of the padded frames.
            frames: uint8 (T, 3, H', W'), RGB, resized and not padded.
            text: unit embeddings (K, D).

        Returns:
            bool (T, Q), True where a pixel exceeds 0.5, and the logits (P, K) of those pairs in
            row-major order.
        """
        masks = mask_logits.transpose(0, 1)
        frames = frames.float()
        boxes, valid = self._boxes(masks)
        pairs = valid.nonzero()
        found = [text.new_zeros(0, len(text))]
        for pair in pairs.split(self.batch_size) if len(pairs) else ():
            frame, query = pair.unbind(1)
            square = squared(boxes[frame, query])
            soft = masks[frame, query].unsqueeze(1).float().sigmoid()
            crops = self._crop(frames, frame, square)
            crops = crops * self._crop(soft, torch.arange(len(pair)), square)
            found.append(CROP_SCALE * self.clip.encode_images(crops / 255) @ text.t())
        return valid, torch.cat(found)

    def __call__(self, mask_logits: Tensor, frames: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean logits over the frames where a query is visible; arguments as in `similarities`.

        Returns:
            (Q, K), zeros for queries that are never visible, and bool (Q,), which are visible.
        """
        valid, pair_logits = self.similarities(mask_logits, frames, text)
        logits = pair_logits.new_zeros(valid.shape[1], len(text))
        logits.index_add_(0, valid.nonzero()[:, 1], pair_logits)
        count = valid.sum(0)
        return logits / count.clamp(min=1).unsqueeze(1), count > 0

    @staticmethod
    def _boxes(masks):
        """Boxes (T, Q, 4) and validity (T, Q), frame by frame to bound the memory."""
        found = [boxes_around(frame.float().sigmoid() > 0.5) for frame in masks]
        boxes, valid = zip(*found, strict=True)
        return torch.stack(boxes), torch.stack(valid)

    def _crop(self, images, index, boxes):
        """Regions of the indexed images at CLIP's resolution: (P, channels, S, S)."""
        rois = torch.cat([index.to(boxes).unsqueeze(1), boxes], 1)
        return roi_align(images, rois, self.clip.image_size, sampling_ratio=-1, aligned=False)


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
        crop_batch: int,
        background_names: tuple[str, ...],
        weight_seen: float,
        weight_unseen: float,
    ):
        """
        Args:
            clip: frozen towers.
            query_head: None for weights without it; then only "crop" is possible.
            choice: see `use`.
            crop_batch: crops per pass of the image tower.
            background_names: names that take part in the softmax and are never painted.
            weight_seen, weight_unseen: the ensemble's exponent of the crop probability.
        """
        super().__init__()
        self.clip = clip
        self.query_head = query_head
        self.crops = CropClassifier(clip=clip, batch_size=crop_batch)
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
            "crop_batch": cfg.MODEL.CLIP.BATCH,
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
            names: K names without repetition.
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
        every = (*names, *(name for name in self.background_names if name not in names))
        text = self.clip.encode_text(every)
        by_choice = {"crop": self._by_crops, "query": self._by_queries, "ensemble": self._by_both}
        weights = self._weights(every, training_names).to(text.device)
        probabilities = by_choice[self.choice](queries, mask_logits, frames, text, weights)
        return probabilities[:, : len(names)]

    def _by_queries(self, queries, mask_logits, frames, text, weights):
        return self.query_head(queries, text).float().softmax(-1)

    def _by_crops(self, queries, mask_logits, frames, text, weights):
        logits, visible = self.crops(mask_logits, frames, text)
        return logits.softmax(-1) * visible.unsqueeze(1)

    def _by_both(self, *inputs):
        return ensemble(self._by_queries(*inputs), self._by_crops(*inputs), inputs[-1])

    def _weights(self, names, training_names):
        seen = set(training_names)
        return torch.tensor([self.weight_seen if n in seen else self.weight_unseen for n in names])
