"""Classification of masks by CLIP on image crops (arXiv 2407.21721)."""

import torch
from torch import Tensor
from torchvision.ops import roi_align

from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip


class CropClassifier:
    """Logits of names from crops of the frames under soft masks."""

    def __init__(self, *, clip: FrozenClip, batch_size: int, max_frames: int = 0):
        """
        Args:
            clip: the image and text encoders.
            batch_size: crops per pass of the image encoder.
            max_frames: most crops of a query in a window, 0 for one crop per frame. A limit is an
                approximation, see `source_frames`.

        Raises:
            ValueError: the limit is negative.
        """
        if max_frames < 0:
            raise ValueError(
                f"MODEL.CLIP.CROP_FRAMES is {max_frames}, expected a number of frames, or 0 for all"
            )
        self.clip = clip
        self.batch_size = batch_size
        self.max_frames = max_frames

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
            bool (T, Q), True where the probability of a pixel exceeds 0.5, and the logits
            (pairs, K) of these pairs in row-major order.
        """
        masks = mask_logits.transpose(0, 1)
        frames = frames.float()
        # frame by frame, to bound the memory
        found = [boxes_around(frame.float().sigmoid() > 0.5) for frame in masks]
        boxes, visible = (torch.stack(part) for part in zip(*found, strict=True))
        frame, query = visible.nonzero(as_tuple=True)
        sources = source_frames(visible, self.max_frames)[frame, query]
        pairs, crop_of_pair = (sources * len(mask_logits) + query).unique(return_inverse=True)
        logits = [text.new_zeros(0, len(text))]
        for part in pairs.split(self.batch_size) if len(pairs) else ():
            frame, query = part // len(mask_logits), part % len(mask_logits)
            square = squared(boxes[frame, query])
            soft = masks[frame, query].unsqueeze(1).float().sigmoid()
            crops = self._crop(frames, frame, square)
            crops = crops * self._crop(soft, torch.arange(len(part)), square)
            logits.append(MAX_LOGIT_SCALE * self.clip.encode_images(crops / 255) @ text.t())
        return visible, torch.cat(logits)[crop_of_pair]

    def __call__(self, mask_logits: Tensor, frames: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean logits over the frames where a query is visible; arguments as in `similarities`.

        Returns:
            (Q, K), zeros for queries that are never visible, and bool (Q,), True where visible.
        """
        visible, pair_logits = self.similarities(mask_logits, frames, text)
        logits = pair_logits.new_zeros(visible.shape[1], len(text))
        logits.index_add_(0, visible.nonzero()[:, 1], pair_logits)
        count = visible.sum(0)
        return logits / count.clamp(min=1).unsqueeze(1), count > 0

    def _crop(self, images: Tensor, index: Tensor, boxes: Tensor) -> Tensor:
        """Crop images to boxes (crops, 4) at CLIP's resolution: (crops, channels, size, size)."""
        rois = torch.cat([index.to(boxes).unsqueeze(1), boxes], 1)
        return roi_align(images, rois, self.clip.image_size, sampling_ratio=-1, aligned=False)


def source_frames(visible: Tensor, limit: int) -> Tensor:
    """Index of the frame that each visible pair (T, Q) takes its crop from: int64 (T, Q).

    At most `limit` frames of a query give crops, spread evenly over those where it is visible; the
    others take the crop of the nearest one. With a limit of 0 each frame takes its own.
    """
    frames, queries = visible.shape
    result = torch.arange(frames, device=visible.device)[:, None].repeat(1, queries)
    for query in (visible.sum(0) > limit).nonzero().flatten().tolist() if limit else ():
        own = visible[:, query].nonzero().flatten()
        # the middles of `limit` equal parts
        middles = (torch.arange(limit, device=own.device) + 0.5) * len(own) / limit
        chosen = own[middles.long()]
        result[own, query] = chosen[(own[:, None] - chosen).abs().argmin(1)]
    return result


def boxes_around(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight boxes of the true pixels of bool masks (Q, H, W), ends exclusive.

    Returns:
        float32 (Q, 4) as x0, y0, x1, y1 in pixels, and bool (Q,), False where no pixel is true.
    """
    sides = []
    for line in (masks.any(1), masks.any(2)):
        first = line.int().argmax(1)
        last = line.shape[1] - line.flip(1).int().argmax(1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], 1).float(), masks.flatten(1).any(1)


def squared(boxes: Tensor) -> Tensor:
    """Boxes (Q, 4) extended to squares of the longer side, with the same top-left corner."""
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
    return torch.cat([boxes[:, :2], boxes[:, :2] + side], 1)
