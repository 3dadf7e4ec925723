"""Classification of masks by one pass of CLIP per frame, pooled under all masks at once.

The last layers of CLIP pool an image into one vector. Here they pool once per mask, limited to the
mask; all earlier layers run once per frame. For a mask that covers the
whole frame the result is CLIP's own embedding. Sources: MaskCLIP (arXiv 2112.01071 and 2208.08984)
and FC-CLIP (arXiv 2308.02487), which also pool the last map of CLIP under masks.

In the shapes L counts the positions of that map.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import resample_abs_pos_embed
from timm.models import ConvNeXt, EfficientNet
from torch import Tensor, nn

from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip

MIN_COVERAGE = 1e-6  # of a position by a mask: its logarithm is finite, its weight negligible


class DenseClassifier:
    """Logits of names from the last map of CLIP under soft masks; Q hardly affects the time."""

    def __init__(self, *, clip: FrozenClip, short_side: int = 0, cover: bool = True):
        """
        Args:
            clip: the image and text encoders.
            short_side: of the frames that CLIP gets, in pixels; 0: its own image size.
            cover: whether pixels outside all masks are black; then the logits of a mask depend a
                little on the other masks.

        Raises:
            ValueError: the size is negative.
        """
        if short_side < 0:
            raise ValueError(f"MODEL.CLIP.DENSE_SIZE is {short_side}, expected pixels, or 0")
        self.clip = clip
        self.short_side = short_side
        self.cover = cover

    @torch.no_grad()
    def __call__(self, mask_logits: Tensor, frames: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean logits over the frames where a query is visible.

        Args:
            mask_logits: (Q, T, H, W), at the size of the padded frames.
            frames: uint8 (T, 3, H', W'), RGB, resized and not padded.
            text: unit embeddings (K, D).

        Returns:
            (Q, K), zeros for queries that are never visible, and bool (Q,), True where visible.
        """
        height, width = frames.shape[-2:]
        soft = mask_logits[..., :height, :width].transpose(0, 1).float().sigmoid()  # (T, Q, H', W')
        visible = (soft > 0.5).flatten(2).any(-1)
        used = visible.any(1)  # frames
        logits = text.new_zeros(*visible.shape, len(text))
        if used.any():
            logits[used] = MAX_LOGIT_SCALE * self._embed(frames[used], soft[used]) @ text.t()
        logits = (logits * visible[..., None]).sum(0) / visible.sum(0).clamp(min=1)[:, None]
        return logits, visible.any(0)

    def _embed(self, frames: Tensor, soft: Tensor) -> Tensor:
        """Unit embeddings (N, Q, D) of soft masks (N, Q, H', W') in uint8 frames."""
        images = frames.float() / 255
        if self.cover:
            images = images * soft.amax(1, keepdim=True)
        pooling = build_pooling(self.clip.model.visual)
        size = self._size(frames, pooling.stride)
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        with self.clip.in_precision():
            tokens = pooling.tokens((images - self.clip.mean) / self.clip.std)
            coverage = F.interpolate(soft, tokens.shape, mode="area").flatten(2)
            coverage = coverage / coverage.amax(-1, keepdim=True).clamp(min=MIN_COVERAGE)
            embeddings = pooling.embed(tokens, coverage)
        return F.normalize(embeddings.float(), dim=-1)

    def _size(self, frames: Tensor, stride: int) -> list[int]:
        """Height and width of CLIP's input: multiples of its stride."""
        factor = (self.short_side or self.clip.image_size) / min(frames.shape[-2:])
        return [max(1, round(side * factor / stride)) * stride for side in frames.shape[-2:]]


class Tokens(NamedTuple):
    """The input of the pooling layer."""

    map: Tensor  # (N, L, C)
    class_token: Tensor | None  # (N, 1, C), if the encoder has one
    shape: tuple[int, int]  # (h, w), L = h * w


def build_pooling(visual: nn.Module) -> "ResNetPooling | TransformerPooling | ConvolutionPooling":
    """Masked pooling for an image encoder of open_clip.

    Raises:
        ValueError: the encoder is of another kind.
    """
    if isinstance(visual, ModifiedResNet):
        return ResNetPooling(visual)
    mean_pooled = isinstance(visual, TimmModel) and not hasattr(visual.head, "pool")
    if mean_pooled and isinstance(visual.trunk, ConvNeXt | EfficientNet):
        return ConvolutionPooling(visual)
    pool = (visual.attn_pool, visual.pool_type) if isinstance(visual, VisionTransformer) else ()
    if pool == (None, "tok"):
        return TransformerPooling(visual)
    raise ValueError(
        f"the classifier 'dense' cannot use a {type(visual).__name__} of this form, expected "
        "a CLIP with a ResNet, a ConvNeXt or a vision transformer with a class token; use 'crop' "
        "instead"
    )


