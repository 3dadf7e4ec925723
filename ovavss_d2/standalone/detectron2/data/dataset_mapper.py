"""`DatasetMapper`: the default way from a record of one image to the input of a model."""

import copy
import logging

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T

__all__ = ["DatasetMapper"]

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Reads the image of a record, augments it with its annotations and makes tensors.

    From "file_name" it makes "image", a (C, H, W) uint8 tensor; from "sem_seg_file_name" "sem_seg",
    an (H, W) int64 tensor; in training, from "annotations" (crowds left out) "instances".
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list,
        image_format: str,
        use_instance_mask: bool = False,
        instance_mask_format: str = "polygon",
        recompute_boxes: bool = False,
    ):
        """
        Args:
            is_train: False leaves the annotations out.
            augmentations: applied in order.
            image_format: as `detection_utils.read_image` takes it.
            use_instance_mask: keep the objects' masks.
            instance_mask_format: "polygon" or "bitmask".
            recompute_boxes: replace boxes by tight ones around the masks.
        """
        if recompute_boxes and not use_instance_mask:
            raise AssertionError("recompute_boxes requires instance masks")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.recompute_boxes = recompute_boxes
        mode = "training" if is_train else "inference"
        logger.info(f"[DatasetMapper] Augmentations used in {mode}: {augmentations}")

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        """Arguments from `cfg.INPUT` and `cfg.MODEL`."""
        if cfg.MODEL.KEYPOINT_ON or cfg.MODEL.LOAD_PROPOSALS:
            raise NotImplementedError("keypoints and proposals: install Detectron2 itself")
        augmentations = detection_utils.build_augmentation(cfg, is_train)
        use_crop = cfg.INPUT.CROP.ENABLED and is_train
        if use_crop:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            # A crop cuts masks, and their boxes become loose.
            "recompute_boxes": use_crop and cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Map one record; the record itself is not changed."""
        dataset_dict = copy.deepcopy(dataset_dict)
        image = detection_utils.read_image(dataset_dict["file_name"], format=self.image_format)
        detection_utils.check_image_size(dataset_dict, image)
        aug_input = T.AugInput(image, sem_seg=self._read_labels(dataset_dict))
        transforms = self.augmentations(aug_input)
        size = aug_input.image.shape[:2]
        planes = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        dataset_dict["image"] = torch.as_tensor(planes)
        if aug_input.sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(aug_input.sem_seg.astype("int64"))
        annotations = dataset_dict.pop("annotations", None)
        if self.is_train and annotations is not None:
            dataset_dict["instances"] = self._make_instances(annotations, transforms, size)
        return dataset_dict

    def _read_labels(self, dataset_dict):
        if "sem_seg_file_name" not in dataset_dict:
            return None
        path = dataset_dict.pop("sem_seg_file_name")
        return detection_utils.read_image(path, "L").squeeze(2)

    def _make_instances(self, annotations, transforms, size):
        annotations = [a for a in annotations if a.get("iscrowd", 0) == 0]
        for annotation in annotations:
            annotation.pop("keypoints", None)
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            detection_utils.transform_instance_annotations(annotation, transforms, size)
        instances = detection_utils.annotations_to_instances(
            annotations, size, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return detection_utils.filter_empty_instances(instances)
