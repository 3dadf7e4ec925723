"""Metrics of semantic segmentation: IoU, boundary IoU and accuracy from confusion matrices."""

import itertools
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_coding
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.comm import all_gather, is_main_process, synchronize
from detectron2.utils.file_io import PathManager
from PIL import Image

from .evaluator import DatasetEvaluator


def load_image_into_numpy_array(
    filename: str, dtype: np.dtype | str | type | None = None
) -> np.ndarray:
    """Read a label image, (H, W) integers."""
    with PathManager.open(filename, "rb") as file:
        return np.asarray(Image.open(file, formats=["PNG"]), dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """Mean, frequency-weighted and per-class IoU, IoU of boundaries, and pixel accuracies.

    The boundary IoU follows Cheng et al., "Boundary IoU" (CVPR 2021).
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ):
        """
        Args:
            dataset_name: a registered data set; its metadata has `stuff_classes` and
                `ignore_label`, its records `file_name` and `sem_seg_file_name`.
            distributed: combine the results of all processes.
            output_dir: folder of results and predictions; None: they are not written.
            sem_seg_loading_fn: reads a label file; called with its path and `dtype=`.
            num_classes, ignore_label: not used; they come from the metadata.
        """
        self._logger = logging.getLogger(__name__)
        for name, value in (("num_classes", num_classes), ("ignore_label", ignore_label)):
            if value is not None:
                self._logger.warning(
                    f"SemSegEvaluator({name}) is not used: it comes from the metadata"
                )
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._output_dir = output_dir
        self.sem_seg_loading_fn = sem_seg_loading_fn
        self.input_file_to_gt_file = {
            record["file_name"]: record["sem_seg_file_name"]
            for record in DatasetCatalog.get(dataset_name)
        }
        metadata = MetadataCatalog.get(dataset_name)
        to_contiguous = getattr(metadata, "stuff_dataset_id_to_contiguous_id", None) or {}
        self._contiguous_id_to_dataset_id = {new: old for old, new in to_contiguous.items()}
        self._class_names = metadata.stuff_classes
        self._num_classes = len(metadata.stuff_classes)
        self._ignore_label = metadata.ignore_label

    def reset(self) -> None:
        # One additional class for pixels without ground truth.
        size = self._num_classes + 1
        self._conf_matrix = np.zeros((size, size), dtype=np.int64)
        self._b_conf_matrix = np.zeros((size, size), dtype=np.int64)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[Any]) -> None:
        """Count the pixels of a batch.

        Args:
            inputs: one dict per image with its "file_name".
            outputs: one dict per image with the class scores "sem_seg" (K, H, W).
        """
        for image, output in zip(inputs, outputs, strict=True):
            predicted = output["sem_seg"].argmax(dim=0).to("cpu").numpy().astype(np.int64)
            truth_file = self.input_file_to_gt_file[image["file_name"]]
            truth = self._read_truth(truth_file, predicted.shape)
            self._conf_matrix += self._confusion(predicted, truth)
            self._b_conf_matrix += self._confusion(
                self._mask_to_boundary(predicted), self._mask_to_boundary(truth)
            )
            self._predictions.extend(self.encode_json_sem_seg(predicted, image["file_name"]))

    def _read_truth(self, path: str, shape: tuple[int, int]) -> np.ndarray:
        """Read a label file as int64 (H, W), with ignored pixels as class K."""
        truth = np.array(self.sem_seg_loading_fn(path, dtype=int))
        truth[truth == self._ignore_label] = self._num_classes
        if truth.shape != shape:
            raise ValueError(
                f"{path} has size {truth.shape}, its prediction {shape}: expected equal sizes; "
                "predictions must have the size of the labels"
            )
        if truth.size and not 0 <= truth.min() <= truth.max() <= self._num_classes:
            raise ValueError(
                f"{path} has labels {truth.min()} to {truth.max()}: expected 0 to "
                f"{self._num_classes - 1} or {self._ignore_label} (ignored); check the metadata"
            )
        return truth

    def _confusion(self, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The number of pixels by predicted and true class (K+1, K+1)."""
        size = self._num_classes + 1
        pairs = size * predicted.reshape(-1) + truth.reshape(-1)
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    def _mask_to_boundary(self, mask: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
        """Keep the labels (H, W) that an erosion by `dilation_ratio` of the diagonal removes."""
        thickness = max(1, round(dilation_ratio * float(np.hypot(*mask.shape))))
        # With a border of 0 the edge of the image is a boundary, too.
        padded = np.pad(mask.astype(np.uint8), 1)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=thickness)
        return mask - eroded[1:-1, 1:-1].astype(mask.dtype)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Compute the metrics in percent; None in all processes but the first.

        Returns:
            {"sem_seg": {"mIoU", "fwIoU", "mACC", "pACC", and per class "IoU-NAME",
            "BoundaryIoU-NAME", "min(IoU, B-Iou)-NAME", "ACC-NAME"}}; NaN for absent classes.
        """
        if self._distributed:
            synchronize()
            self._conf_matrix = sum(all_gather(self._conf_matrix))
            self._b_conf_matrix = sum(all_gather(self._b_conf_matrix))
            self._predictions = list(itertools.chain(*all_gather(self._predictions)))
            if not is_main_process():
                return None
        metrics = self._metrics()
        if self._output_dir:
            self._write(self._output_dir, metrics)
        results = OrderedDict({"sem_seg": metrics})
        self._logger.info(results)
        return results

    def _metrics(self) -> dict[str, float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            hits, truth, predicted = _marginals(self._conf_matrix)
            boundary_hits, boundary_truth, boundary_predicted = _marginals(self._b_conf_matrix)
            accuracy = hits / truth  # NaN where a class has no pixel
            iou = np.where(truth > 0, hits / (truth + predicted - hits), np.nan)
            boundary_iou = boundary_hits / (boundary_truth + boundary_predicted - boundary_hits)
            present = truth > 0
            metrics = {
                "mIoU": 100 * iou[present].sum() / present.sum(),
                "fwIoU": 100 * (iou[present] * (truth / truth.sum())[present]).sum(),
            }
            for index, name in enumerate(self._class_names):
                metrics[f"IoU-{name}"] = 100 * iou[index]
                metrics[f"BoundaryIoU-{name}"] = 100 * boundary_iou[index]
                worse = np.minimum(iou[index], boundary_iou[index])
                metrics[f"min(IoU, B-Iou)-{name}"] = 100 * worse
            metrics["mACC"] = 100 * accuracy[present].sum() / present.sum()
            metrics["pACC"] = 100 * hits.sum() / truth.sum()
            for index, name in enumerate(self._class_names):
                metrics[f"ACC-{name}"] = 100 * accuracy[index]
        return metrics

    def _write(self, folder: str, metrics: dict[str, float]) -> None:
        PathManager.mkdirs(folder)
        path = os.path.join(folder, "sem_seg_predictions.json")
        with PathManager.open(path, "w") as file:
            file.write(json.dumps(self._predictions))
        path = os.path.join(folder, "sem_seg_evaluation.pth")
        with PathManager.open(path, "wb") as file:
            torch.save(metrics, file)

    def encode_json_sem_seg(self, sem_seg: np.ndarray, input_file_name: str) -> list[dict]:
        """Encode a label map (H, W) in COCO's stuff format: one RLE mask per class."""
        entries = []
        for label in np.unique(sem_seg).tolist():
            mask = np.asfortranarray(sem_seg == label, dtype=np.uint8)
            coded = mask_coding.encode(mask)
            coded["counts"] = coded["counts"].decode("utf-8")
            category = self._contiguous_id_to_dataset_id.get(label, label)
            entries.append(
                {"file_name": input_file_name, "category_id": category, "segmentation": coded}
            )
        return entries


def _marginals(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correct, true and predicted pixels per class (K,) of a matrix (K+1, K+1)."""
    known = confusion[:-1, :-1].astype(float)  # without pixels that have no ground truth
    return known.diagonal(), known.sum(axis=0), known.sum(axis=1)
