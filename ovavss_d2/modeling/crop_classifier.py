"""Naming of masks by CLIP on image crops, and which crops can stand for others.

Shapes: Q queries, T frames, K names, D embedding size, P visible (frame, query) pairs, S crop size,
H W padded frames, H' W' frames before padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from ovavss_d2.modeling.clip import FrozenClip

CROP_SCALE = 100.0  # CLIP's largest logit scale
OVERLAP_STEP = 2  # overlaps of masks are counted on every second pixel each way


@dataclass(frozen=True)
class CropSavings:
    """Which crops CLIP is spared; the defaults spare none. Every other value is an approximation.

    Attributes:
        same_mask: a query whose mask overlaps that of an earlier query by at least this (IoU over
            all frames) takes that one's crops; above 1 is off.
        still_mask: a frame in which a query's mask overlaps that of the last frame seen by at least
            this takes that frame's crop; above 1 is off.
        frames: most crops of a query, spread evenly over the frames where it is visible, the others
            take the nearest one's; 0 is off.
    """

    same_mask: float = 2.0
    still_mask: float = 2.0
    frames: int = 0

    def __post_init__(self):
        if self.same_mask <= 0 or self.still_mask <= 0 or self.frames < 0:
            raise ValueError(
                f"MODEL.CLIP.SAME_MASK {self.same_mask}, STILL_MASK {self.still_mask}, "
                f"CROP_FRAMES {self.frames}: expected overlaps above 0 and a number of frames"
            )

    def stand_ins(self, masks: Tensor, valid: Tensor) -> Tensor:
        """For each (frame, query), the pair whose crop is taken for it.

        Args:
            masks: bool (T, Q, H, W).
            valid: bool (T, Q), pairs with a pixel.

        Returns:
            int64 (T, Q), t * Q + q of a valid pair, or of itself.
        """
        frames, queries = valid.shape
        frame = torch.arange(frames, device=valid.device)[:, None].expand(frames, queries)
        query = torch.arange(queries, device=valid.device).expand(frames, queries)
        small = masks[..., ::OVERLAP_STEP, ::OVERLAP_STEP].flatten(2).float()
        if self.still_mask <= 1:
            frame = last_moved(small, valid, self.still_mask)
        if self.frames:
            frame = few_frames(frame, valid, self.frames)
        if self.same_mask <= 1:
            leader = leaders(small, self.same_mask)
            follows = valid[:, leader]  # the leader is visible there
            query = torch.where(follows, leader, query)
            frame = torch.where(follows, frame[:, leader], frame)
        return frame * queries + query


def last_moved(masks: Tensor, valid: Tensor, overlap: float) -> Tensor:
    """For each (frame, query), the last frame in which the mask had moved: int64 (T, Q).

    Args:
        masks: 0 or 1, (T, Q, pixels).
        valid: bool (T, Q).
        overlap: IoU with that frame's mask from which on a mask counts as still.
    """
    frames, queries = valid.shape
    each = torch.arange(queries, device=valid.device)
    seen = torch.full((queries,), -1, device=valid.device)
    found = torch.empty(frames, queries, dtype=torch.int64, device=valid.device)
    for t in range(frames):
        before = masks[seen.clamp(min=0), each]
        still = (seen >= 0) & valid[t] & (intersection_over_union(masks[t], before) >= overlap)
        found[t] = torch.where(still, seen, t)
        seen = torch.where(valid[t] & ~still, t, seen)
    return found


def few_frames(frame: Tensor, valid: Tensor, most: int) -> Tensor:
    """Of the frames (T, Q) that pairs take their crops from, keep at most `most` for each query."""
    result = frame.clone()
    for query in range(frame.shape[1]):
        sources = frame[valid[:, query], query].unique()
        if len(sources) <= most:
            continue
        # middles of `most` equal parts
        places = (torch.arange(most, device=frame.device) + 0.5) * len(sources) / most
        chosen = sources[places.long()]
        nearest = (frame[:, query, None] - chosen).abs().argmin(1)
        result[:, query] = torch.where(valid[:, query], chosen[nearest], frame[:, query])
    return result


def leaders(masks: Tensor, overlap: float) -> Tensor:
    """For each query the first one with nearly the same mask in all frames, or itself: int64 (Q,).

    Args:
        masks: 0 or 1, (T, Q, pixels).
        overlap: IoU over all frames from which on masks count as the same.
    """
    queries = masks.shape[1]
    both = sum((frame @ frame.t() for frame in masks), masks.new_zeros(queries, queries))
    area = both.diagonal()
    same = both >= overlap * (area[:, None] + area - both).clamp(min=1)
    leader = torch.arange(queries, device=masks.device)
    for query in range(queries):
        leads = leader[:query] == torch.arange(query, device=masks.device)
        if (found := same[query, :query] & leads).any():
            leader[query] = found.int().argmax()
    return leader


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """Of masks of 0 and 1, (..., pixels) each: (...), 0 where both are empty."""
    both = (a * b).sum(-1)
    return both / (a.sum(-1) + b.sum(-1) - both).clamp(min=1)


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


def mean_over_frames(valid: Tensor, pair_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logits of each query over the frames where it is visible.

    Args:
        valid: bool (T, Q).
        pair_logits: (P, K), of its true pairs in row-major order.

    Returns:
        (Q, K), zeros for queries that are never visible, and bool (Q,), which are visible.
    """
    logits = pair_logits.new_zeros(valid.shape[1], pair_logits.shape[1])
    logits.index_add_(0, valid.nonzero()[:, 1], pair_logits)
    count = valid.sum(0)
    return logits / count.clamp(min=1).unsqueeze(1), count > 0


