"""Early fusion: the visual tokens of a frame and its audio token attend to each other.

Shape letters: see `modeling/__init__.py`. L are the visual tokens of a frame.
"""

import torch
from torch import Tensor, nn

SIMILARITY_LIMIT = 50000.0  # keeps half precision finite


class AudioVisualFusion(nn.Module):
    """Bidirectional attention between visual tokens and one audio token (arXiv 2407.21721).

    Both directions share one similarity. As a frame has only one audio token, the softmax over
    audio tokens is 1: the visual update is the projected audio value, the same for each token.
    The softmax over visual tokens needs L x J numbers. The projections before and after it are
    folded into it, which is exact and avoids tensors of width E per token.
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.1,
        init_gamma: float = 1 / 6,
    ):
        """
        Args:
            visual_dim, audio_dim: channels C and A.
            embed_dim: width E of the attention.
            num_heads: J.
            dropout: of both attentions, in training.
            init_gamma: start of the per-channel weight of both updates.

        Raises:
            ValueError: the width is not a multiple of the number of heads.
        """
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(
                f"MODEL.FUSION.EMBED_DIM {embed_dim} is not a multiple of NHEADS {num_heads}"
            )
        self.num_heads = num_heads
        self.layer_norm_v = nn.LayerNorm(visual_dim)
        self.layer_norm_l = nn.LayerNorm(audio_dim)
        self.v_proj = nn.Linear(visual_dim, embed_dim)
        self.l_proj = nn.Linear(audio_dim, embed_dim)
        self.values_v_proj = nn.Linear(visual_dim, embed_dim)
        self.values_l_proj = nn.Linear(audio_dim, embed_dim)
        self.out_v_proj = nn.Linear(embed_dim, visual_dim)
        self.out_l_proj = nn.Linear(embed_dim, audio_dim)
        self.dropout = nn.Dropout(dropout)
        self.gamma_v = nn.Parameter(torch.full((visual_dim,), init_gamma))
        self.gamma_l = nn.Parameter(torch.full((audio_dim,), init_gamma))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Normalize and update visual tokens (N, L, C) and audio tokens (N, A)."""
        visual, audio = self.layer_norm_v(visual), self.layer_norm_l(audio)
        return (
            visual + self.gamma_v * self._visual_update(visual, audio),
            audio + self.gamma_l * self._audio_update(visual, audio),
        )

    def _visual_update(self, visual: Tensor, audio: Tensor) -> Tensor:
        """The audio values, projected: (N, 1, C), or (N, L, C) with dropout per token and head."""
        values = self.values_l_proj(audio)
        if not (self.training and self.dropout.p > 0):
            return self.out_v_proj(values)[:, None]
        kept = self.dropout(visual.new_ones(*visual.shape[:2], self.num_heads))  # (N, L, J)
        out = self.out_v_proj.weight.unflatten(1, (self.num_heads, -1))  # (C, J, E / J)
        per_head = torch.einsum("njd,cjd->njc", values.unflatten(1, (self.num_heads, -1)), out)
        return torch.baddbmm(self.out_v_proj.bias, kept, per_head)

    def _audio_update(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Visual values, weighted by similarity to the audio and projected: (N, A)."""
        attention = self.dropout(self._similarity(visual, audio).softmax(dim=1))  # (N, L, J)
        attended = attention.transpose(1, 2) @ visual  # (N, J, C)
        weight = self.values_v_proj.weight.unflatten(0, (self.num_heads, -1))  # (J, E / J, C)
        bias = self.values_v_proj.bias.unflatten(0, (self.num_heads, -1))  # (J, E / J)
        values = torch.einsum("njc,jdc->njd", attended, weight)
        values = values + attention.sum(dim=1)[..., None] * bias
        return self.out_l_proj(values.flatten(1))

    def _similarity(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Scaled products of the projected visual tokens and audio token: (N, L, J)."""
        key = self.l_proj(audio).unflatten(1, (self.num_heads, -1))  # (N, J, E / J)
        key = key * key.shape[-1] ** -0.5
        weight = self.v_proj.weight.unflatten(0, (self.num_heads, -1))  # (J, E / J, C)
        bias = self.v_proj.bias.unflatten(0, (self.num_heads, -1))  # (J, E / J)
        folded = torch.einsum("njd,jdc->ncj", key, weight)
        constant = (key * bias).sum(-1)[:, None]  # (N, 1, J)
        similarity = torch.baddbmm(constant, visual, folded)
        return similarity.clamp(-SIMILARITY_LIMIT, SIMILARITY_LIMIT)
