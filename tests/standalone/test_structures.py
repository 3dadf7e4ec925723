"""Boxes, masks, instances and batches of images."""

import copy
import pickle

import numpy as np
import pytest
import torch
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    ImageList,
    Instances,
    PolygonMasks,
    pairwise_ioa,
    pairwise_iou,
    polygons_to_bitmask,
)

TRIANGLE = np.array([1.0, 1, 5, 1, 5, 5])
SQUARE = np.array([0.0, 0, 3, 0, 3, 3, 0, 3])


def _boxes():
    return Boxes(torch.tensor([[0.0, 1, 5, 6], [2, 2, 2, 8]]))


def _masks():
    masks = torch.zeros(3, 7, 9)
    masks[0, 2:4, 3:5] = 1
    masks[2] = 1
    return BitMasks(masks)


def test_boxes_measure_clip_and_scale():
    boxes = _boxes()
    assert boxes.area().tolist() == [25, 0]
    assert boxes.nonempty().tolist() == [True, False]
    assert boxes.get_centers().tolist() == [[2.5, 3.5], [2, 5]]
    boxes.clip((4, 3))
    boxes.scale(2, 3)
    assert boxes.tensor.tolist() == [[0, 3, 6, 12], [4, 6, 4, 12]]
    assert boxes.inside_box((13, 7)).tolist() == [True, True]
    assert boxes.inside_box((12, 7)).tolist() == [False, False]


def test_boxes_are_indexed_joined_and_checked():
    boxes = _boxes()
    assert boxes[1].tensor.shape == (1, 4)
    assert len(boxes[torch.tensor([True, False])]) == 1
    assert len(Boxes.cat([boxes, boxes])) == 4
    assert Boxes([]).tensor.shape == Boxes.cat([]).tensor.shape == (0, 4)
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(2, 3))
    with pytest.raises(AssertionError, match="infinite or NaN"):
        Boxes(torch.tensor([[0.0, float("nan"), 1, 1]])).clip((3, 3))


def test_overlaps_of_all_pairs():
    other = Boxes(torch.tensor([[1.0, 1, 4, 5]]))
    assert pairwise_iou(_boxes(), other)[:, 0].tolist() == pytest.approx([0.48, 0.0])
    assert pairwise_ioa(_boxes(), other)[:, 0].tolist() == pytest.approx([1.0, 0.0])
    assert pairwise_iou(_boxes(), Boxes([])).shape == (2, 0)


@pytest.mark.parametrize(
    ("box", "source", "target", "expected"),
    [
        ([1, 2, 3, 4], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, [1, 2, 4, 6]),
        ((1.0, 2, 3, 4), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, (1, 2, 2, 2)),
        ([5.0, 5, 4, 2, 90.0], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS, [4, 3, 6, 7]),
        ([5.0, 5, 4, 2], BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS, [7, 6, 4, 2, 0]),
    ],
)
def test_box_modes_convert_in_the_type_given(box, source, target, expected):
    converted = BoxMode.convert(box, source, target)
    assert type(converted) is type(box)
    assert converted == pytest.approx(expected)
    if len(box) == 4:
        rows = np.array([box])
        assert BoxMode.convert(rows, source, target)[0] == pytest.approx(expected)
        assert rows.tolist() == [list(box)]


def test_instances_keep_fields_of_one_length():
    instances = Instances((5, 6), scores=torch.arange(3), names=["x", "y", "z"])
    assert (len(instances), instances.image_size) == (3, (5, 6))
    with pytest.raises(AssertionError, match="length 2"):
        instances.other = torch.arange(2)
    with pytest.raises(AttributeError, match="Cannot find field 'nothing'"):
        _ = instances.nothing
    instances.remove("names")
    assert not instances.has("names")
    with pytest.raises(NotImplementedError):
        iter(instances)


def test_instances_are_indexed_joined_copied_and_pickled():
    instances = Instances((5, 6), scores=torch.arange(3), masks=BitMasks(torch.zeros(3, 5, 6)))
    assert instances[-1].scores.tolist() == [2]
    assert instances[torch.tensor([True, False, True])].scores.tolist() == [0, 2]
    with pytest.raises(IndexError):
        instances[3]
    joined = Instances.cat([instances, instances[0]])
    assert joined.scores.tolist() == [0, 1, 2, 0]
    assert len(joined.masks) == 4
    for other in (copy.deepcopy(instances), pickle.loads(pickle.dumps(instances))):
        assert other.scores.tolist() == [0, 1, 2]


def test_bit_masks_measure_and_index():
    masks = _masks()
    assert masks.tensor.dtype == torch.bool
    assert masks.nonempty().tolist() == [True, False, True]
    boxes = [[3, 2, 5, 4], [0, 0, 0, 0], [0, 0, 9, 7]]
    assert masks.get_bounding_boxes().tensor.tolist() == boxes
    assert masks[1].tensor.shape == (1, 7, 9)
    assert len(BitMasks.cat([masks, masks[:2]])) == 5
    cropped = masks.crop_and_resize(torch.tensor([[3.0, 2, 5, 4], [0, 0, 9, 7], [0, 0, 4, 4]]), 4)
    assert cropped.flatten(1).float().mean(1).tolist() == [1, 0, 1]
    with pytest.raises(AssertionError):
        BitMasks(torch.zeros(3, 4))


def test_polygons_become_bitmaps_boxes_and_areas():
    polygons = PolygonMasks([[TRIANGLE], [SQUARE], []])
    assert polygons.area().tolist() == [8, 9, 0]
    assert polygons.nonempty().tolist() == [True, True, False]
    assert polygons[:2].get_bounding_boxes().tensor.tolist() == [[1, 1, 5, 5], [0, 0, 3, 3]]
    masks = BitMasks.from_polygon_masks(polygons, 7, 9)
    assert masks.tensor.flatten(1).sum(1).tolist() == [6, 9, 0]
    assert masks.tensor[1, :3, :3].all()
    assert polygons_to_bitmask([], 7, 9).sum() == 0


def test_polygons_are_rasterised_inside_a_box():
    cropped = PolygonMasks([[SQUARE]]).crop_and_resize(torch.tensor([[0.0, 0, 6, 3]]), 4)
    assert cropped[0].tolist() == [[True, True, False, False]] * 4


@pytest.mark.parametrize("polygons", [[[np.array([1.0, 1, 2])]], 3, [np.zeros(6)]])
def test_bad_polygons_are_refused(polygons):
    with pytest.raises(ValueError, match="Cannot create"):
        PolygonMasks(polygons)


def test_images_are_padded_to_a_common_divisible_size():
    images = [torch.ones(3, 5, 7), torch.ones(3, 6, 4)]
    batch = ImageList.from_tensors(images, 4, pad_value=2.0)
    assert batch.tensor.shape == (2, 3, 8, 8)
    assert batch.image_sizes == [(5, 7), (6, 4)]
    assert batch.tensor[:, :, -1, -1].unique().tolist() == [2]
    for index, image in enumerate(images):
        assert torch.equal(batch[index], image)


def test_padding_constraints_win_over_the_divisor():
    images = [torch.ones(3, 5, 7), torch.ones(3, 6, 4)]
    assert ImageList.from_tensors(images).tensor.shape == (2, 3, 6, 7)
    constraints = {"size_divisibility": 8, "square_size": 0}
    batch = ImageList.from_tensors(images, 32, padding_constraints=constraints)
    assert batch.tensor.shape == (2, 3, 8, 8)
    batch = ImageList.from_tensors(images, padding_constraints={"square_size": 16})
    assert batch.tensor.shape == (2, 3, 16, 16)
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])
