"""Pixel decoder: early audio-visual fusion, a deformable encoder, and an FPN step.

Shape letters: see `modeling/__init__.py`. L are the positions of all levels, coarsest first.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ovavss_d2.modeling.fusion import AudioVisualFusion
from ovavss_d2.modeling.ops.deformable_attention import MultiScaleDeformableAttention
from ovavss_d2.modeling.position_encoding import encoding_2d

NORM_GROUPS = 32


class GroupNorm(nn.GroupNorm):
    """PyTorch's, in single precision under autocast too.

    Channels-first memory is ten times as fast as channels-last on a CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.float().contiguous())


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward network, each with residual and LayerNorm."""

    def __init__(self, *, attention: MultiScaleDeformableAttention, dim: int, feedforward_dim: int):
        """
        Args:
            attention: the built attention.
            dim: channels C.
            feedforward_dim: width of the feed-forward network.
        """
        super().__init__()
        self.self_attn = attention
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, tokens: Tensor, position: Tensor, reference: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Tokens (N, L, C), position encodings (L, C) and positions (L, 2) -> (N, L, C)."""
        update = self.self_attn(tokens + position, reference, tokens, shapes)
        tokens = self.norm1(tokens + update)
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens), inplace=True)))


class DeformableEncoder(nn.Module):
    """Early fusion and the encoder layers, on the tokens of all levels."""

    def __init__(
        self,
        *,
        layers: list[nn.Module],
        fusion: AudioVisualFusion | None,
        dim: int,
        num_levels: int,
        checkpointing: bool = False,
    ):
        """
        Args:
            layers: built encoder layers.
            fusion: built early fusion, or None for an encoder without audio.
            dim: channels C.
            num_levels: V.
            checkpointing: gradient checkpointing of the layers.
        """
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(num_levels, dim))
        self.fusion, self.checkpointing = fusion, checkpointing
        self.layers = nn.ModuleList(layers)

    def forward(self, maps: list[Tensor], audio: Tensor) -> tuple[list[Tensor], Tensor]:
        """
        Args:
            maps: V maps (N, C, h, w), coarsest first.
            audio: (N, A).

        Returns:
            The encoded maps in the same shapes, and the audio after fusion (N, A).
        """
        shapes = [(x.shape[-2], x.shape[-1]) for x in maps]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        position = self._position(shapes, tokens)
        reference = torch.cat([_cell_centers(h, w, tokens) for h, w in shapes])
        if self.fusion is not None:
            with torch.autocast(tokens.device.type, enabled=False):  # its scores reach 50,000
                tokens, audio = self.fusion(tokens.float(), audio.float())
        for layer in self.layers:
            if self.checkpointing and self.training:
                tokens = checkpoint(layer, tokens, position, reference, shapes, use_reentrant=False)
            else:
                tokens = layer(tokens, position, reference, shapes)
        levels = tokens.split([h * w for h, w in shapes], dim=1)
        maps = [x.transpose(1, 2).unflatten(2, s) for x, s in zip(levels, shapes, strict=True)]
        return maps, audio

    def _position(self, shapes: list[tuple[int, int]], tokens: Tensor) -> Tensor:
        """Encoding of each token's position and level: (L, C)."""
        encodings = [
            encoding_2d(h, w, tokens.shape[-1], tokens.device) + embedding
            for (h, w), embedding in zip(shapes, self.level_embed, strict=True)
        ]
        return torch.cat(encodings).to(tokens.dtype)


