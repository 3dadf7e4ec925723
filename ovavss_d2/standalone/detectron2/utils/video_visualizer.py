"""`VideoVisualizer` draws on the frames of a video, with one color per object."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_coding
import torch
from detectron2.structures import Instances

from .canvas import VisImage
from .colormap import random_color, random_colors
from .visualizer import ColorMode, Visualizer, _create_text_labels, _to_list

# Minimum IoU with an object of an earlier frame to be the same object.
MIN_IOU = 0.5
# Number of frames for which an object that is not detected keeps its color.
FRAMES_REMEMBERED = 8
PALETTE_SIZE = 74


@dataclass
class _TrackedObject:
    """An object of an earlier frame."""

    label: int
    box: np.ndarray | None  # x, y, width, height
    mask: dict[str, Any] | None  # run-length code
    color: np.ndarray
    frames_left: int


class VideoVisualizer:
    """Draws frame by frame and keeps the color of each object."""

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE):
        """
        Args:
            metadata: of the data set, with names and colors of classes.
            instance_mode: IMAGE or IMAGE_BW.
        """
        assert instance_mode in (ColorMode.IMAGE, ColorMode.IMAGE_BW), (
            f"instance_mode is {instance_mode}, expected ColorMode.IMAGE or ColorMode.IMAGE_BW"
        )
        self.metadata = metadata
        self._instance_mode = instance_mode
        self._tracked: list[_TrackedObject] = []
        self._color_of_id: dict[int, np.ndarray] = {}
        self._palette = random_colors(PALETTE_SIZE, rgb=True, maximum=1)

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the predictions of a detector on one frame.

        Objects are matched between frames by "ID" (N,) if given, else by overlap and class.
        "COLOR" (N, 3) in [0, 1] sets the colors directly.

        Args:
            frame: RGB (H, W, 3) in [0, 255].
            predictions: with "pred_classes", "pred_boxes" and/or "pred_masks" (N, H, W), and
                optionally "scores", "ID" and "COLOR".
        """
        visualizer = Visualizer(frame, self.metadata)
        if len(predictions) == 0:
            return visualizer.output
        fields = predictions.get_fields()
        classes = _to_list(fields["pred_classes"])
        boxes, masks = fields.get("pred_boxes"), fields.get("pred_masks")
        if self._instance_mode == ColorMode.IMAGE_BW:
            present = None if masks is None else masks.any(dim=0).cpu().numpy()
            visualizer._reset_to_gray(present)
        names = self.metadata.get("thing_classes", None)
        return visualizer.overlay_instances(
            boxes=None if masks is not None else boxes,
            masks=None if masks is None else np.asarray(masks.detach().cpu()),
            labels=_create_text_labels(classes, _to_list(fields.get("scores")), names),
            assigned_colors=self._colors(predictions),
            alpha=0.3 if self._instance_mode == ColorMode.IMAGE_BW else 0.5,
        )

    def draw_sem_seg(
        self,
        frame: np.ndarray,
        sem_seg: torch.Tensor | np.ndarray,
        area_threshold: float | None = None,
    ) -> VisImage:
        """Draw a label map (H, W) on one frame; see `Visualizer.draw_sem_seg`."""
        return Visualizer(frame, self.metadata).draw_sem_seg(sem_seg, area_threshold)

    def _colors(self, predictions: Instances) -> list[np.ndarray]:
        """The colors of the objects of a frame."""
        if predictions.has("COLOR"):
            return list(np.asarray(predictions.COLOR))
        if predictions.has("ID"):
            return [self._color_by_id(int(number)) for number in predictions.ID]
        found = _detected_objects(predictions)
        similar = _similarity(self._tracked, found)
        for index, detection in enumerate(found):
            best = int(similar[:, index].argmax()) if self._tracked else -1
            if best >= 0 and similar[best, index] > 0:
                detection.color = self._tracked[best].color
                self._tracked[best].frames_left = 0  # replaced by the detection
                similar[best] = 0
            else:
                detection.color = random_color(rgb=True, maximum=1)
        for earlier in self._tracked:
            earlier.frames_left -= 1
        self._tracked = [earlier for earlier in self._tracked if earlier.frames_left > 0] + found
        return [detection.color for detection in found]

    def _color_by_id(self, number: int) -> np.ndarray:
        if number not in self._color_of_id:
            # When all colors are in use, they are used again.
            self._color_of_id[number] = self._palette[len(self._color_of_id) % PALETTE_SIZE]
        return self._color_of_id[number]


def _detected_objects(predictions: Instances) -> list[_TrackedObject]:
    """The objects of a frame, without colors."""
    count = len(predictions)
    boxes: list[Any] = [None] * count
    masks: list[Any] = [None] * count
    if predictions.has("pred_masks"):
        pixels = np.asarray(predictions.pred_masks.detach().cpu()).astype(np.uint8)
        masks = [mask_coding.encode(np.asfortranarray(mask)) for mask in pixels]
    if predictions.has("pred_boxes"):
        corners = predictions.pred_boxes.tensor.detach().cpu().numpy().astype(float)
        boxes = list(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1))
    labels = _to_list(predictions.pred_classes)
    return [
        _TrackedObject(label, box, mask, color=np.zeros(3), frames_left=FRAMES_REMEMBERED)
        for label, box, mask in zip(labels, boxes, masks, strict=True)
    ]


def _similarity(earlier: list[_TrackedObject], found: list[_TrackedObject]) -> np.ndarray:
    """IoU of each pair of objects; 0 if it is at most MIN_IOU or if the classes differ."""
    similar = np.zeros((len(earlier), len(found)))
    for row, old in enumerate(earlier):
        for column, new in enumerate(found):
            if old.label != new.label:
                continue
            if old.box is not None and new.box is not None:
                overlap = mask_coding.iou(new.box[None], old.box[None], [False])[0, 0]
                similar[row, column] = overlap if overlap > MIN_IOU else 0
            elif old.mask is not None and new.mask is not None:
                overlap = mask_coding.iou([new.mask], [old.mask], [False])[0, 0]
                similar[row, column] = overlap if overlap > MIN_IOU else 0
    return similar
