"""Helpers of dataset mappers: reading images, transforming annotations, making `Instances`.

Images are (H, W) or (H, W, C) arrays. An annotation is a dict with "category_id", "bbox" and
"bbox_mode", and where masks are known "segmentation": polygons, an RLE, or a bitmap.
"""

import logging

import numpy as np
import pycocotools.mask as coco_mask
import torch
from detectron2.data import transforms as T
from detectron2.data.catalog import MetadataCatalog
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    PolygonMasks,
    polygons_to_bitmask,
)
from detectron2.utils.file_io import PathManager
from fvcore.transforms.transform import TransformList
from PIL import Image, ImageOps

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "build_augmentation",
    "check_image_size",
    "check_metadata_consistency",
    "convert_image_to_rgb",
    "filter_empty_instances",
    "read_image",
    "transform_instance_annotations",
]

logger = logging.getLogger(__name__)

# RGB to YUV and back, BT.601 (analogue, signed U and V).
_RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])
_YUV = "YUV-BT.601"


class SizeMismatchError(ValueError):
    """The image has another size than its record says."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image, turned as its EXIF orientation says.

    Args:
        file_name: path.
        format: one of PIL's modes, "BGR" or "YUV-BT.601"; None leaves the file's mode.

    Returns:
        (H, W, C) array, uint8 in 0..255; float64 (Y in 0..1) for YUV. "L" gives (H, W, 1).
    """
    with PathManager.open(file_name, "rb") as stream:
        image = ImageOps.exif_transpose(Image.open(stream))
        mode = "RGB" if format in ("BGR", _YUV) else format
        pixels = np.asarray(image if mode is None else image.convert(mode))
    if format == "BGR":
        return pixels[:, :, ::-1]
    if format == "L":
        return pixels[:, :, None]
    if format == _YUV:
        return (pixels / 255.0) @ _RGB_TO_YUV.T
    return pixels


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str | None) -> np.ndarray:
    """An image of a format that `read_image` knows as (H, W, 3) RGB in 0..255."""
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    if format == "BGR":
        return image[:, :, [2, 1, 0]]
    if format == _YUV:
        return image @ _YUV_TO_RGB.T * 255.0
    if format == "L":
        image = image[:, :, 0]
    return np.asarray(Image.fromarray(image.astype(np.uint8)).convert("RGB"))


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Compare an image with its record's "width" and "height", and add them where missing."""
    size = image.shape[1], image.shape[0]
    if "width" in dataset_dict or "height" in dataset_dict:
        expected = dataset_dict["width"], dataset_dict["height"]
        if size != expected:
            name = dataset_dict.get("file_name")
            raise SizeMismatchError(
                "Mismatched image shape{}, got {}, expect {}. ".format(
                    f" for image {name}" if name else "", size, expected
                )
                + "Please check the width/height in your annotation."
            )
    dataset_dict.setdefault("width", size[0])
    dataset_dict.setdefault("height", size[1])


def transform_instance_annotations(
    annotation: dict, transforms, image_size: tuple[int, int], *, keypoint_hflip_indices=None
) -> dict:
    """Apply transforms to the box and the segmentation of one annotation, in place.

    Args:
        annotation: of one object; its box mode becomes XYXY_ABS.
        transforms: a `TransformList` or a list of transforms.
        image_size: (height, width) after the transforms; boxes are cut to it.
        keypoint_hflip_indices: unused; keypoints need Detectron2 itself.

    Returns:
        `annotation`.
    """
    if "keypoints" in annotation:
        raise NotImplementedError("keypoints: install Detectron2 itself to use them")
    if isinstance(transforms, tuple | list):
        transforms = TransformList(list(transforms))
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    box = transforms.apply_box(np.array([box]))[0].clip(min=0)
    annotation["bbox"] = np.minimum(box, list(image_size[::-1]) * 2)
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(
            annotation["segmentation"], transforms, image_size
        )
    return annotation


