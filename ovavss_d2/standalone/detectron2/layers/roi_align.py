"""`ROIAlign`: bilinear pooling of boxes to a fixed size (torchvision's)."""

import torch
from torch import nn
from torchvision.ops import roi_align

__all__ = ["ROIAlign", "roi_align"]


class ROIAlign(nn.Module):
    """Pools boxes of feature maps."""

    def __init__(
        self, output_size, spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ):
        """
        Args:
            output_size: (height, width), or one number.
            spatial_scale: from the boxes' pixels to the map's.
            sampling_ratio: samples a bin and direction; 0 for as many as pixels.
            aligned: shift by half a pixel, so that pixel centres count as such.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) and (R, 5) rows of image index x0 y0 x1 y1 to (R, C, *output_size)."""
        if rois.dim() != 2 or rois.size(1) != 5:
            raise AssertionError(f"expected boxes (R, 5), got {tuple(rois.shape)}")
        return roi_align(
            input,
            rois.to(dtype=input.dtype),
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