class CropClassifier:
    """Logits of names from image crops under soft masks, by frozen CLIP (arXiv 2407.21721)."""

    def __init__(self, *, clip: FrozenClip, batch_size: int, savings: CropSavings | None = None):
        """
        Args:
            clip: the image and text towers.
            batch_size: crops per pass.
            savings: crops that CLIP is spared; None: none.
        """
        self.clip = clip
        self.batch_size = batch_size
        self.savings = CropSavings() if savings is None else savings

    @classmethod
    def from_config(cls, cfg, clip: FrozenClip) -> "CropClassifier":
        """Read MODEL.CLIP's BATCH, SAME_MASK, STILL_MASK and CROP_FRAMES."""
        keys = cfg.MODEL.CLIP
        savings = CropSavings(
            same_mask=keys.SAME_MASK, still_mask=keys.STILL_MASK, frames=keys.CROP_FRAMES
        )
        return cls(clip=clip, batch_size=keys.BATCH, savings=savings)

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
        boxes, valid, sources = self._look(masks)
        sources, place = sources[valid].unique(return_inverse=True)
        found = [text.new_zeros(0, len(text))]
        for part in sources.split(self.batch_size) if len(sources) else ():
            frame, query = part // valid.shape[1], part % valid.shape[1]
            square = squared(boxes[frame, query])
            soft = masks[frame, query].unsqueeze(1).float().sigmoid()
            crops = self._crop(frames, frame, square)
            crops = crops * self._crop(soft, torch.arange(len(part)), square)
            found.append(CROP_SCALE * self.clip.encode_images(crops / 255) @ text.t())
        return valid, torch.cat(found)[place]

    def __call__(self, mask_logits: Tensor, frames: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean logits over the frames where a query is visible; arguments as in `similarities`.

        Returns:
            (Q, K), zeros for queries that are never visible, and bool (Q,), which are visible.
        """
        return mean_over_frames(*self.similarities(mask_logits, frames, text))

    def _look(self, masks):
        """Boxes (T, Q, 4), validity (T, Q) and stand-ins (T, Q), see `CropSavings.stand_ins`."""
        # frame by frame, to bound the memory
        solid = torch.stack([frame.float().sigmoid() > 0.5 for frame in masks])
        boxes, valid = zip(*(boxes_around(frame) for frame in solid), strict=True)
        boxes, valid = torch.stack(boxes), torch.stack(valid)
        return boxes, valid, self.savings.stand_ins(solid, valid)

    def _crop(self, images, index, boxes):
        """Regions of the indexed images at CLIP's resolution: (P, channels, S, S)."""
        rois = torch.cat([index.to(boxes).unsqueeze(1), boxes], 1)
        return roi_align(images, rois, self.clip.image_size, sampling_ratio=-1, aligned=False)
