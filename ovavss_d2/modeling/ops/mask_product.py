"""Mask logits: products of mask embeddings with the mask features of a clip.

Shape letters: see `modeling/__init__.py`. L is T * h * w here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ovavss_d2.modeling.ops.fast_linear import linear


class MaskProduct(nn.Module):
    """Mask logits of one prediction after the other, in plain PyTorch."""

    def forward(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """
        Args:
            embeddings: mask embeddings of the queries (B, Q, C).
            features: mask features (B, T, h, w, C).

        Returns:
            Logits (B, Q, T, h, w).
        """
        return torch.einsum("bqc,bthwc->bqthw", embeddings, features)

    def with_gradient(
        self, logits: list[Tensor], embeddings: list[Tensor], features: Tensor
    ) -> list[Tensor]:
        """The logits of all predictions with their gradient, which they already have here.

        Args:
            logits, embeddings: results and inputs of the calls of `forward`.
            features: as given to them.
        """
        return logits


class FastMaskProduct(MaskProduct):
    """Computes the gradient of all predictions together, on a CPU.

    The queries of a logit tensor are innermost in memory, like the channels of the features. So
    products, resizing and sampling read and write whole rows.
    """

    def forward(self, embeddings: Tensor, features: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and not self._joins_gradients(features)
        with torch.set_grad_enabled(learns):
            clips = [linear(*x) for x in zip(features.flatten(1, 3), embeddings, strict=True)]
            logits = torch.stack(clips) if len(clips) > 1 else clips[0][None]  # without a copy
        return logits.transpose(1, 2).unflatten(2, features.shape[1:4])

    def with_gradient(
        self, logits: list[Tensor], embeddings: list[Tensor], features: Tensor
    ) -> list[Tensor]:
        if not self._joins_gradients(features):
            return logits
        flat = [x.flatten(2) for x in logits]
        flat = _JoinedGradients.apply(flat, features.flatten(1, 3), *embeddings)
        return [x.unflatten(2, features.shape[1:4]) for x in flat]

    @staticmethod
    def _joins_gradients(features: Tensor) -> bool:
        """A GPU would have to wait until it is known which queries have a gradient."""
        return features.device.type == "cpu"


class _JoinedGradients(torch.autograd.Function):
    """Adds the gradient to known products (B, Q, L) of several predictions.

    Most queries are not matched to an object, so their masks have no loss. The gradient is zero
    for them and is not computed.
    """

    @staticmethod
    def forward(ctx: Any, products: list[Tensor], features: Tensor, *embeddings: Tensor) -> Any:
        ctx.save_for_backward(features, *embeddings)
        return tuple(products)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        features, *embeddings = ctx.saved_tensors
        dtype = gradients[0].dtype
        used = [x.any(dim=2).any(dim=0).nonzero()[:, 0] for x in gradients]
        gradient = torch.cat([x[:, q] for x, q in zip(gradients, used, strict=True)], dim=1)
        embedding = torch.cat([x[:, q] for x, q in zip(embeddings, used, strict=True)], dim=1)
        of_used = (gradient @ features.to(dtype)).to(embedding.dtype)  # (B, used queries, C)
        of_embeddings = [torch.zeros_like(x) for x in embeddings]
        parts = of_used.split([len(q) for q in used], dim=1)
        for of_one, q, part in zip(of_embeddings, used, parts, strict=True):
            of_one[:, q] = part
        return None, gradient.transpose(1, 2) @ embedding.to(dtype), *of_embeddings
