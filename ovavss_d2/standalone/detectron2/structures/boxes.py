"""Boxes and the formats in which a box can be given. Shape letter: N boxes."""

from collections.abc import Iterator
from enum import IntEnum, unique
from typing import Any

import numpy as np
import torch
from detectron2.missing import PartialClass, missing_message
from torchvision.ops import box_convert


@unique
class BoxMode(IntEnum):
    """Formats of a box: corners, or corner and size; in pixels or relative to the image's size."""

    XYXY_ABS = 0  # x0 y0 x1 y1
    XYWH_ABS = 1  # x0 y0 width height
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4  # center x, center y, width, height, angle in degrees counterclockwise

    @staticmethod
    def convert(box: Any, from_mode: "BoxMode", to_mode: "BoxMode") -> Any:
        """Convert boxes between XYXY_ABS and XYWH_ABS.

        Args:
            box: one box as a list or tuple, or (N, 4) as an array or tensor.
            from_mode: the format of `box`.
            to_mode: the format of the result.

        Returns:
            The converted boxes in the type of `box`; `box` itself if the formats are equal.

        Raises:
            NotImplementedError: one of the formats is relative or has an angle.
        """
        if from_mode == to_mode:
            return box
        if {from_mode, to_mode} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(
                missing_message(f"conversion from BoxMode {int(from_mode)} to {int(to_mode)}")
            )
        formats = ("xywh", "xyxy") if from_mode == BoxMode.XYWH_ABS else ("xyxy", "xywh")
        if isinstance(box, list | tuple):
            if len(box) != 4:
                raise AssertionError(f"expected a box of 4 numbers, got {len(box)}")
            return type(box)(box_convert(torch.tensor(box), *formats).tolist())
        rows = box_convert(torch.as_tensor(box).clone(), *formats)
        return rows.numpy() if isinstance(box, np.ndarray) else rows


class Boxes(PartialClass):
    """N boxes x0 y0 x1 y1 in pixels, in the float tensor `tensor` (N, 4)."""

    def __init__(self, tensor: Any):
        """
        Args:
            tensor: (N, 4) boxes in any form that `torch.as_tensor` takes; an empty one gets 4
                columns.
        """
        if not isinstance(tensor, torch.Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32, device=torch.device("cpu"))
        tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        if tensor.dim() != 2 or tensor.size(-1) != 4:
            raise AssertionError(f"expected boxes (N, 4), got {tuple(tensor.shape)}")
        self.tensor: torch.Tensor = tensor

    def to(self, device: torch.device) -> "Boxes":
        """Return the boxes on another device."""
        return Boxes(self.tensor.to(device=device))

    def __getitem__(self, item: int | slice | torch.Tensor) -> "Boxes":
        """Return the selected boxes; an integer gives one box as `Boxes`, too."""
        tensor = self.tensor[item]
        return Boxes(tensor[None] if isinstance(item, int) else tensor)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"

    @classmethod
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """Concatenate lists of boxes."""
        if not boxes_list:
            return cls(torch.empty(0))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    @property
    def device(self) -> torch.device:
        """The device of the boxes."""
        return self.tensor.device
