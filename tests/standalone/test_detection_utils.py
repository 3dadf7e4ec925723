"""Reading images, annotations as `Instances`, and the default dataset mapper."""

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from PIL import Image

IMAGE = np.random.RandomState(0).randint(0, 256, (11, 17, 3)).astype(np.uint8)
MASK = np.zeros((11, 17), dtype=np.uint8)
MASK[2:6, 3:9] = 1
POLYGON = [3.0, 2, 9, 2, 9, 6, 3, 6]


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(IMAGE).save(path)
    return str(path)


def _annotation(**facts):
    return {"bbox": [3.0, 2, 6, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 4, **facts}


def _config():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (22,)
    cfg.INPUT.MIN_SIZE_TEST = 22
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.MODEL.MASK_ON = True
    return cfg


def test_images_are_read_in_the_format_asked_for(image_file):
    assert np.array_equal(utils.read_image(image_file), IMAGE)
    assert np.array_equal(utils.read_image(image_file, "BGR"), IMAGE[:, :, ::-1])
    assert utils.read_image(image_file, "L").shape == (11, 17, 1)
    with pytest.raises(FileNotFoundError):
        utils.read_image(image_file + ".missing")


@pytest.mark.parametrize("image_format", ["RGB", "BGR", "YUV-BT.601"])
def test_formats_convert_back_to_rgb(image_file, image_format):
    image = utils.read_image(image_file, image_format)
    rgb = utils.convert_image_to_rgb(image, image_format)
    assert np.abs(rgb.astype(float) - IMAGE).max() < 0.02


def test_float_images_convert_to_rgb():
    image = IMAGE.astype(np.float32)
    assert np.array_equal(utils.convert_image_to_rgb(image, "RGB"), IMAGE)
    assert np.array_equal(
        utils.convert_image_to_rgb(torch.from_numpy(image), "BGR")[0, 0], IMAGE[0, 0, ::-1]
    )


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(IMAGE).save(path, exif=exif)
    assert np.array_equal(utils.read_image(str(path), "RGB"), np.rot90(IMAGE, -1))


def test_image_size_is_checked_against_the_record():
    record = {"file_name": "f"}
    utils.check_image_size(record, IMAGE)
    assert (record["width"], record["height"]) == (17, 11)
    with pytest.raises(utils.SizeMismatchError, match="Mismatched"):
        utils.check_image_size({"width": 3, "height": 11}, IMAGE)


def test_annotations_follow_the_transforms():
    transforms = T.TransformList([T.HFlipTransform(17), T.ResizeTransform(11, 17, 22, 34)])
    record = _annotation(segmentation=[POLYGON])
    changed = utils.transform_instance_annotations(record, transforms, (22, 34))
    assert changed["bbox"].tolist() == [16, 4, 28, 12]
    assert changed["bbox_mode"] == BoxMode.XYXY_ABS
    assert changed["segmentation"][0].tolist() == [28, 4, 16, 4, 16, 12, 28, 12]
    run_lengths = coco_mask.encode(np.asfortranarray(MASK))
    record = _annotation(segmentation=run_lengths, bbox=[-3.0, 2, 30, 3])
    changed = utils.transform_instance_annotations(record, transforms, (22, 34))
    assert changed["segmentation"].sum() == 4 * MASK.sum()
    assert changed["bbox"].tolist() == [0, 4, 34, 10]
    with pytest.raises(ValueError, match="Cannot transform"):
        utils.transform_instance_annotations(_annotation(segmentation=5), transforms, (22, 34))


@pytest.mark.parametrize(
    "segmentation",
    [[np.array(POLYGON)], MASK, coco_mask.encode(np.asfortranarray(MASK))],
    ids=["polygons", "bitmap", "run lengths"],
)
def test_annotations_become_instances(segmentation):
    annotations = [_annotation(segmentation=segmentation)]
    instances = utils.annotations_to_instances(annotations, (11, 17), mask_format="bitmask")
    assert instances.gt_boxes.tensor.tolist() == [[3, 2, 9, 6]]
    assert instances.gt_classes.tolist() == [4]
    assert isinstance(instances.gt_masks, BitMasks)
    assert torch.equal(instances.gt_masks.tensor[0], torch.from_numpy(MASK).bool())


def test_annotations_become_polygons_or_are_refused():
    annotations = [_annotation(segmentation=[np.array(POLYGON)])]
    instances = utils.annotations_to_instances(annotations, (11, 17))
    assert isinstance(instances.gt_masks, PolygonMasks)
    assert len(utils.annotations_to_instances([], (11, 17))) == 0
    with pytest.raises(ValueError, match="polygon"):
        utils.annotations_to_instances([_annotation(segmentation=MASK)], (11, 17))
    with pytest.raises(ValueError, match="Cannot convert"):
        utils.annotations_to_instances([_annotation(segmentation=5)], (11, 17), "bitmask")


def test_empty_instances_are_left_out():
    masks = torch.ones(3, 5, 6)
    masks[2] = 0
    boxes = torch.tensor([[0.0, 0, 1, 1], [1, 1, 1, 3], [0, 0, 2, 2]])
    instances = Instances(
        (5, 6), gt_boxes=Boxes(boxes), gt_masks=BitMasks(masks), gt_classes=torch.arange(3)
    )
    kept, mask = utils.filter_empty_instances(instances, return_mask=True)
    assert (kept.gt_classes.tolist(), mask.tolist()) == ([0], [True, False, False])
    assert utils.filter_empty_instances(instances, by_mask=False).gt_classes.tolist() == [0, 2]
    assert utils.filter_empty_instances(instances, by_box=False).gt_classes.tolist() == [0, 1]


def test_default_augmentations_resize_and_flip():
    cfg = get_cfg()
    train = utils.build_augmentation(cfg, True)
    assert [type(a) for a in train] == [T.ResizeShortestEdge, T.RandomFlip]
    assert [type(a) for a in utils.build_augmentation(cfg, False)] == [T.ResizeShortestEdge]
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(utils.build_augmentation(cfg, True)) == 1


def test_mapper_makes_tensors_and_instances(image_file, tmp_path):
    Image.fromarray(MASK * 3).save(tmp_path / "labels.png")
    annotations = [
        _annotation(segmentation=[POLYGON], iscrowd=0),
        _annotation(segmentation=[POLYGON], iscrowd=1),
    ]
    record = {
        "file_name": image_file,
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "annotations": annotations,
    }
    mapped = DatasetMapper(_config(), True)(record)
    assert (mapped["image"].shape, mapped["image"].dtype) == ((3, 22, 34), torch.uint8)
    assert (mapped["sem_seg"].shape, mapped["sem_seg"].dtype) == ((22, 34), torch.int64)
    assert mapped["sem_seg"].unique().tolist() == [0, 3]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[6, 4, 18, 12]]
    assert "sem_seg_file_name" in record
    assert len(record["annotations"]) == 2
    tested = DatasetMapper(_config(), False)(record)
    assert "instances" not in tested
    assert (tested["height"], tested["width"]) == (11, 17)


def test_mapper_tightens_boxes_after_a_crop(image_file):
    cfg = _config()
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.SIZE = [1.0, 1.0]
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.MASK_FORMAT = "bitmask"
    loose = _annotation(bbox=[0.0, 0, 17, 11], segmentation=[POLYGON])
    mapped = DatasetMapper(cfg, True)({"file_name": image_file, "annotations": [loose]})
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[6, 4, 18, 12]]
