"""Layers: norms, convolutions with norm and activation, pooling, suppression."""

import pytest
import torch
from detectron2.layers import (
    CNNBlockBase,
    Conv2d,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    NaiveSyncBatchNorm,
    ROIAlign,
    ShapeSpec,
    batched_nms,
    cat,
    cross_entropy,
    get_norm,
    nonzero_tuple,
)
from torch import nn


def test_frozen_batch_norm_equals_batch_norm_in_evaluation():
    norm = nn.BatchNorm2d(4, eps=1e-3)
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(nn.Sequential(norm))[0]
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    torch.testing.assert_close(frozen(x), norm.eval()(x))
    assert not list(frozen.parameters())
    assert frozen(x).requires_grad
    back = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(frozen)
    torch.testing.assert_close(back.eval()(x), norm(x))


def test_fresh_frozen_batch_norm_is_the_identity():
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(FrozenBatchNorm2d(4)(x), x)


def test_frozen_batch_norm_loads_scale_and_shift_alone():
    frozen = FrozenBatchNorm2d(2)
    frozen.load_state_dict({"weight": torch.full((2,), 3.0), "bias": torch.ones(2)})
    assert frozen.running_var.tolist() == [1, 1]
    assert frozen.weight.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="bias"):
        FrozenBatchNorm2d(2).load_state_dict({"weight": torch.ones(2)})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
    ],
)
def test_norms_by_name(name, kind):
    assert type(get_norm(name, 64)) is kind


def test_no_norm_and_unknown_norm():
    assert get_norm("", 64) is None
    assert get_norm(None, 64) is None
    with pytest.raises(KeyError):
        get_norm("unknown", 64)


def test_layer_norm_works_on_channels():
    x = torch.randn(2, 8, 3, 4)
    y = get_norm("LN", 8)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)


def test_naive_sync_batch_norm_alone_is_batch_norm():
    x = torch.randn(3, 4, 5, 5)
    norm, reference = NaiveSyncBatchNorm(4), nn.BatchNorm2d(4)
    torch.testing.assert_close(norm(x), reference(x))
    torch.testing.assert_close(norm.running_var, reference.running_var)


def test_convolution_applies_norm_then_activation_and_takes_empty_batches():
    layer = Conv2d(3, 4, 3, padding=1, bias=False, norm=nn.GroupNorm(2, 4), activation=torch.relu)
    x = torch.randn(2, 3, 6, 6)
    plain = nn.functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x), layer.norm(plain).relu())
    assert layer(x[:0]).shape == (0, 4, 6, 6)
    assert list(layer.state_dict()) == ["weight", "norm.weight", "norm.bias"]


def test_separable_convolution_has_depthwise_and_pointwise_parts():
    layer = DepthwiseSeparableConv2d(4, 8, norm1="BN", activation1=torch.relu)
    assert layer(torch.randn(1, 4, 5, 5)).shape == (1, 8, 5, 5)
    names = [name for name, _ in layer.named_parameters()]
    assert names == [
        "depthwise.weight",
        "depthwise.norm.weight",
        "depthwise.norm.bias",
        "pointwise.weight",
        "pointwise.bias",
    ]


def test_frozen_block_has_no_gradients_and_frozen_norms():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(3, 4, 2)
            self.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))

    block = Block()
    assert block.freeze() is block
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert "conv.norm.num_batches_tracked" in block.state_dict()


def test_region_pooling_averages_inside_the_box():
    pool = ROIAlign((1, 1), 0.5, 0)
    image = torch.arange(64.0).view(1, 1, 8, 8)
    value = pool(image, torch.tensor([[0, 4.0, 4, 12, 12]]))
    assert value.item() == pytest.approx(image[0, 0, 2:6, 2:6].mean().item())
    with pytest.raises(AssertionError):
        pool(image, torch.zeros(1, 4))


def test_suppression_is_within_classes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert batched_nms(boxes, scores, torch.tensor([0, 0, 1]), 0.5).tolist() == [0, 2]


def test_small_helpers():
    x = torch.rand(2, 3)
    assert cat([x]) is x
    assert cat([x, x], dim=1).shape == (2, 6)
    assert [t.tolist() for t in nonzero_tuple(torch.tensor([0, 3, 4]))] == [[1, 2]]
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0


def test_shape_spec_is_compared_by_value():
    assert ShapeSpec(channels=3, stride=4) == ShapeSpec(3, None, None, 4)
    assert ShapeSpec().channels is None
