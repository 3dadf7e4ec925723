"""Deformable attention: against a loop over every sample."""

import math

import pytest
import torch

from ovavss_d2.modeling.ops.deformable_attention import (
    MultiScaleDeformableAttention,
    deformable_attention,
)

SHAPES = [(2, 3), (4, 3), (1, 1)]


def make_inputs(n=2, asking=5, heads=2, depth=3, points=2, spread=1.4):
    torch.manual_seed(1)
    places = sum(h * w for h, w in SHAPES)
    value = torch.randn(n, places, heads, depth, dtype=torch.float64)
    size = (n, asking, heads, len(SHAPES), points)
    locations = 0.5 + spread * (torch.rand(*size, 2, dtype=torch.float64) - 0.5)
    weights = torch.rand(size, dtype=torch.float64)
    return [x.requires_grad_() for x in (value, locations, weights)]


def bilinear(image, x, y):
    """Sample of an image (h, w, d) at pixel coordinates, zeros outside."""
    height, width = image.shape[:2]
    total = torch.zeros(image.shape[2], dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total = total + share * image[row, column]
    return total


def brute_force(value, shapes, locations, weights):
    n, asking, heads, levels, points = weights.shape
    out = torch.zeros(n, asking, heads, value.shape[-1], dtype=value.dtype)
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    for i, q, m, level, p in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        height, width = shapes[level]
        image = value[i, starts[level] : starts[level] + height * width, m]
        x, y = locations[i, q, m, level, p].tolist()
        sample = bilinear(image.view(height, width, -1), x * width - 0.5, y * height - 0.5)
        out[i, q, m] += weights[i, q, m, level, p] * sample
    return out.flatten(2)


def test_equals_brute_force_also_outside_the_maps():
    value, locations, weights = make_inputs()
    ours = deformable_attention(value, SHAPES, locations, weights)
    with torch.no_grad():
        torch.testing.assert_close(ours, brute_force(value, SHAPES, locations, weights))


def test_gradients_equal_finite_differences():
    value, locations, weights = make_inputs(n=1, asking=2, depth=2)
    assert torch.autograd.gradcheck(
        lambda v, x, w: deformable_attention(v, SHAPES, x, w), (value, locations, weights)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_computed_in_single_precision(dtype):
    value, locations, weights = (x.detach().to(dtype) for x in make_inputs())
    out = deformable_attention(value, SHAPES, locations, weights)
    assert out.dtype == dtype
    single = deformable_attention(value.float(), SHAPES, locations.float(), weights.float())
    torch.testing.assert_close(out, single.to(dtype))


def test_a_place_that_is_no_number_gives_no_number():
    value, locations, weights = make_inputs()
    broken = locations.detach().clone()
    broken[0, 1] = math.nan
    out = deformable_attention(value, SHAPES, broken, weights)
    assert out[0, 1].isnan().all()
    assert out[0, 0].isfinite().all() and out[1].isfinite().all()


@pytest.mark.filterwarnings("error")
def test_a_gradient_is_taken_without_a_warning():
    inputs = make_inputs()
    deformable_attention(inputs[0], SHAPES, *inputs[1:]).sum().backward()


def test_far_outside_is_zero():
    value, locations, weights = make_inputs()
    out = deformable_attention(value, SHAPES, locations + 5, weights)
    assert not out.any()


def test_a_new_layer_averages_points_in_the_compass_directions():
    layer = MultiScaleDeformableAttention(dim=16, num_heads=8, num_levels=3, num_points=4)
    offsets = layer.sampling_offsets.bias.view(8, 3, 4, 2)
    compass = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(compass):
        for point in range(4):
            expected = torch.tensor(direction) * (point + 1.0)
            torch.testing.assert_close(
                offsets[head, :, point], expected.expand(3, 2), atol=1e-5, rtol=1e-5
            )
    assert not layer.sampling_offsets.weight.any()
    assert not layer.attention_weights.weight.any()


def test_a_layer_with_uniform_values_gives_them_back_inside():
    layer = MultiScaleDeformableAttention(dim=8, num_heads=2, num_levels=1, num_points=2)
    torch.nn.init.zeros_(layer.sampling_offsets.bias)
    value = torch.randn(1, 1, 8).expand(1, 12, 8)
    out = layer(torch.randn(1, 5, 8), torch.full((5, 2), 0.5), value, [(3, 4)])
    expected = layer.output_proj(layer.value_proj(value[:, :5]))
    torch.testing.assert_close(out, expected)


def test_heads_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match="16 channels"):
        MultiScaleDeformableAttention(dim=16, num_heads=3, num_levels=1, num_points=1)
