"""`Visualizer` draws records of data sets and outputs of models on images.

Keypoints, rotated boxes and panoptic labels are not implemented.
"""

import math
from collections.abc import Sequence
from enum import Enum, unique
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.missing import PartialClass, missing_message
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from PIL import Image

from .canvas import VisImage
from .colormap import random_color
from .drawing import TEXT_BRIGHTNESS, Color, Drawing
from .file_io import PathManager
from .generic_mask import GenericMask

__all__ = ["ColorMode", "VisImage", "Visualizer", "GenericMask"]

OFF_WHITE = (1.0, 1.0, 240.0 / 255)
# The label of a smaller object is next to it, not on it; in pixels of the picture.
SMALL_OBJECT_AREA = 1000
LOW_OBJECT_HEIGHT = 40


@unique
class ColorMode(Enum):
    """How instances are colored."""

    IMAGE = 0
    """Each instance has a random color, blended with the image."""
    SEGMENTATION = 1
    """Instances of a class have similar colors with high opacity."""
    IMAGE_BW = 2
    """Like IMAGE, but the image is gray where there is no instance."""


def _create_text_labels(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[bool] | None = None,
) -> list[str] | None:
    """Labels of instances such as "cat 91%"; class indices if the names are unknown."""
    labels = None
    if classes is not None:
        labels = [class_names[index] if class_names else str(index) for index in classes]
    if scores is not None:
        percents = [f"{score * 100:.0f}%" for score in scores]
        names = [f"{label} " for label in labels] if labels is not None else [""] * len(percents)
        labels = [name + percent for name, percent in zip(names, percents, strict=True)]
    if labels is not None and is_crowd is not None:
        labels = [
            label + ("|crowd" if crowd else "")
            for label, crowd in zip(labels, is_crowd, strict=True)
        ]
    return labels


