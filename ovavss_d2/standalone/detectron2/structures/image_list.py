"""`ImageList`: images of different sizes padded into one tensor."""

from typing import Any

import torch
from torch.nn import functional as F


class ImageList:
    """A batch of images, padded on the right and at the bottom, with the sizes before padding."""

    def __init__(self, tensor: torch.Tensor, image_sizes: list[tuple[int, int]]):
        """
        Args:
            tensor: (N, H, W) or (N, ..., H, W).
            image_sizes: (height, width) of each image without its padding.
        """
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> torch.Tensor:
        """Return one image (..., h, w) without its padding."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Return the batch on another device or with another type, as `Tensor.to`."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        """The device of the batch."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: list[torch.Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> "ImageList":
        """Pad images to a common size.

        Args:
            tensors: images (H_i, W_i) or (..., H_i, W_i), equal in all other dimensions.
            size_divisibility: pad height and width to multiples of it; 0 for any size.
            pad_value: value of the padding.
            padding_constraints: may hold "size_divisibility", which overrides the argument, and
                "square_size": pad to squares of that side.
        """
        _check_images(tensors)
        constraints = padding_constraints or {}
        divisor = constraints.get("size_divisibility", size_divisibility)
        sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height, width = (max(side) for side in zip(*sizes, strict=True))
        square = constraints.get("square_size", 0)
        if square > 0:
            if max(height, width) > square:
                raise RuntimeError(f"images of {height} x {width} do not fit square_size {square}")
            height = width = square
        if divisor > 1:
            height, width = (-(-side // divisor) * divisor for side in (height, width))
        padded = [
            F.pad(image, (0, width - w, 0, height - h), value=pad_value)
            for image, (h, w) in zip(tensors, sizes, strict=True)
        ]
        return ImageList(torch.stack(padded).contiguous(), sizes)


def _check_images(tensors: list[torch.Tensor]) -> None:
    if not isinstance(tensors, list | tuple) or not tensors:
        raise AssertionError(f"expected a non-empty list of images, got {type(tensors)}")
    for image in tensors:
        if not isinstance(image, torch.Tensor):
            raise AssertionError(f"expected a tensor, got {type(image)}")
        if image.shape[:-2] != tensors[0].shape[:-2]:
            raise AssertionError(f"{image.shape} and {tensors[0].shape} cannot be batched")