def _cell_centers(height: int, width: int, like: Tensor) -> Tensor:
    """(h * w, 2) as (x, y); the map's outer edges are 0 and 1."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


@SEM_SEG_HEADS_REGISTRY.register()
class AudioConditionedPixelDecoder(nn.Module):
    """Mask2Former's pixel decoder with early audio-visual fusion (arXiv 2407.21721, section 3.2).

    The finest map only feeds the mask features; all others are levels of the deformable encoder.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        encoder: DeformableEncoder,
        conv_dim: int,
        mask_dim: int,
    ):
        """
        Args:
            input_shape: the maps, in any order, with at least two strides.
            encoder: built encoder with a level for each map except the finest.
            conv_dim: channels C.
            mask_dim: channels of the mask features.
        """
        super().__init__()
        by_stride = sorted(input_shape, key=lambda name: input_shape[name].stride)
        self.fine, self.coarse = by_stride[0], by_stride[:0:-1]
        groups = _groups(conv_dim)
        self.input_proj = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(input_shape[name].channels, conv_dim, 1), GroupNorm(groups, conv_dim)
            )
            for name in self.coarse
        )
        self.transformer = encoder
        channels = input_shape[self.fine].channels
        norm = GroupNorm(groups, conv_dim)
        self.adapter_1 = Conv2d(channels, conv_dim, 1, bias=False, norm=norm)
        norm = GroupNorm(groups, conv_dim)
        self.layer_1 = Conv2d(
            conv_dim, conv_dim, 3, padding=1, bias=False, norm=norm, activation=F.relu
        )
        self.mask_features = nn.Conv2d(conv_dim, mask_dim, 1)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection.get_parameter("0.weight"))
            nn.init.zeros_(projection.get_parameter("0.bias"))
        for convolution in (self.adapter_1, self.layer_1, self.mask_features):
            c2_xavier_fill(convolution)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        head = cfg.MODEL.SEM_SEG_HEAD
        levels = len(head.IN_FEATURES) - 1
        return {
            "input_shape": {name: input_shape[name] for name in head.IN_FEATURES},
            "encoder": DeformableEncoder(
                layers=[_encoder_layer(cfg, levels) for _ in range(head.TRANSFORMER_ENC_LAYERS)],
                fusion=_fusion(cfg) if cfg.MODEL.FUSION.ENABLED else None,
                dim=head.CONVS_DIM,
                num_levels=levels,
                checkpointing=cfg.MODEL.CHECKPOINTING,
            ),
            "conv_dim": head.CONVS_DIM,
            "mask_dim": head.MASK_DIM,
        }

    def forward(
        self, features: dict[str, Tensor], audio: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """
        Args:
            features: the backbone's maps (N, channels, h, w) by name.
            audio: (N, A), one embedding per frame.

        Returns:
            mask features (N, mask_dim, h, w) at the finest stride, the encoded maps (N, C, h, w),
            coarsest first, and the audio after fusion (N, A).
        """
        maps = [
            projection(features[name])
            for name, projection in zip(self.coarse, self.input_proj, strict=True)
        ]
        maps, audio = self.transformer(maps, audio)
        fine = self.adapter_1(features[self.fine])
        upsampled = F.interpolate(
            maps[-1], size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.mask_features(self.layer_1(fine + upsampled)), maps, audio


def _groups(channels: int) -> int:
    if channels % NORM_GROUPS:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.CONVS_DIM is {channels}, expected a multiple of {NORM_GROUPS}"
        )
    return NORM_GROUPS


def _encoder_layer(cfg: CfgNode, num_levels: int) -> DeformableEncoderLayer:
    head = cfg.MODEL.SEM_SEG_HEAD
    attention = MultiScaleDeformableAttention(
        dim=head.CONVS_DIM,
        num_heads=cfg.MODEL.MASK_FORMER.NHEADS,
        num_levels=num_levels,
        num_points=head.DEFORMABLE_POINTS,
    )
    return DeformableEncoderLayer(
        attention=attention, dim=head.CONVS_DIM, feedforward_dim=head.TRANSFORMER_ENC_FFN
    )


def _fusion(cfg: CfgNode) -> AudioVisualFusion:
    keys = cfg.MODEL.FUSION
    return AudioVisualFusion(
        visual_dim=cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM,
        audio_dim=cfg.MODEL.AUDIO.DIM,
        embed_dim=keys.EMBED_DIM,
        num_heads=cfg.MODEL.MASK_FORMER.NHEADS,
        dropout=keys.DROPOUT,
        init_gamma=keys.INIT_GAMMA,
    )