class Visualizer(Drawing, PartialClass):
    """Draws on one image; every function returns the current picture (`VisImage`)."""

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ):
        """
        Args:
            img_rgb: RGB (H, W, 3) in [0, 255].
            metadata: of the data set, with names and colors of classes.
            scale: factor of the picture's size.
            instance_mode: how instances are colored.
            font_size_scale: factor of the size of all text.
        """
        super().__init__(img_rgb, scale, font_size_scale)
        self.metadata = MetadataCatalog.get("__nonexist__") if metadata is None else metadata
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw the predictions of a detector.

        Args:
            predictions: with any of "pred_boxes", "pred_classes", "scores", "pred_masks" (N, H, W)
                and "pred_masks_rle".
            jittering: vary the color among the instances of a class in the mode SEGMENTATION.
        """
        if predictions.has("pred_keypoints"):
            raise NotImplementedError(missing_message("drawing of keypoints"))
        fields = predictions.get_fields()
        scores = fields.get("scores")
        classes = _to_list(fields.get("pred_classes"))
        names = self.metadata.get("thing_classes", None)
        if self._instance_mode == ColorMode.IMAGE_BW:
            masks = fields.get("pred_masks")
            self._reset_to_gray(None if masks is None else masks.any(dim=0).cpu().numpy())
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=_create_text_labels(classes, _to_list(scores), names),
            masks=_predicted_masks(predictions),
            assigned_colors=self._class_colors(classes, jittering),
            alpha={ColorMode.SEGMENTATION: 0.8, ColorMode.IMAGE_BW: 0.3}.get(
                self._instance_mode, 0.5
            ),
        )

    def draw_sem_seg(
        self,
        sem_seg: torch.Tensor | np.ndarray,
        area_threshold: float | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: Color | None = OFF_WHITE,
    ) -> VisImage:
        """Draw a label map in the colors of the metadata's `stuff_colors`.

        Args:
            sem_seg: (H, W) indices of the metadata's `stuff_classes`; larger values, such as the
                ignored label, are not drawn.
            area_threshold: outlines around fewer pixels are not drawn.
            alpha: opacity.
            draw_text: write the names of the classes.
            edge_color: of the edges of segments.
        """
        if isinstance(sem_seg, torch.Tensor):
            sem_seg = sem_seg.cpu().numpy()
        names = self.metadata.stuff_classes
        colors = self.metadata.get("stuff_colors", None)
        labels, areas = np.unique(sem_seg, return_counts=True)
        for label in labels[np.argsort(-areas)].tolist():
            if label >= len(names):
                continue
            known = colors is not None and label < len(colors)
            self.draw_binary_mask(
                (sem_seg == label).astype(np.uint8),
                color=tuple(part / 255 for part in colors[label]) if known else None,
                edge_color=edge_color,
                text=names[label] if draw_text else None,
                alpha=alpha,
                area_threshold=area_threshold,
            )
        return self.output

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the ground truth of a record: its "annotations" and "sem_seg"."""
        if "pan_seg" in dic or "pan_seg_file_name" in dic:
            raise NotImplementedError(missing_message("drawing of panoptic labels"))
        annotations = dic.get("annotations")
        if annotations:
            self._draw_annotations(annotations)
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            with PathManager.open(dic["sem_seg_file_name"], "rb") as file:
                sem_seg = np.asarray(Image.open(file, formats=["PNG"]), dtype="uint8")
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        return self.output

    def _draw_annotations(self, annotations: list[dict[str, Any]]) -> None:
        if any("keypoints" in annotation for annotation in annotations):
            raise NotImplementedError(missing_message("drawing of keypoints"))
        masks = None
        if "segmentation" in annotations[0]:
            masks = [annotation["segmentation"] for annotation in annotations]
        boxes = [
            BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
            if len(a["bbox"]) == 4
            else a["bbox"]
            for a in annotations
        ]
        classes = [annotation["category_id"] for annotation in annotations]
        labels = _create_text_labels(
            classes,
            None,
            self.metadata.get("thing_classes", None),
            [annotation.get("iscrowd", 0) for annotation in annotations],
        )
        colors = self._class_colors(classes, jittering=True)
        self.overlay_instances(boxes=boxes, labels=labels, masks=masks, assigned_colors=colors)

    def overlay_instances(
        self,
        *,
        boxes: Boxes | np.ndarray | None = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances, large ones first.

        Args:
            boxes: `Boxes` or (N, 4) in pixels, x0 y0 x1 y1.
            labels: N texts.
            masks: `BitMasks`, or N lists of polygons, run-length codes, or arrays (H, W).
            keypoints: not implemented.
            assigned_colors: N colors; random ones if None.
            alpha: opacity of the masks.
        """
        if keypoints is not None:
            raise NotImplementedError(missing_message("drawing of keypoints"))
        boxes = None if boxes is None else self._convert_boxes(boxes)
        masks = None if masks is None else self._convert_masks(masks)
        counts = {len(given) for given in (boxes, masks, labels) if given is not None}
        assert len(counts) <= 1, f"boxes, masks and labels have {sorted(counts)} instances"
        count = counts.pop() if counts else 0
        colors = assigned_colors
        if colors is None:
            colors = [random_color(rgb=True, maximum=1) for _ in range(count)]
        for index in _largest_first(boxes, masks, count):
            box = None if boxes is None else boxes[index]
            mask = None if masks is None else masks[index]
            if box is not None:
                self.draw_box(box, edge_color=colors[index])
            if mask is not None:
                for outline in mask.polygons:
                    self.draw_polygon(outline.reshape(-1, 2), colors[index], alpha=alpha)
            if labels is not None:
                self._draw_label(labels[index], colors[index], box, mask)
        return self.output

    def _draw_label(
        self, label: str, color: Color, box: np.ndarray | None, mask: GenericMask | None
    ) -> None:
        """Write the label of an instance at the corner of its box or on its mask."""
        if box is not None:
            x0, y0, x1, y1 = box
            position, alignment = (x0, y0), "left"
        elif mask is not None and len(mask.polygons) > 0:
            x0, y0, x1, y1 = mask.bbox()
            position, alignment = tuple(np.median(mask.mask.nonzero(), axis=1)[::-1]), "center"
        else:
            return
        scale = self.output.scale
        is_small = (y1 - y0) * (x1 - x0) < SMALL_OBJECT_AREA * scale
        if is_small or y1 - y0 < LOW_OBJECT_HEIGHT * scale:
            # Below the object, or to the right of it at the lower edge of the image.
            position = (x1, y0) if y1 >= self.output.height - 5 else (x0, y1)
        relative_height = (y1 - y0) / math.sqrt(self.output.height * self.output.width)
        growth = np.clip((relative_height - 0.02) / 0.08 + 1, 1.2, 2)
        self.draw_text(
            label,
            position,
            color=self._change_color_brightness(color, brightness_factor=TEXT_BRIGHTNESS),
            horizontal_alignment=alignment,
            font_size=growth * 0.5 * self._default_font_size,
        )

    def _reset_to_gray(self, mask: np.ndarray | None = None) -> None:
        """Make the image gray outside a mask (H, W)."""
        self.output.reset_image(self._create_grayscale_image(mask))

    def _create_grayscale_image(self, mask: np.ndarray | None = None) -> np.ndarray:
        gray = self.img.astype("f4").mean(axis=2)
        image = np.stack([gray, gray, gray], axis=2)
        if mask is not None:
            image[mask] = self.img[mask]
        return image

    def _class_colors(self, classes: list[int] | None, jittering: bool) -> list[Color] | None:
        """Colors by class in the mode SEGMENTATION; None, which means random ones, in others."""
        colors = self.metadata.get("thing_colors", None)
        if self._instance_mode != ColorMode.SEGMENTATION or not colors or classes is None:
            return None
        chosen = [tuple(part / 255 for part in colors[index]) for index in classes]
        return [self._jitter(color) for color in chosen] if jittering else chosen

    def _convert_boxes(self, boxes: Boxes | np.ndarray) -> np.ndarray:
        boxes = boxes.tensor.detach().cpu().numpy() if isinstance(boxes, Boxes) else boxes
        boxes = np.asarray(boxes)
        if boxes.size and boxes.shape[-1] != 4:
            raise NotImplementedError(missing_message("drawing of rotated boxes"))
        return boxes.reshape(-1, 4)

    def _convert_masks(self, masks: Any) -> list[GenericMask]:
        if isinstance(masks, BitMasks | torch.Tensor):
            masks = getattr(masks, "tensor", masks).detach().cpu().numpy()
        size = self.output.height, self.output.width
        return [
            mask if isinstance(mask, GenericMask) else GenericMask(mask, *size) for mask in masks
        ]


def _to_list(values: torch.Tensor | Sequence | None) -> list | None:
    return values.tolist() if isinstance(values, torch.Tensor | np.ndarray) else values


def _predicted_masks(predictions: Instances) -> Any:
    """The masks of predictions in a form for `overlay_instances`; None if there are none."""
    if predictions.has("pred_masks"):
        return np.asarray(predictions.pred_masks.detach().cpu())
    return predictions.pred_masks_rle if predictions.has("pred_masks_rle") else None


def _largest_first(
    boxes: np.ndarray | None, masks: list[GenericMask] | None, count: int
) -> list[int]:
    """Indices of the instances by decreasing area, so that small ones stay visible."""
    if boxes is not None:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    elif masks is not None:
        areas = np.asarray([mask.area() for mask in masks], dtype=float)
    else:
        return list(range(count))
    return np.argsort(-areas).tolist()
