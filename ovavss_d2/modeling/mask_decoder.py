"""Query head: queries hear and see a whole clip, and predict its sounding objects' masks.

Shape letters: B clips, T frames of a clip, Q queries, C channels, A audio channels, M mask
channels, S tokens of a level over a clip (T * h * w, ordered by time, then place), h w places of
a map.
"""

from contextlib import nullcontext

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ovavss_d2.modeling.ops.fast_linear import linear
from ovavss_d2.modeling.ops.mask_product import MaskProduct
from ovavss_d2.modeling.pixel_decoder import AudioConditionedPixelDecoder
from ovavss_d2.modeling.position_encoding import volume_code


class Attention(nn.Module):
    """Multi-head attention with the parameters of `nn.MultiheadAttention`, batch first."""

    def __init__(self, *, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels are no multiple of {num_heads} attention heads")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            query: (B, Q, C).
            key, value: (B, S, C).
            allowed: bool, broadcastable to (B, heads, Q, S); True takes part.

        Returns:
            (B, Q, C).
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        if q.device.type == "cpu":  # whose gradient takes three times as long in 16 bits
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast("cpu", enabled=False):
            out = _attend(q, k, v, allowed)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def _attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """`F.scaled_dot_product_attention`. On a CPU its plain products have the faster gradient, at
    the price of keeping the weights (B, heads, Q, S)."""
    plain = q.device.type == "cpu" and torch.is_grad_enabled()
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


class CrossAttentionLayer(nn.Module):
    """Tokens look at others; residual and LayerNorm after it."""

    def __init__(self, *, dim: int, num_heads: int):
        super().__init__()
        self.multihead_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, position, key, value, allowed=None) -> Tensor:
        """Tokens (B, Q, C) with their position codes; key and value (B, S, C), see `Attention`."""
        return self.norm(x + self.multihead_attn(x + position, key, value, allowed))


