"""Non-maximum suppression within classes (torchvision's)."""

import torch
from torchvision.ops import batched_nms as _batched_nms
from torchvision.ops import nms

__all__ = ["batched_nms", "nms"]


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Indices of the boxes that stay, best first.

    Args:
        boxes: (N, 4) boxes x0 y0 x1 y1; computed in float32 also under mixed precision.
        scores: (N,) scores.
        idxs: (N,) classes; boxes of different ones do not suppress each other.
        iou_threshold: a box goes that overlaps a better one by more than this.
    """
    return _batched_nms(boxes.float(), scores, idxs, iou_threshold)