class ResNetPooling:
    """CLIP's ResNet: attention pooling from the mean under each mask."""

    def __init__(self, visual: ModifiedResNet):
        self.visual = visual
        self.stride = 32

    def tokens(self, images: Tensor) -> Tokens:
        """Encode normalized images (N, 3, stride * h, stride * w) up to the last attention."""
        net = self.visual
        maps = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(images)))))
        return Tokens(maps.flatten(2).transpose(1, 2), None, tuple(maps.shape[-2:]))

    def embed(self, tokens: Tokens, coverage: Tensor) -> Tensor:
        """Pool under masks that cover positions by (N, Q, L), 0 to 1: (N, Q, D)."""
        pool = self.visual.attnpool
        positions = resize_positions(pool.positional_embedding, tokens.shape)
        mean = coverage @ tokens.map / coverage.sum(-1, keepdim=True).clamp(min=MIN_COVERAGE)
        mean = mean + positions[0]
        values = tokens.map + positions[1:]
        attended = masked_attention(
            query=pool.q_proj(mean),
            own=(pool.k_proj(mean), pool.v_proj(mean)),
            positions=(pool.k_proj(values), pool.v_proj(values)),
            coverage=coverage,
            heads=pool.num_heads,
        )
        return pool.c_proj(attended)


class ConvolutionPooling:
    """A convolutional network of timm: the mean of its last map under each mask."""

    def __init__(self, visual: TimmModel):
        self.visual = visual
        self.stride = visual.trunk.feature_info[-1]["reduction"]

    def tokens(self, images: Tensor) -> Tokens:
        """Encode normalized images (N, 3, stride * h, stride * w) up to the pooling."""
        maps = self.visual.trunk.forward_features(images)
        return Tokens(maps.flatten(2).transpose(1, 2), None, tuple(maps.shape[-2:]))

    def embed(self, tokens: Tokens, coverage: Tensor) -> Tensor:
        """Pool under masks that cover positions by (N, Q, L), 0 to 1: (N, Q, D)."""
        mean = coverage @ tokens.map / coverage.sum(-1, keepdim=True).clamp(min=MIN_COVERAGE)
        pooled = self.visual.trunk.forward_head(mean.flatten(0, 1)[..., None, None])
        return self.visual.head(pooled).unflatten(0, mean.shape[:2])


class TransformerPooling:
    """A vision transformer: in its last block the class token attends to each mask separately."""

    def __init__(self, visual: VisionTransformer):
        self.visual = visual
        self.stride = visual.conv1.stride[0]

    def tokens(self, images: Tensor) -> Tokens:
        """Encode normalized images (N, 3, stride * h, stride * w) up to the last block."""
        net = self.visual
        maps = net.conv1(images)
        shape = tuple(maps.shape[-2:])
        first = net.class_embedding.expand(len(maps), 1, -1)
        tokens = torch.cat([first, maps.flatten(2).transpose(1, 2)], 1)
        tokens = net.ln_pre(tokens + resize_positions(net.positional_embedding, shape))
        for block in net.transformer.resblocks[:-1]:
            tokens = block(tokens)
        return Tokens(tokens[:, 1:], tokens[:, :1], shape)

    def embed(self, tokens: Tokens, coverage: Tensor) -> Tensor:
        """Pool under masks that cover positions by (N, Q, L), 0 to 1: (N, Q, D)."""
        net, block = self.visual, self.visual.transformer.resblocks[-1]
        attention = block.attn
        weight, bias = attention.in_proj_weight, attention.in_proj_bias  # query, key, value
        first = F.linear(block.ln_1(tokens.class_token), weight, bias)
        query, key, value = first.expand(-1, coverage.shape[1], -1).chunk(3, -1)
        width = query.shape[-1]
        keys, values = F.linear(block.ln_1(tokens.map), weight[width:], bias[width:]).chunk(2, -1)
        attended = masked_attention(
            query=query,
            own=(key, value),
            positions=(keys, values),
            coverage=coverage,
            heads=attention.num_heads,
        )
        x = tokens.class_token + block.ls_1(attention.out_proj(attended))
        x = net.ln_post(x + block.ls_2(block.mlp(block.ln_2(x))))
        return x if net.proj is None else x @ net.proj


def masked_attention(
    *,
    query: Tensor,
    own: tuple[Tensor, Tensor],
    positions: tuple[Tensor, Tensor],
    coverage: Tensor,
    heads: int,
) -> Tensor:
    """Attention of one token per mask to itself and to the positions under its mask.

    Args:
        query: (N, Q, C).
        own: key and value of these tokens, (N, Q, C) each.
        positions: keys and values of the map, (N, L, C) each.
        coverage: of each position by each mask, 0 to 1, (N, Q, L); it scales the attention weights.
        heads: J.

    Returns:
        (N, Q, C).
    """

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (N, J, ., C / J)

    query = split(query) / math.sqrt(query.shape[-1] / heads)
    own_logits = (query * split(own[0])).sum(-1, keepdim=True)
    map_logits = query @ split(positions[0]).transpose(-1, -2)
    map_logits = map_logits + coverage.clamp(min=MIN_COVERAGE).log()[:, None]
    weights = torch.cat([own_logits, map_logits], -1).float().softmax(-1).to(query.dtype)
    attended = weights[..., :1] * split(own[1]) + weights[..., 1:] @ split(positions[1])
    return attended.transpose(1, 2).flatten(2)


def resize_positions(embeddings: Tensor, shape: tuple[int, int]) -> Tensor:
    """Position embeddings (1 + n * n, C) of a token and a map, for a map (h, w): (1 + L, C)."""
    return resample_abs_pos_embed(embeddings[None], list(shape), antialias=False)[0]
