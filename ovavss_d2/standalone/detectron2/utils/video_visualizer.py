"""`VideoVisualizer` draws on the frames of a video, an object in one colour all along."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_coding
import torch
from detectron2.structures import Instances

from .canvas import VisImage
from .colormap import random_color, random_colors
from .visualizer import ColorMode, Visualizer, _create_text_labels, _to_list

# Overlap (intersection over union) with an object of an earlier frame that makes it the same one.
MIN_IOU = 0.5
# For how many frames an object that is out of sight keeps its colour.
FRAMES_REMEMBERED = 8
PALETTE_SIZE = 74


@dataclass
class _SeenObject:
    """An object of an earlier frame."""

    label: int
    box: np.ndarray | None  # x, y, width, height
    mask: dict[str, Any] | None  # run-length code
    color: np.ndarray
    frames_left: int


class VideoVisualizer:
    """Draws frame by frame; what it remembers is each object's colour."""

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE):
        """
        Args:
            metadata: the data set's, with names and colours of classes.
            instance_mode: IMAGE or IMAGE_BW.
        """
        assert instance_mode in (ColorMode.IMAGE, ColorMode.IMAGE_BW), (
            f"instance_mode is {instance_mode}, expected ColorMode.IMAGE or ColorMode.IMAGE_BW"
        )
        self.metadata = metadata
        self._instance_mode = instance_mode
        self._seen: list[_SeenObject] = []
        self._color_of_id: dict[int, np.ndarray] = {}
        self._palette = random_colors(PALETTE_SIZE, rgb=True, maximum=1)

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw a detector's output on one frame.

        Args:
            frame: RGB (H, W, 3) in [0, 255].
            predictions: with "pred_classes", "pred_boxes" and/or "pred_masks" (N, H, W), and maybe
                "scores". "ID" (N,) tells which objects are the same over time; overlap and class
                tell it without. "COLOR" (N, 3) in [0, 1] gives the colours themselves.
        """
        visualizer = Visualizer(frame, self.metadata)
        if len(predictions) == 0:
            return visualizer.output
        fields = predictions.get_fields()
        classes = _to_list(fields["pred_classes"])
        boxes, masks = fields.get("pred_boxes"), fields.get("pred_masks")
        if self._instance_mode == ColorMode.IMAGE_BW:
            seen = None if masks is None else masks.any(dim=0).cpu().numpy()
            visualizer._reset_to_gray(seen)
        names = self.metadata.get("thing_classes", None)
        return visualizer.overlay_instances(
            boxes=None if masks is not None else boxes,  # both would be too much
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
        """The colours of a frame's objects."""
        if predictions.has("COLOR"):
            return list(np.asarray(predictions.COLOR))
        if predictions.has("ID"):
            return [self._color_by_id(int(number)) for number in predictions.ID]
        found = _found_objects(predictions)
        similar = _similarity(self._seen, found)
        for index, detection in enumerate(found):
            best = int(similar[:, index].argmax()) if self._seen else -1
            if best >= 0 and similar[best, index] > 0:
                detection.color = self._seen[best].color
                self._seen[best].frames_left = 0  # the detection takes its place
                similar[best] = 0
            else:
                detection.color = random_color(rgb=True, maximum=1)
        for earlier in self._seen:
            earlier.frames_left -= 1
        self._seen = [earlier for earlier in self._seen if earlier.frames_left > 0] + found
        return [detection.color for detection in found]

    def _color_by_id(self, number: int) -> np.ndarray:
        if number not in self._color_of_id:
            # Once all colours are taken they are used again.
            self._color_of_id[number] = self._palette[len(self._color_of_id) % PALETTE_SIZE]
        return self._color_of_id[number]


def _found_objects(predictions: Instances) -> list[_SeenObject]:
    """A frame's objects, without colours yet."""
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
        _SeenObject(label, box, mask, color=np.zeros(3), frames_left=FRAMES_REMEMBERED)
        for label, box, mask in zip(labels, boxes, masks, strict=True)
    ]


def _similarity(earlier: list[_SeenObject], found: list[_SeenObject]) -> np.ndarray:
    """Overlap of each pair of objects; 0 where too small or where the classes differ."""
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
