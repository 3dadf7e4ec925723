"""Boxes, masks, instances and batches of images."""

import copy
import pickle

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, BoxMode, ImageList, Instances


def test_boxes_are_indexed_concatenated_and_checked():
    boxes = Boxes(torch.tensor([[0.0, 1, 5, 6], [2, 2, 2, 8]]))
    assert boxes[1].tensor.shape == (1, 4)
    assert len(boxes[torch.tensor([True, False])]) == 1
    assert [box.tolist() for box in boxes] == boxes.tensor.tolist()
    assert len(Boxes.cat([boxes, boxes])) == 4
    assert Boxes([]).tensor.shape == Boxes.cat([]).tensor.shape == (0, 4)
    assert len(copy.deepcopy(boxes)) == len(pickle.loads(pickle.dumps(boxes))) == 2
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("box", "source", "target", "expected"),
    [
        ([1, 2, 3, 4], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, [1, 2, 4, 6]),
        ((1.0, 2, 3, 4), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, (1, 2, 2, 2)),
    ],
)
def test_box_modes_convert_and_keep_the_type(box, source, target, expected):
    converted = BoxMode.convert(box, source, target)
    assert type(converted) is type(box)
    assert converted == pytest.approx(expected)
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


def test_instances_are_indexed_concatenated_copied_and_pickled():
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


def test_bit_masks_are_indexed_and_concatenated():
    masks = torch.zeros(3, 7, 9)
    masks[0, 2:4, 3:5] = masks[2] = 1
    masks = BitMasks(masks)
    assert masks.tensor.dtype == torch.bool
    assert masks.nonempty().tolist() == [True, False, True]
    assert masks[1].tensor.shape == (1, 7, 9)
    assert len(BitMasks.cat([masks, masks[:2]])) == 5
    with pytest.raises(AssertionError):
        BitMasks(torch.zeros(3, 4))


def test_images_are_padded_to_a_common_divisible_size():
    images = [torch.ones(3, 5, 7), torch.ones(3, 6, 4)]
    batch = ImageList.from_tensors(images, 4, pad_value=2.0)
    assert batch.tensor.shape == (2, 3, 8, 8)
    assert batch.image_sizes == [(5, 7), (6, 4)]
    assert batch.tensor[:, :, -1, -1].unique().tolist() == [2]
    for index, image in enumerate(images):
        assert torch.equal(batch[index], image)


def test_padding_constraints_override_the_divisibility():
    images = [torch.ones(3, 5, 7), torch.ones(3, 6, 4)]
    assert ImageList.from_tensors(images).tensor.shape == (2, 3, 6, 7)
    constraints = {"size_divisibility": 8, "square_size": 0}
    batch = ImageList.from_tensors(images, 32, padding_constraints=constraints)
    assert batch.tensor.shape == (2, 3, 8, 8)
    batch = ImageList.from_tensors(images, padding_constraints={"square_size": 16})
    assert batch.tensor.shape == (2, 3, 16, 16)
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])
