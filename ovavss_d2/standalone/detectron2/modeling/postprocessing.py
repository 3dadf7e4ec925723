"""From a model's output to the resolution that users asked for."""

import torch
from torch.nn import functional as F

__all__ = ["sem_seg_postprocess"]


def sem_seg_postprocess(
    result: torch.Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> torch.Tensor:
    """Cut the padding off the logits of an image and resize them.

    Args:
        result: (C, H, W) logits at the padded size of the model's input.
        img_size: (height, width) of the input without its padding.
        output_height, output_width: size wanted.

    Returns:
        (C, output_height, output_width) logits, bilinear.
    """
    height, width = img_size
    logits = result[None, :, :height, :width]
    size = (output_height, output_width)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0]