def _transform_segmentation(segmentation, transforms, image_size):
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon).reshape(-1, 2) for polygon in segmentation]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    if isinstance(segmentation, dict):
        mask = transforms.apply_segmentation(coco_mask.decode(segmentation))
        if tuple(mask.shape[:2]) != tuple(image_size):
            raise AssertionError(f"the mask became {mask.shape[:2]}, the image {image_size}")
        return mask
    raise ValueError(
        f"Cannot transform segmentation of type '{type(segmentation)}'!Supported types are: "
        "polygons as list[list[float] or ndarray], COCO-style RLE as a dict."
    )


def annotations_to_instances(
    annos: list[dict], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """The annotations of one image as `Instances`.

    Args:
        annos: of the objects.
        image_size: (height, width).
        mask_format: "polygon" or "bitmask".

    Returns:
        Instances with "gt_boxes", "gt_classes" and, if the annotations have masks, "gt_masks".
    """
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(np.stack(boxes) if boxes else np.zeros((0, 4)))
    classes = [int(annotation["category_id"]) for annotation in annos]
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if annos and "segmentation" in annos[0]:
        segmentations = [annotation["segmentation"] for annotation in annos]
        instances.gt_masks = _to_masks(segmentations, image_size, mask_format)
    return instances


def _to_masks(segmentations, image_size, mask_format):
    if mask_format == "polygon":
        try:
            return PolygonMasks(segmentations)
        except ValueError as error:
            raise ValueError(
                "Failed to use mask_format=='polygon' from the given annotations!"
            ) from error
    if mask_format != "bitmask":
        raise AssertionError(mask_format)
    bitmaps = [_to_bitmap(segmentation, image_size) for segmentation in segmentations]
    return BitMasks(torch.stack([torch.from_numpy(np.ascontiguousarray(b)) for b in bitmaps]))


def _to_bitmap(segmentation, image_size):
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        return coco_mask.decode(segmentation)
    if isinstance(segmentation, np.ndarray):
        if segmentation.ndim != 2:
            raise AssertionError(f"Expect segmentation of 2 dimensions, got {segmentation.ndim}.")
        return segmentation
    raise ValueError(
        f"Cannot convert segmentation of type '{type(segmentation)}' to BitMasks!"
        "Supported types are: polygons as list[list[float] or ndarray], COCO-style RLE as a dict, "
        "or a binary segmentation mask  in a 2D numpy array of shape HxW."
    )


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
):
    """Leave out the instances that have an empty box or an empty mask.

    Args:
        instances: with "gt_boxes" and perhaps "gt_masks".
        by_box, by_mask: what to look at.
        box_threshold: sides of a box up to this length are empty.
        return_mask: return, too, the (N,) bool tensor of those that stay.
    """
    if not (by_box or by_mask):
        raise AssertionError("expected by_box or by_mask")
    kept = []
    if by_box:
        kept.append(instances.gt_boxes.nonempty(threshold=box_threshold))
    if by_mask and instances.has("gt_masks"):
        kept.append(instances.gt_masks.nonempty())
    if not kept:
        return instances
    keep = torch.stack(kept).all(dim=0)
    return (instances[keep], keep) if return_mask else instances[keep]


def build_augmentation(cfg, is_train: bool) -> list[T.Augmentation]:
    """The augmentations that `cfg.INPUT` asks for: a resize and, in training, a flip."""
    part = "TRAIN" if is_train else "TEST"
    lengths, longest = cfg.INPUT[f"MIN_SIZE_{part}"], cfg.INPUT[f"MAX_SIZE_{part}"]
    style = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING if is_train else "choice"
    augmentations = [T.ResizeShortestEdge(lengths, longest, style)]
    flip = cfg.INPUT.RANDOM_FLIP
    if is_train and flip != "none":
        horizontal, vertical = flip == "horizontal", flip == "vertical"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=vertical))
    return augmentations


def check_metadata_consistency(key: str, dataset_names: list[str]) -> None:
    """Raise ValueError unless a metadata entry is the same for all data sets."""
    if not dataset_names:
        raise AssertionError("expected the names of data sets")
    values = [MetadataCatalog.get(name).get(key, "N/A") for name in dataset_names]
    different = [value for value in values if value != values[0]]
    if not different:
        return
    for name, value in zip(dataset_names, values, strict=True):
        logger.error(f"Metadata '{key}' for dataset '{name}' is '{value}'")
    raise ValueError(f"Datasets have different metadata '{key}'!")
