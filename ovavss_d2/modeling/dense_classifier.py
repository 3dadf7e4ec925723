"""Naming of masks by one pass of CLIP per frame, pooled under all masks at once.

CLIP ends in an attention that gathers an image into one vector. Here it gathers once for each
mask, and looks under that mask alone; all that comes before is shared. Where a mask covers
everything the result is CLIP's own. Sources: MaskCLIP (arXiv 2112.01071 and 2208.08984) and FC-CLIP
(arXiv 2308.02487), which pool CLIP's last map under masks too.

Shapes: N frames, Q queries, T frames of a window, K names, D embedding size, C channels of the
tower, L places of its last map (h x w), M attention heads, H W padded frames, H' W' before padding.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip

LEAST_SHARE = 1e-6  # of a mask in a place: its logarithm is finite, its weight nothing


class DenseClassifier:
    """Logits of names from CLIP's last map under soft masks; the cost hardly depends on Q."""

    def __init__(self, *, clip: FrozenClip, short_side: int = 0, cover: bool = True):
        """
        Args:
            clip: the image and text towers.
            short_side: size of the frames that CLIP sees; 0: CLIP's own image size.
            cover: black out what lies under none of the masks; then a mask's name depends a little
                on the other masks.

        Raises:
            ValueError: the size is negative.
        """
        if short_side < 0:
            raise ValueError(f"MODEL.CLIP.DENSE_SIZE is {short_side}: expected pixels, or 0")
        self.clip = clip
        self.short_side = short_side
        self.cover = cover

    @classmethod
    def from_config(cls, cfg, clip: FrozenClip) -> "DenseClassifier":
        """Read MODEL.CLIP's DENSE_SIZE and DENSE_COVER."""
        keys = cfg.MODEL.CLIP
        return cls(clip=clip, short_side=keys.DENSE_SIZE, cover=keys.DENSE_COVER)

    @torch.no_grad()
    def __call__(self, mask_logits: Tensor, frames: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean logits over the frames where a query is visible.

        Args:
            mask_logits: (Q, T, H, W), at the size of the padded frames.
            frames: uint8 (T, 3, H', W'), RGB, resized and not padded.
            text: unit embeddings (K, D).

        Returns:
            (Q, K), zeros for queries that are never visible, and bool (Q,), which are visible.
        """
        height, width = frames.shape[-2:]
        soft = mask_logits[..., :height, :width].transpose(0, 1).float().sigmoid()  # (T, Q, H', W')
        visible = (soft > 0.5).flatten(2).any(-1)
        seen = visible.any(1)
        logits = text.new_zeros(*visible.shape, len(text))
        if seen.any():
            embeddings = self._embed(frames[seen], soft[seen])
            logits[seen] = MAX_LOGIT_SCALE * embeddings @ text.t()
        logits = (logits * visible[..., None]).sum(0) / visible.sum(0).clamp(min=1)[:, None]
        return logits, visible.any(0)

    def _embed(self, frames, soft):
        """Unit embeddings (N, Q, D) of soft masks (N, Q, H', W') in uint8 frames."""
        images = frames.float() / 255
        if self.cover:
            images = images * soft.amax(1, keepdim=True)
        pool = pooling_of(self.clip.model.visual)
        images = F.interpolate(
            images, self._size(frames, pool.stride), mode="bilinear", antialias=True
        )
        with self.clip.in_precision():
            tokens = pool.tokens((images - self.clip.mean) / self.clip.std)
            shares = F.interpolate(soft, tokens.shape, mode="area").flatten(2)
            shares = shares / shares.amax(-1, keepdim=True).clamp(min=LEAST_SHARE)
            embeddings = pool.embed(tokens, shares)
        return F.normalize(embeddings.float(), dim=-1)

    def _size(self, frames, stride):
        """Height and width that CLIP sees: whole places, the shorter side as asked for."""
        factor = (self.short_side or self.clip.image_size) / min(frames.shape[-2:])
        return [max(1, round(side * factor / stride)) * stride for side in frames.shape[-2:]]


class Tokens(NamedTuple):
    """What a tower hands to its last attention."""

    places: Tensor  # (N, L, C)
    first: Tensor | None  # the class token (N, 1, C), if the tower has one
    shape: tuple[int, int]  # (h, w), L = h * w


def pooling_of(visual: nn.Module) -> "ResNetPooling | TransformerPooling":
    """How an image tower of open_clip is pooled under masks.

    Raises:
        ValueError: there is no way for this kind of tower.
    """
    if isinstance(visual, ModifiedResNet):
        return ResNetPooling(visual)
    if (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type == "tok"
    ):
        return TransformerPooling(visual)
    raise ValueError(
        f"the classifier 'dense' cannot use a {type(visual).__name__} of this form: expected "
        "a CLIP with a ResNet or a vision transformer with a class token; take 'crop' instead"
    )


class ResNetPooling:
    """CLIP's ResNet: its attention pooling, the mean token and the places under each mask."""

    def __init__(self, visual: ModifiedResNet):
        self.visual = visual
        self.stride = 32

    def tokens(self, images: Tensor) -> Tokens:
        """Look at normalised images (N, 3, stride * h, stride * w)."""
        net = self.visual
        maps = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(images)))))
        return Tokens(maps.flatten(2).transpose(1, 2), None, tuple(maps.shape[-2:]))

    def embed(self, tokens: Tokens, shares: Tensor) -> Tensor:
        """Pool under masks that have shares (N, Q, L) of each place: (N, Q, D)."""
        pool = self.visual.attnpool
        first, codes = pool.positional_embedding[0], pool.positional_embedding[1:]
        mean = shares @ tokens.places / shares.sum(-1, keepdim=True).clamp(min=LEAST_SHARE) + first
        places = tokens.places + resized_places(codes, tokens.shape)
        attended = attend_under_masks(
            query=pool.q_proj(mean),
            own=(pool.k_proj(mean), pool.v_proj(mean)),
            places=(pool.k_proj(places), pool.v_proj(places)),
            shares=shares,
            heads=pool.num_heads,
        )
        return pool.c_proj(attended)


