"""Mask decoder: queries attend to the frames and the audio of a clip and predict objects' masks.

Shape letters: see `modeling/__init__.py`. L are the positions of a level in a clip (T * h * w).
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ovavss_d2.modeling.ops.attention import Attention
from ovavss_d2.modeling.ops.mask_product import MaskProduct
from ovavss_d2.modeling.pixel_decoder import AudioConditionedPixelDecoder
from ovavss_d2.modeling.position_encoding import encoding_2d, encoding_3d


class CrossAttentionLayer(nn.Module):
    """Attention of tokens to other tokens, with residual and LayerNorm."""

    def __init__(self, *, dim: int, num_heads: int):
        super().__init__()
        self.multihead_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, position: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, Q, C) and their position encodings; key and value (B, L, C): `Attention`."""
        return self.norm(x + self.multihead_attn(x + position, key, value, allowed))


class SelfAttentionLayer(nn.Module):
    """Attention of tokens to each other, with residual and LayerNorm."""

    def __init__(self, *, dim: int, num_heads: int):
        super().__init__()
        self.self_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Tokens (B, Q, C) and position encodings, which are not added to the values."""
        positioned = x + position
        return self.norm(x + self.self_attn(positioned, positioned, x))


class FeedForwardLayer(nn.Module):
    """Two linear layers with a ReLU, with residual and LayerNorm."""

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
        """Numbers of channels, from input to output."""
        super().__init__()
        pairs = zip(dims[:-1], dims[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def object_probability(logits: Tensor) -> Tensor:
    """1 minus the probability of "no object", which is last: (..., classes + 1) to (...)."""
    return logits.softmax(-1)[..., :-1].sum(-1)


@SEM_SEG_HEADS_REGISTRY.register()
class AudioConditionedMaskDecoder(nn.Module):
    """Mask2Former-video's decoder with queries that attend to the audio (arXiv 2407.21721)."""

    @configurable
    def __init__(
        self,
        *,
        in_dim: int,
        dim: int,
        mask_dim: int,
        audio_dim: int,
        num_queries: int,
        num_layers: int,
        num_levels: int,
        num_heads: int,
        feedforward_dim: int,
        num_audio_tokens: int,
        num_classes: int = 1,
        audio_queries: bool = True,
        time_encoding: bool = True,
        checkpointing: bool = False,
    ):
        """
        Args:
            in_dim: channels of the pixel decoder's maps.
            dim: channels C of the queries.
            mask_dim: channels of the mask features.
            audio_dim: A.
            num_queries: Q.
            num_layers: decoder layers; there is one more prediction.
            num_levels: maps of the pixel decoder, which the layers use in turn.
            num_heads: of all attentions.
            feedforward_dim: width of the feed-forward networks.
            num_audio_tokens: learned audio positions.
            num_classes: classes of the class layer, beside "no object".
            audio_queries: the queries attend to the audio tokens.
            time_encoding: positions include that of the frame, unlike those of image models.
            checkpointing: gradient checkpointing of the layers.
        """
        super().__init__()
        heads = {"dim": dim, "num_heads": num_heads}

        def layers(kind: type[nn.Module], **sizes: int) -> nn.ModuleList:
            return nn.ModuleList(kind(**sizes) for _ in range(num_layers))

        self.audio_queries, self.num_levels, self.dim = audio_queries, num_levels, dim
        self.time_encoding, self.checkpointing = time_encoding, checkpointing
        self.transformer_self_attention_layers = layers(SelfAttentionLayer, **heads)
        self.transformer_cross_attention_layers = layers(CrossAttentionLayer, **heads)
        sizes = {"dim": dim, "feedforward_dim": feedforward_dim}
        self.transformer_ffn_layers = layers(FeedForwardLayer, **sizes)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(num_queries, dim)
        self.query_embed = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(num_levels, dim)
        self.input_proj = nn.ModuleList(
            nn.Identity() if in_dim == dim else nn.Conv2d(in_dim, dim, 1) for _ in range(num_levels)
        )
        self.class_embed = nn.Linear(dim, num_classes + 1)
        self.mask_embed = MLP(dim, dim, dim, mask_dim)
        self.mask_product = MaskProduct()
        if audio_queries:
            self.transformer_audio_cross_attention_layers = layers(CrossAttentionLayer, **heads)
            self._add_audio_layers(audio_dim, num_audio_tokens, heads)

    def _add_audio_layers(self, audio_dim: int, num_tokens: int, heads: dict[str, int]) -> None:
        self.audio_query_embed = nn.Embedding(num_tokens, self.dim)
        self.audio_proj = MLP(audio_dim, self.dim, self.dim)
        self.v2a = CrossAttentionLayer(**heads)
        self.a2a = SelfAttentionLayer(**heads)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        keys = cfg.MODEL.MASK_FORMER
        return {
            "in_dim": cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM,
            "dim": keys.HIDDEN_DIM,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "audio_dim": cfg.MODEL.AUDIO.DIM,
            "num_queries": keys.NUM_OBJECT_QUERIES,
            "num_layers": keys.DEC_LAYERS,
            "num_levels": len(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES) - 1,
            "num_heads": keys.NHEADS,
            "feedforward_dim": keys.DIM_FEEDFORWARD,
            "num_audio_tokens": keys.NUM_AUDIO_TOKENS,
            "num_classes": keys.NUM_CLASSES,
            "audio_queries": keys.AUDIO_QUERIES,
            "time_encoding": keys.TIME_ENCODING,
            "checkpointing": cfg.MODEL.CHECKPOINTING,
        }

    def forward(
        self, mask_features: Tensor, multi_scale: list[Tensor], audio: Tensor, num_clips: int
    ) -> dict:
        """
        Args:
            mask_features: (N, mask_dim, h, w).
            multi_scale: the pixel decoder's maps (N, in_dim, h, w), coarsest first.
            audio: (N, A), after fusion.
            num_clips: B; the frames of a clip are consecutive.

        Returns:
            "pred_logits" (B, Q, classes + 1), "no object" last. "pred_masks" (B, Q, T, h, w):
            logits. "pred_queries" (B, Q, C): normalized queries. "aux_outputs": the same three for
            each earlier prediction, first to last.
        """
        memory = [self._memory(i, x, num_clips) for i, x in enumerate(multi_scale)]
        shapes = [(x.shape[-2], x.shape[-1]) for x in multi_scale]
        features = mask_features.unflatten(0, (num_clips, -1)).movedim(2, 4).contiguous()
        queries, audio_memory = self._start(audio, num_clips)

        predicted: list[Tensor] = []
        embeddings: list[Tensor] = []
        masks: list[Tensor] = []
        for i in range(len(self.transformer_ffn_layers) + 1):
            if i > 0:
                level = (i - 1) % self.num_levels
                allowed = self._allowed(masks[-1].detach(), shapes[level])
                queries = self._layer(i - 1, queries, memory[level], audio_memory, allowed)
            predicted.append(self.decoder_norm(queries))
            embeddings.append(self.mask_embed(predicted[-1]))
            masks.append(self.mask_product(embeddings[-1], features))
        masks = self.mask_product.with_gradient(masks, embeddings, features)
        predictions = [
            {"pred_logits": self.class_embed(x), "pred_masks": logits, "pred_queries": x}
            for x, logits in zip(predicted, masks, strict=True)
        ]
        return {**predictions[-1], "aux_outputs": predictions[:-1]}

    def _memory(self, level: int, maps: Tensor, num_clips: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, L, C) of a level; the keys include the position encoding."""
        height, width = maps.shape[-2:]
        tokens = self.input_proj[level](maps).flatten(2).transpose(1, 2)  # (N, h * w, C)
        tokens = tokens.unflatten(0, (num_clips, -1)).flatten(1, 2) + self.level_embed.weight[level]
        frames = len(maps) // num_clips
        if self.time_encoding:
            position = encoding_3d(frames, height, width, self.dim, tokens.device)
        else:
            position = encoding_2d(height, width, self.dim, tokens.device).repeat(frames, 1)
        return tokens + position.to(tokens.dtype), tokens

    def _start(self, audio: Tensor, num_clips: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Queries (B, Q, C) before the first layer, and keys and values (B, T, C) of the audio."""
        queries = self.query_feat.weight.expand(num_clips, -1, -1)
        if not self.audio_queries:
            return queries, None
        tokens = self.audio_proj(audio).unflatten(0, (num_clips, -1))
        position = self._audio_position(tokens.shape[1])
        queries = self.v2a(queries, self.query_embed.weight, tokens + position, tokens)
        tokens = self.a2a(tokens, position)
        return queries, (tokens + position, tokens)

    def _audio_position(self, frames: int) -> Tensor:
        """Position encodings of the audio tokens (T, C), interpolated from the learned ones."""
        position = self.audio_query_embed.weight
        if len(position) == frames:
            return position
        return F.interpolate(position.T[None], frames, mode="linear", align_corners=True)[0].T

    def _layer(self, i: int, *inputs: Any) -> Tensor:
        """Decoder layer i, see `_attend`."""
        if self.checkpointing and self.training:
            return checkpoint(self._attend, i, *inputs, use_reentrant=False)
        return self._attend(i, *inputs)

    def _attend(
        self,
        i: int,
        queries: Tensor,
        memory: tuple[Tensor, Tensor],
        audio_memory: tuple[Tensor, Tensor] | None,
        allowed: Tensor,
    ) -> Tensor:
        """Attention to the maps, among the queries and to the audio, and the feed-forward layer."""
        position = self.query_embed.weight
        queries = self.transformer_cross_attention_layers[i](queries, position, *memory, allowed)
        queries = self.transformer_self_attention_layers[i](queries, position)
        if audio_memory is not None:
            layer = self.transformer_audio_cross_attention_layers[i]
            queries = layer(queries, position, *audio_memory)
        return self.transformer_ffn_layers[i](queries)

    @staticmethod
    @torch.no_grad()
    def _allowed(masks: Tensor, shape: tuple[int, int]) -> Tensor:
        """Positions that a query's last mask covers; all, if it covers none: bool (B, Q, L)."""
        maps = masks.transpose(1, 2).flatten(0, 1).float()  # (N, Q, h, w)
        resized = F.interpolate(maps, size=shape, mode="bilinear", align_corners=False)
        resized = resized.unflatten(0, (len(masks), -1)).transpose(1, 2)
        inside = resized.flatten(2).sigmoid() >= 0.5
        return inside | ~inside.any(dim=-1, keepdim=True)


@SEM_SEG_HEADS_REGISTRY.register()
class AudioVisualHead(nn.Module):
    """Pixel decoder and mask decoder."""

    @configurable
    def __init__(self, *, pixel_decoder: nn.Module, predictor: nn.Module):
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        names = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
        if len(names) < 2 or not set(names) <= input_shape.keys():
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES is {names}, expected at least two of the "
                f"backbone's maps {', '.join(input_shape)}"
            )
        return {
            "pixel_decoder": AudioConditionedPixelDecoder(cfg, input_shape),
            "predictor": AudioConditionedMaskDecoder(cfg),
        }

    def forward(self, features: dict[str, Tensor], audio: Tensor, num_clips: int) -> dict:
        """
        Args:
            features: the backbone's maps (N, channels, h, w) by name.
            audio: (N, A).
            num_clips: B.

        Returns:
            See `AudioConditionedMaskDecoder.forward`.
        """
        mask_features, multi_scale, audio = self.pixel_decoder(features, audio)
        return self.predictor(mask_features, multi_scale, audio, num_clips)
