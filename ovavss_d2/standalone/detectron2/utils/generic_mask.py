"""`GenericMask`: the mask of one object, given as polygons, run-length code or pixels."""

from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_coding

# Three corners.
MIN_COORDINATES = 6


class GenericMask:
    """A mask as pixels and as polygons, each computed from the other on first use."""

    def __init__(self, mask_or_polygons: Any, height: int, width: int):
        """
        Args:
            mask_or_polygons: a list of polygons [x0, y0, x1, y1, ...], COCO's run-length code (a
                dict with "counts" and "size"), or an array (H, W) of 0 and 1.
            height, width: the image's size.
        """
        self.height = height
        self.width = width
        if isinstance(mask_or_polygons, dict):
            mask_or_polygons = self._decode(mask_or_polygons)
        if isinstance(mask_or_polygons, list):
            # Replaces the cached properties below.
            self.polygons = [np.asarray(polygon).reshape(-1) for polygon in mask_or_polygons]
            self.has_holes = False
        elif isinstance(mask_or_polygons, np.ndarray):
            self._check_size(mask_or_polygons.shape)
            self.mask = mask_or_polygons.astype("uint8")
        else:
            raise ValueError(
                f"a mask is {type(mask_or_polygons).__name__}: expected a list of polygons, a "
                "run-length code or an array"
            )

    def _check_size(self, shape: tuple[int, ...]) -> None:
        expected = (self.height, self.width)
        assert tuple(shape) == expected, f"mask of shape {shape} on an image of shape {expected}"

    def _decode(self, coded: dict[str, Any]) -> np.ndarray:
        height, width = coded["size"]
        self._check_size((height, width))
        if isinstance(coded["counts"], list):  # not compressed
            coded = mask_coding.frPyObjects(coded, height, width)
        return mask_coding.decode(coded)

    @cached_property
    def mask(self) -> np.ndarray:
        """uint8 (H, W) of 0 and 1."""
        return self.polygons_to_mask(self.polygons)

    @cached_property
    def polygons(self) -> list[np.ndarray]:
        """The outlines, including those of holes, each [x0, y0, x1, y1, ...]."""
        polygons, self.has_holes = self.mask_to_polygons(self.mask)
        return polygons

    @cached_property
    def has_holes(self) -> bool:
        """Whether an outline is inside another one."""
        polygons, has_holes = self.mask_to_polygons(self.mask)
        self.polygons = polygons
        return has_holes

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Compute the outlines of a mask (H, W) and whether it has holes."""
        mask = np.ascontiguousarray(mask)  # required by OpenCV
        contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[-2:]
        if hierarchy is None:  # an empty mask
            return [], False
        has_holes = bool((hierarchy.reshape(-1, 4)[:, 3] >= 0).any())  # a contour with a parent
        polygons = [contour.reshape(-1) for contour in contours]
        return [p + 0.5 for p in polygons if len(p) >= MIN_COORDINATES], has_holes

    def polygons_to_mask(self, polygons: list[np.ndarray]) -> np.ndarray:
        """Fill polygons; returns uint8 (H, W)."""
        return mask_coding.decode(self._merge(polygons))

    def _merge(self, polygons: list[np.ndarray]) -> dict[str, Any]:
        lists = [polygon.tolist() for polygon in polygons]
        return mask_coding.merge(mask_coding.frPyObjects(lists, self.height, self.width))

    def area(self) -> int:
        """Return the number of pixels."""
        return self.mask.sum()

    def bbox(self) -> np.ndarray:
        """Return the bounding box [x0, y0, x1, y1]; the mask must not be empty."""
        x, y, width, height = mask_coding.toBbox(self._merge(self.polygons))
        return np.array([x, y, x + width, y + height])