class SelfAttentionLayer(nn.Module):
    """Tokens look at each other; residual and LayerNorm after it."""

    def __init__(self, *, dim: int, num_heads: int):
        super().__init__()
        self.self_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Tokens (B, Q, C) and their position codes, which the values are without."""
        placed = x + position
        return self.norm(x + self.self_attn(placed, placed, x))


class FeedForwardLayer(nn.Module):
    """Two linear layers with a ReLU; residual and LayerNorm after them."""

    def __init__(self, *, dim: int, feedforward_dim: int):
        super().__init__()
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MLP(nn.Module):
    """Linear layers with ReLUs between them."""

    def __init__(self, *dims: int):
        """The channels from input to output."""
        super().__init__()
        pairs = zip(dims[:-1], dims[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


@SEM_SEG_HEADS_REGISTRY.register()
class AudioConditionedMaskDecoder(nn.Module):
    """Mask2Former-video's decoder with queries that hear the clip (arXiv 2407.21721)."""

    @configurable
    def __init__(
        self,
        *,
        in_dim: int,
        dim: int,
        mask_dim: int,
        audio_dim: int,
        num_queries: int,
        num_rounds: int,
        num_levels: int,
        num_heads: int,
        feedforward_dim: int,
        num_audio_tokens: int,
        hears: bool = True,
        checkpointing: bool = False,
    ):
        """
        Args:
            in_dim: channels of the pixel decoder's maps.
            dim: channels C of the queries.
            mask_dim, audio_dim: M and A.
            num_queries: Q.
            num_rounds: decoder layers; there is one prediction more than that.
            num_levels: maps of the pixel decoder, which take turns.
            num_heads: of all attentions.
            feedforward_dim: width of the feed-forward nets.
            num_audio_tokens: learnt audio positions.
            hears: the queries attend to the sound.
            checkpointing: in training, layers are computed again for the gradient.
        """
        super().__init__()
        heads, layers = {"dim": dim, "num_heads": num_heads}, range(num_rounds)
        self.hears, self.num_levels, self.dim = hears, num_levels, dim
        self.checkpointing = checkpointing
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(**heads) for _ in layers
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(**heads) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForwardLayer(dim=dim, feedforward_dim=feedforward_dim) for _ in layers
        )
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(num_queries, dim)
        self.query_embed = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(num_levels, dim)
        self.input_proj = nn.ModuleList(
            nn.Identity() if in_dim == dim else nn.Conv2d(in_dim, dim, 1) for _ in range(num_levels)
        )
        self.class_embed = nn.Linear(dim, 2)
        self.mask_embed = MLP(dim, dim, dim, mask_dim)
        if hears:
            self.transformer_audio_cross_attention_layers = nn.ModuleList(
                CrossAttentionLayer(**heads) for _ in layers
            )
            self.audio_query_embed = nn.Embedding(num_audio_tokens, dim)
            self.audio_proj = MLP(audio_dim, dim, dim)
            self.v2a = CrossAttentionLayer(**heads)
            self.a2a = SelfAttentionLayer(**heads)

    @classmethod
    def from_config(cls, cfg):
        keys = cfg.MODEL.MASK_FORMER
        return {
            "in_dim": cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM,
            "dim": keys.HIDDEN_DIM,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "audio_dim": cfg.MODEL.AUDIO.DIM,
            "num_queries": keys.NUM_OBJECT_QUERIES,
            "num_rounds": keys.DEC_LAYERS,
            "num_levels": len(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES) - 1,
            "num_heads": keys.NHEADS,
            "feedforward_dim": keys.DIM_FEEDFORWARD,
            "num_audio_tokens": keys.NUM_AUDIO_TOKENS,
            "hears": keys.AUDIO_QUERIES,
            "checkpointing": cfg.MODEL.CHECKPOINTING,
        }

    def forward(
        self, mask_features: Tensor, multi_scale: list[Tensor], audio: Tensor, num_clips: int
    ) -> dict:
        """
        Args:
            mask_features: (B * T, M, h, w).
            multi_scale: the pixel decoder's maps (B * T, channels, h, w), coarsest first.
            audio: (B * T, A), after fusion.
            num_clips: B; the frames of a clip follow each other.

        Returns:
            "pred_logits" (B, Q, 2): object, no object. "pred_masks" (B, Q, T, h, w): logits.
            "pred_queries" (B, Q, C): normalised queries. "aux_outputs": the same three for each
            earlier prediction, first to last.
        """
        memory = [self._memory(i, x, num_clips) for i, x in enumerate(multi_scale)]
        shapes = [(x.shape[-2], x.shape[-1]) for x in multi_scale]
        position = self.query_embed.weight
        queries = self.query_feat.weight.expand(num_clips, -1, -1)
        heard = None
        if self.hears:
            sound, sound_position = self._sound(audio, num_clips)
            queries = self.v2a(queries, position, sound + sound_position, sound)
            sound = self.a2a(sound, sound_position)
            heard = (sound + sound_position, sound)

        product = MaskProduct(mask_features, num_clips)
        predicted = [self.decoder_norm(queries)]
        for i in range(len(self.transformer_ffn_layers)):
            level = i % self.num_levels
            masks = product.add(self.mask_embed(predicted[-1]))
            allowed = self._allowed(masks, shapes[level])
            inputs = (i, queries, position, memory[level], heard, allowed)
            if self.checkpointing and self.training:
                queries = checkpoint(self._round, *inputs, use_reentrant=False)
            else:
                queries = self._round(*inputs)
            predicted.append(self.decoder_norm(queries))
        product.add(self.mask_embed(predicted[-1]))
        predictions = [
            {"pred_logits": self.class_embed(x), "pred_masks": masks, "pred_queries": x}
            for x, masks in zip(predicted, product.logits(), strict=True)
        ]
        return {**predictions[-1], "aux_outputs": predictions[:-1]}

    def _memory(self, level: int, maps: Tensor, num_clips: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, S, C) of a level, both with its code, the keys with their place."""
        height, width = maps.shape[-2:]
        tokens = self.input_proj[level](maps).flatten(2).transpose(1, 2)  # (B * T, h * w, C)
        tokens = tokens.unflatten(0, (num_clips, -1)).flatten(1, 2) + self.level_embed.weight[level]
        frames = len(maps) // num_clips
        place = volume_code(frames, height, width, self.dim, tokens.device)
        return tokens + place.to(tokens.dtype), tokens

    def _sound(self, audio: Tensor, num_clips: int) -> tuple[Tensor, Tensor]:
        """Audio tokens (B, T, C) and their positions (T, C)."""
        tokens = self.audio_proj(audio).unflatten(0, (num_clips, -1))
        position, frames = self.audio_query_embed.weight, tokens.shape[1]
        if (
            len(position) != frames
        ):  # first and last stay, the others lie on lines between the learnt ones
            position = F.interpolate(
                position.T[None], size=frames, mode="linear", align_corners=True
            )[0].T
        return tokens, position

    def _round(self, i: int, queries, position, memory, sound, allowed) -> Tensor:
        """One decoder layer: look, exchange, listen, think."""
        queries = self.transformer_cross_attention_layers[i](queries, position, *memory, allowed)
        queries = self.transformer_self_attention_layers[i](queries, position)
        if self.hears:
            queries = self.transformer_audio_cross_attention_layers[i](queries, position, *sound)
        return self.transformer_ffn_layers[i](queries)

    @staticmethod
    @torch.no_grad()
    def _allowed(masks: Tensor, shape: tuple[int, int]) -> Tensor:
        """Tokens that a query's last mask covers; all, if it covers none: bool (B, 1, Q, S)."""
        maps = masks.transpose(1, 2).flatten(0, 1).float()  # (B * T, Q, h, w)
        resized = F.interpolate(maps, size=shape, mode="bilinear", align_corners=False)
        resized = resized.unflatten(0, (len(masks), -1)).transpose(1, 2)
        inside = resized.flatten(2).sigmoid() >= 0.5
        return (inside | ~inside.any(dim=-1, keepdim=True))[:, None]


@SEM_SEG_HEADS_REGISTRY.register()
class AudioVisualHead(nn.Module):
    """Pixel decoder and mask decoder."""

    @configurable
    def __init__(self, *, pixel_decoder: nn.Module, predictor: nn.Module):
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]):
        return {
            "pixel_decoder": AudioConditionedPixelDecoder(cfg, input_shape),
            "predictor": AudioConditionedMaskDecoder(cfg),
        }

    def forward(self, features: dict[str, Tensor], audio: Tensor, num_clips: int) -> dict:
        """
        Args:
            features: the backbone's maps (B * T, channels, h, w) by name.
            audio: (B * T, A).
            num_clips: B.

        Returns:
            See `AudioConditionedMaskDecoder.forward`.
        """
        mask_features, multi_scale, audio = self.pixel_decoder(features, audio)
        return self.predictor(mask_features, multi_scale, audio, num_clips)
