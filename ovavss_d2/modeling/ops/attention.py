"""Multi-head attention of the mask decoder."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ovavss_d2.modeling.ops.fast_linear import linear


class Attention(nn.MultiheadAttention):
    """PyTorch's attention, batch first, with one mask for all heads."""

    def __init__(self, *, dim: int, num_heads: int):
        """
        Args:
            dim: channels C.
            num_heads: J.

        Raises:
            ValueError: C is not a multiple of J.
        """
        if dim % num_heads:
            raise ValueError(f"{dim} channels are not a multiple of {num_heads} attention heads")
        super().__init__(dim, num_heads, batch_first=True)
        nn.init.xavier_uniform_(self.out_proj.weight)

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            query: (B, Q, C).
            key, value: (B, L, C).
            allowed: bool (B, Q, L), the positions that each query attends to; None: all.

        Returns:
            (B, Q, C).
        """
        blocked = None if allowed is None else ~allowed.repeat_interleave(self.num_heads, dim=0)
        return super().forward(query, key, value, attn_mask=blocked, need_weights=False)[0]


class FastAttention(Attention):
    """The same with fast linear layers and, in training on a CPU, a faster gradient."""

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        if q.device.type == "cpu":  # the gradient takes three times as long in 16 bits
            q, k, v = q.float(), k.float(), v.float()
        allowed = None if allowed is None else allowed[:, None]
        # On a CPU the gradient of plain products is faster; it needs the weights (B, J, Q, L).
        plain = q.device.type == "cpu" and torch.is_grad_enabled()
        with (
            torch.autocast("cpu", enabled=False),
            sdpa_kernel(SDPBackend.MATH) if plain else nullcontext(),
        ):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return linear(out.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
