"""Boxes and the ways to write a box down.

Shape letters: N, M boxes. A box is x0 y0 x1 y1 in pixels, its ends exclusive.
"""

import math
from collections.abc import Iterator
from enum import IntEnum, unique

import numpy as np
import torch
from torchvision.ops import box_convert


@unique
class BoxMode(IntEnum):
    """Ways to write a box: corners or corner and size, in pixels or relative, or with an angle."""

    XYXY_ABS = 0  # x0 y0 x1 y1
    XYWH_ABS = 1  # x0 y0 width height
    XYXY_REL = 2  # the first in parts of the image's size; not supported by `convert`
    XYWH_REL = 3  # the second in parts of the image's size; not supported by `convert`
    XYWHA_ABS = 4  # centre x, centre y, width, height, angle in degrees counter-clockwise

    @staticmethod
    def convert(box, from_mode: "BoxMode", to_mode: "BoxMode"):
        """Write boxes in another mode.

        Args:
            box: one box as a list or tuple, or (N, 4) or (N, 5) as an array or tensor.
            from_mode, to_mode: the modes.

        Returns:
            The converted boxes in the type of `box`; `box` itself if the modes are equal.
        """
        if from_mode == to_mode:
            return box
        relative = (BoxMode.XYXY_REL, BoxMode.XYWH_REL)
        if from_mode in relative or to_mode in relative:
            raise AssertionError("Relative mode not yet supported!")
        is_sequence = isinstance(box, list | tuple)
        if is_sequence and len(box) not in (4, 5):
            raise AssertionError(
                "BoxMode.convert takes either a k-tuple/list or an Nxk array/tensor, "
                "where k == 4 or 5"
            )
        # A copy: the input stays as it is.
        rows = torch.tensor(box)[None] if is_sequence else torch.as_tensor(box).clone()
        rows = _convert_rows(rows, from_mode, to_mode)
        if is_sequence:
            return type(box)(rows[0].tolist())
        return rows.numpy() if isinstance(box, np.ndarray) else rows


def _convert_rows(rows, from_mode, to_mode):
    """Convert boxes given as the rows of a tensor."""
    modes = (from_mode, to_mode)
    if modes == (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        return box_convert(rows, "xywh", "xyxy")
    if modes == (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        return box_convert(rows, "xyxy", "xywh")
    if modes == (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS):
        return _enclose_rotated(rows)
    if modes == (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS):
        rows = rows if rows.is_floating_point() else rows.float()
        return torch.cat([box_convert(rows, "xywh", "cxcywh"), torch.zeros_like(rows[:, :1])], 1)
    raise NotImplementedError(
        f"Conversion from BoxMode {int(from_mode)} to {int(to_mode)} is not supported yet"
    )


def _enclose_rotated(rows):
    """Upright boxes around rotated ones: (N, 5) to (N, 4), computed in float64."""
    cx, cy, width, height, angle = rows.double().unbind(1)
    cos, sin = (angle * math.pi / 180).cos().abs(), (angle * math.pi / 180).sin().abs()
    size = torch.stack([cos * width + sin * height, cos * height + sin * width], 1)
    centre = torch.stack([cx, cy], 1)
    return torch.cat([centre - size / 2, centre + size / 2], 1).to(rows.dtype)


class Boxes:
    """N boxes in one (N, 4) float tensor, with a tensor's ways of indexing and moving."""

    def __init__(self, tensor: torch.Tensor):
        """Take boxes as anything that `torch.as_tensor` takes; an empty one gets 4 columns."""
        if not isinstance(tensor, torch.Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32, device=torch.device("cpu"))
        tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        if tensor.dim() != 2 or tensor.size(-1) != 4:
            raise AssertionError(tensor.size())
        self.tensor = tensor

    def clone(self) -> "Boxes":
        """A copy."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device) -> "Boxes":
        """The boxes on another device."""
        return Boxes(self.tensor.to(device=device))

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels."""
        width, height = self._sizes().unbind(1)
        return width * height

    def _sizes(self):
        return self.tensor[:, 2:] - self.tensor[:, :2]

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit the boxes, in place, to an image of (height, width) pixels."""
        if not torch.isfinite(self.tensor).all():
            raise AssertionError("Box tensor contains infinite or NaN!")
        height, width = box_size
        limits = self.tensor.new_tensor([width, height, width, height])
        self.tensor = torch.minimum(self.tensor.clamp(min=0), limits)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides are longer than `threshold` pixels."""
        return (self._sizes() > threshold).all(dim=1)

    def __getitem__(self, item) -> "Boxes":
        """Boxes by an integer, a slice, indices or a mask over N; always a `Boxes`."""
        if isinstance(item, int):
            return Boxes(self.tensor[item].view(1, -1))
        tensor = self.tensor[item]
        if tensor.dim() != 2:
            raise AssertionError(f"Indexing on Boxes with {item} failed to return a matrix!")
        return Boxes(tensor)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:
        """(N,) bool: the box leaves an image of (height, width) by less than the threshold."""
        height, width = box_size
        limits = self.tensor.new_tensor([width, height]) + boundary_threshold
        inside_start = (self.tensor[:, :2] >= -boundary_threshold).all(dim=1)
        return inside_start & (self.tensor[:, 2:] < limits).all(dim=1)

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centres, x and y."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """All boxes of a list in one."""
        if not isinstance(boxes_list, list | tuple):
            raise AssertionError(f"expected a list of Boxes, got {type(boxes_list)}")
        if not all(isinstance(boxes, Boxes) for boxes in boxes_list):
            raise AssertionError("every element of the list must be a Boxes")
        if not boxes_list:
            return cls(torch.empty(0))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    @property
    def device(self) -> torch.device:
        """Where the boxes are."""
        return self.tensor.device

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yields (4,) tensors."""
        yield from self.tensor


def _pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    first, second = boxes1.tensor[:, None], boxes2.tensor[None]
    start = torch.max(first[..., :2], second[..., :2])
    end = torch.min(first[..., 2:], second[..., 2:])
    return (end - start).clamp(min=0).prod(dim=2)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over union of all pairs; 0 where they do not meet."""
    intersection = _pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area() - intersection
    return torch.where(intersection > 0, intersection / union, intersection.new_zeros(()))


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over the area of the second box; 0 where they do not meet."""
    intersection = _pairwise_intersection(boxes1, boxes2)
    return torch.where(intersection > 0, intersection / boxes2.area(), intersection.new_zeros(()))