class TransformerPooling:
    """A vision transformer: in its last block the class token looks under each mask alone."""

    def __init__(self, visual: VisionTransformer):
        self.visual = visual
        self.stride = visual.conv1.stride[0]

    def tokens(self, images: Tensor) -> Tokens:
        """Look at normalised images (N, 3, stride * h, stride * w), all blocks but the last."""
        net = self.visual
        maps = net.conv1(images)
        shape = tuple(maps.shape[-2:])
        places = maps.flatten(2).transpose(1, 2)
        places = places + resized_places(net.positional_embedding[1:], shape)
        first = (net.class_embedding + net.positional_embedding[0]).expand(len(places), 1, -1)
        tokens = net.ln_pre(torch.cat([first, places], 1))
        for block in net.transformer.resblocks[:-1]:
            tokens = block(tokens)
        return Tokens(tokens[:, 1:], tokens[:, :1], shape)

    def embed(self, tokens: Tokens, shares: Tensor) -> Tensor:
        """Pool under masks that have shares (N, Q, L) of each place: (N, Q, D)."""
        net, block = self.visual, self.visual.transformer.resblocks[-1]
        attention = block.attn
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        first, places = block.ln_1(tokens.first), block.ln_1(tokens.places)
        query, key, value = (F.linear(first, w, b) for w, b in zip(weights, biases, strict=True))
        keys, values = (
            F.linear(places, w, b) for w, b in zip(weights[1:], biases[1:], strict=True)
        )
        queries = (-1, shares.shape[1], -1)
        attended = attend_under_masks(
            query=query.expand(queries),
            own=(key.expand(queries), value.expand(queries)),
            places=(keys, values),
            shares=shares,
            heads=attention.num_heads,
        )
        x = tokens.first + block.ls_1(attention.out_proj(attended))
        x = net.ln_post(x + block.ls_2(block.mlp(block.ln_2(x))))
        return x if net.proj is None else x @ net.proj


def attend_under_masks(
    *,
    query: Tensor,
    own: tuple[Tensor, Tensor],
    places: tuple[Tensor, Tensor],
    shares: Tensor,
    heads: int,
) -> Tensor:
    """Attention of one token per mask to itself and to the places under its mask.

    Args:
        query: (N, Q, C).
        own: key and value of the tokens themselves, (N, Q, C) each.
        places: keys and values of the places, (N, L, C) each.
        shares: of each mask in each place, 0 to 1, (N, Q, L); they weigh the places.
        heads: M.

    Returns:
        (N, Q, C).
    """

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (N, M, ., C / M)

    query = split(query) / math.sqrt(query.shape[-1] / heads)
    to_self = (query * split(own[0])).sum(-1, keepdim=True)
    to_places = query @ split(places[0]).transpose(-1, -2)
    to_places = to_places + shares.clamp(min=LEAST_SHARE).log()[:, None]
    weights = torch.cat([to_self, to_places], -1).float().softmax(-1).to(query.dtype)
    found = weights[..., :1] * split(own[1]) + weights[..., 1:] @ split(places[1])
    return found.transpose(1, 2).flatten(2)


def resized_places(codes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Position codes of a square of places (n * n, C) for a map of another shape: (h * w, C)."""
    side = math.isqrt(len(codes))
    if tuple(shape) == (side, side):
        return codes
    square = codes.t().reshape(1, -1, side, side).float()
    resized = F.interpolate(square, shape, mode="bicubic", align_corners=False)
    return resized[0].flatten(1).t().to(codes.dtype)
