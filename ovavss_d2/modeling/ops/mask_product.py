"""Mask logits: products of embedded queries with a clip's mask features, and their gradient.

Shape letters: B clips, T frames of a clip, Q queries, M mask channels, h w places of a map,
S = T * h * w, R rows (queries of a prediction) whose masks have a gradient.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ovavss_d2.modeling.ops.fast_linear import linear


class MaskProduct:
    """The products of all predictions with the same features.

    Logits lie in memory with the queries innermost, as the features do with their channels: so is
    each of the products, resizings and samplings that they meet a pass over whole rows.
    """

    def __init__(self, mask_features: Tensor, num_clips: int):
        """
        Args:
            mask_features: (B * T, M, h, w).
            num_clips: B; the frames of a clip follow each other.
        """
        maps = mask_features.unflatten(0, (num_clips, -1)).movedim(2, 4)  # (B, T, h, w, M)
        self._shape = maps.shape[1:4]
        self._features = maps.flatten(1, 3).contiguous()  # (B, S, M)
        self._embeddings: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, embeddings: Tensor) -> Tensor:
        """A prediction's embedded queries (B, Q, M) -> its logits (B, Q, T, h, w), no gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._joins_gradients):
            clips = [linear(*x) for x in zip(self._features, embeddings, strict=True)]
            logits = torch.stack(clips) if len(clips) > 1 else clips[0][None]  # without a copy
        self._embeddings.append(embeddings)
        self._logits.append(logits.transpose(1, 2))
        return self._as_maps(self._logits[-1].detach())

    def logits(self) -> list[Tensor]:
        """The logits of all predictions (B, Q, T, h, w), in the order in which they were added."""
        logits = self._logits
        if self._joins_gradients:
            logits = _JoinedGradients.apply(logits, self._features, *self._embeddings)
        return [self._as_maps(x) for x in logits]

    @property
    def _joins_gradients(self) -> bool:
        """A GPU would have to wait to learn which rows have a gradient."""
        return self._features.device.type == "cpu"

    def _as_maps(self, logits: Tensor) -> Tensor:
        return logits.unflatten(2, self._shape)


class _JoinedGradients(torch.autograd.Function):
    """Gives products (B, Q, S) that are known already their gradient, all of them at once.

    Most queries are matched to nothing, so that no loss looks at their masks: their part of the
    gradient, which is zero, is left out.
    """

    @staticmethod
    def forward(ctx, products, features, *embeddings):
        ctx.save_for_backward(features, *embeddings)
        return tuple(products)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        features, *embeddings = ctx.saved_tensors
        kind = gradients[0].dtype
        used = [x.any(dim=2).any(dim=0).nonzero()[:, 0] for x in gradients]
        gradient = torch.cat([x[:, q] for x, q in zip(gradients, used, strict=True)], dim=1)
        embedding = torch.cat([x[:, q] for x, q in zip(embeddings, used, strict=True)], dim=1)
        of_rows = (gradient @ features.to(kind)).to(embedding.dtype)  # (B, R, M)
        of_embeddings = [torch.zeros_like(x) for x in embeddings]
        parts = of_rows.split([len(q) for q in used], dim=1)
        for of_one, q, part in zip(of_embeddings, used, parts, strict=True):
            of_one[:, q] = part
        return None, gradient.transpose(1, 2) @ embedding.to(kind), *of_embeddings
