"""Masks of the objects of one image, as bitmaps or as polygons.

Shape letters: N objects, H, W pixels of the image, S side of a resized mask.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import torch
from detectron2.structures.boxes import Boxes
from torchvision.ops import masks_to_boxes, roi_align


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The union of polygons x0 y0 x1 y1 ... in pixels as an (H, W) bool array."""
    if not len(polygons):
        return np.zeros((height, width), dtype=bool)
    parts = coco_mask.frPyObjects([np.asarray(part) for part in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


class BitMasks:
    """N masks in one (N, H, W) bool tensor, with a tensor's ways of indexing and moving."""

    def __init__(self, tensor: torch.Tensor | np.ndarray):
        """Take (N, H, W) masks as a tensor or as what `torch.as_tensor` understands."""
        if isinstance(tensor, torch.Tensor):
            tensor = tensor.to(torch.bool)
        else:
            tensor = torch.as_tensor(np.asarray(tensor), dtype=torch.bool)
        if tensor.dim() != 3:
            raise AssertionError(tensor.size())
        self.image_size = tensor.shape[1:]
        self.tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """The masks on another device, as `Tensor.to`."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the masks are."""
        return self.tensor.device

    def __getitem__(self, item: int | slice | torch.Tensor) -> "BitMasks":
        """Masks by an integer, a slice, indices or a mask over N; always a `BitMasks`."""
        if isinstance(item, int):
            return BitMasks(self.tensor[item].unsqueeze(0))
        tensor = self.tensor[item]
        if tensor.dim() != 3:
            raise AssertionError(
                f"Indexing on BitMasks with {item} returns a tensor with shape {tensor.shape}!"
            )
        return BitMasks(tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yields (H, W) bool tensors."""
        yield from self.tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    def from_polygon_masks(
        polygon_masks: "PolygonMasks | list[list[np.ndarray]]", height: int, width: int
    ) -> "BitMasks":
        """Rasterise polygons, one list of them for each object."""
        if isinstance(polygon_masks, PolygonMasks):
            polygon_masks = polygon_masks.polygons
        masks = [polygons_to_bitmask(polygons, height, width) for polygons in polygon_masks]
        empty = np.zeros((0, height, width), dtype=bool)
        return BitMasks(torch.from_numpy(np.stack(masks) if masks else empty))

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Cut each mask out by its box and resize it, averaging.

        Args:
            boxes: (N, 4) float boxes in pixels.
            mask_size: side S of the result.

        Returns:
            (N, S, S) bool: at least half of the area is covered.
        """
        if len(boxes) != len(self):
            raise AssertionError(f"{len(boxes)} != {len(self)}")
        place = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
        rois = torch.cat([place, boxes], dim=1).to(torch.float32)
        masks = self.tensor.to(device=boxes.device, dtype=torch.float32)[:, None]
        resized = roi_align(masks, rois, (mask_size, mask_size), aligned=True)
        return resized[:, 0] >= 0.5

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes, ends exclusive; zeros for an empty mask."""
        boxes = torch.zeros(len(self), 4)
        present = self.nonempty().cpu()
        if present.any():
            tight = masks_to_boxes(self.tensor[present.to(self.device)]).cpu()
            tight[:, 2:] += 1  # torchvision's ends are inclusive
            boxes[present] = tight.float()
        return Boxes(boxes)

    @staticmethod
    def cat(bitmasks_list: list["BitMasks"]) -> "BitMasks":
        """All masks of a non-empty list in one."""
        if not isinstance(bitmasks_list, list | tuple) or not bitmasks_list:
            raise AssertionError(f"expected a non-empty list of BitMasks, got {bitmasks_list}")
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list], dim=0))


class PolygonMasks:
    """N masks, each a list of polygons, each a float64 array x0 y0 x1 y1 ... in pixels."""

    def __init__(self, polygons: list[list[torch.Tensor | np.ndarray]]):
        """Take, for each object, a list of polygons of at least three points."""
        if not isinstance(polygons, list):
            raise ValueError(
                "Cannot create PolygonMasks: Expect a list of list of polygons per image. "
                f"Got '{type(polygons)}' instead."
            )
        self.polygons = [_checked_polygons(instance) for instance in polygons]

    def to(self, *args: Any, **kwargs: Any) -> "PolygonMasks":
        """The masks themselves: polygons stay on the CPU."""
        return self

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes around each object's polygons; inf inf 0 0 for an object without any."""
        boxes = torch.tensor([torch.inf, torch.inf, 0.0, 0.0]).repeat(len(self.polygons), 1)
        for row, polygons in zip(boxes, self.polygons, strict=True):
            if polygons:
                points = torch.from_numpy(np.concatenate(polygons)).reshape(-1, 2).float()
                row[:2], row[2:] = points.min(dim=0).values, points.max(dim=0).values
        return Boxes(boxes)

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the object has a polygon."""
        return torch.tensor([len(polygons) > 0 for polygons in self.polygons], dtype=torch.bool)

    def __getitem__(self, item: int | slice | list[int] | torch.Tensor) -> "PolygonMasks":
        """Masks by an integer, a slice, a list or tensor of indices, or a mask over N."""
        if isinstance(item, int):
            return PolygonMasks([self.polygons[item]])
        if isinstance(item, slice):
            return PolygonMasks(self.polygons[item])
        indices = torch.as_tensor(item)
        if indices.dtype == torch.bool:
            indices = indices.nonzero().flatten()
        return PolygonMasks([self.polygons[i] for i in indices.tolist()])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self.polygons)})"

    def __len__(self) -> int:
        return len(self.polygons)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Cut each mask out by its (N, 4) box and rasterise it: (N, S, S) bool."""
        if len(boxes) != len(self):
            raise AssertionError(f"{len(boxes)} != {len(self)}")
        masks = [
            _rasterise_in_box(polygons, box, mask_size)
            for polygons, box in zip(self.polygons, boxes.cpu().numpy(), strict=True)
        ]
        if not masks:
            return torch.empty(0, mask_size, mask_size, dtype=torch.bool, device=boxes.device)
        return torch.from_numpy(np.stack(masks)).to(boxes.device)

    def area(self) -> torch.Tensor:
        """(N,) float64 areas in square pixels; polygons of one object are added up."""
        areas = [sum((_area(part) for part in polygons), start=0.0) for polygons in self.polygons]
        return torch.tensor(areas, dtype=torch.float64)

    @staticmethod
    def cat(polymasks_list: list["PolygonMasks"]) -> "PolygonMasks":
        """All masks of a non-empty list in one."""
        if not isinstance(polymasks_list, list | tuple) or not polymasks_list:
            raise AssertionError(f"expected a non-empty list of PolygonMasks, got {polymasks_list}")
        return PolygonMasks([polygons for masks in polymasks_list for polygons in masks.polygons])


def _checked_polygons(polygons) -> list[np.ndarray]:
    if not isinstance(polygons, list):
        raise ValueError(
            "Cannot create polygons: Expect a list of polygons per instance. "
            f"Got '{type(polygons)}' instead."
        )
    parts = [
        part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
        for part in polygons
    ]
    for part in parts:
        if len(part) % 2 or len(part) < 6:
            raise ValueError(f"Cannot create a polygon from {len(part)} coordinates.")
    return [part.astype(np.float64) for part in parts]


def _rasterise_in_box(polygons, box, side) -> np.ndarray:
    """(S, S) bool of the polygons in a box that is stretched to S x S."""
    # Boxes thinner than a tenth of a pixel are taken as that wide, so that the scale stays finite.
    scale = side / np.maximum(box[2:] - box[:2], 0.1)
    moved = [((part.reshape(-1, 2) - box[:2]) * scale).reshape(-1) for part in polygons]
    return polygons_to_bitmask(moved, side, side)


def _area(polygon) -> float:
    """Area of one polygon by the shoelace formula."""
    x, y = polygon[0::2], polygon[1::2]
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
