"""Deformable attention: plain PyTorch and the sparse product against a loop over samples.

The kernel is compared with plain PyTorch, through Triton's interpreter or, on a GPU, compiled.
"""

import importlib
import math

import pytest
import torch

from ovavss_d2.modeling.ops.deformable_attention import (
    MultiScaleDeformableAttention,
    deformable_attention,
    kernel_for,
)
from ovavss_d2.modeling.ops.sparse_sampling import sample_sums

SHAPES = [(2, 3), (4, 3), (1, 1)]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # of the kernel
SIZES = {
    "odd sizes": {"shapes": [(2, 3), (5, 4), (1, 1)], "queries": 33, "heads": 1, "depth": 5},
    "one level": {"shapes": [(4, 7)], "n": 1, "queries": 5, "heads": 3, "depth": 8},
    "one point": {"shapes": [(3, 3), (2, 2)], "n": 1, "queries": 4, "heads": 1, "points": 1},
    "three points": {"shapes": [(2, 5)], "queries": 9, "heads": 2, "depth": 6, "points": 3},
    "all outside": {"shapes": [(3, 2)], "n": 1, "queries": 5, "heads": 2, "spread": 1e12},
    "no query": {"shapes": [(3, 2)], "n": 1, "queries": 0, "heads": 2},
}
each_version = pytest.mark.parametrize("function", [deformable_attention, sample_sums])


def make_inputs(shapes=SHAPES, n=2, queries=5, heads=2, depth=4, points=2, spread=1.6, **kind):
    """Values, locations and weights of samples; `kind`: device and dtype, if not float64."""
    positions = sum(h * w for h, w in shapes)
    size = (n, queries, heads, len(shapes), points)
    inputs = (
        torch.randn(n, positions, heads, depth, dtype=torch.float64),
        0.5 + spread * (torch.rand(*size, 2, dtype=torch.float64) - 0.5),
        torch.rand(size, dtype=torch.float64),
    )
    return [x.to(**{"dtype": torch.float64, **kind}).requires_grad_() for x in inputs]


def bilinear(image, x, y):
    """Sample of an image (h, w, channels) at pixel coordinates, zeros outside."""
    height, width = image.shape[:2]
    total = torch.zeros(image.shape[2], dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total = total + share * image[row, column]
    return total


def brute_force(value, shapes, locations, weights):
    n, queries, heads, levels, points = weights.shape
    out = torch.zeros(n, queries, heads, value.shape[-1], dtype=value.dtype)
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    for i, q, j, level, p in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        height, width = shapes[level]
        image = value[i, starts[level] : starts[level] + height * width, j]
        x, y = locations[i, q, j, level, p].tolist()
        sample = bilinear(image.view(height, width, -1), x * width - 0.5, y * height - 0.5)
        out[i, q, j] += weights[i, q, j, level, p] * sample
    return out.flatten(2)


@each_version
def test_equals_brute_force_also_outside_the_maps(function):
    value, locations, weights = make_inputs()
    ours = function(value, SHAPES, locations, weights)
    with torch.no_grad():
        torch.testing.assert_close(ours, brute_force(value, SHAPES, locations, weights))
        assert not function(value, SHAPES, locations + 5, weights).any()


@each_version
@pytest.mark.filterwarnings("error")
def test_gradients_equal_finite_differences(function):
    value, locations, weights = make_inputs(n=1, queries=2, depth=2)
    assert torch.autograd.gradcheck(
        lambda v, x, w: function(v, SHAPES, x, w), (value, locations, weights)
    )


@each_version
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_computed_in_single_precision(function, dtype):
    value, locations, weights = (x.detach().to(dtype) for x in make_inputs())
    out = function(value, SHAPES, locations, weights)
    assert out.dtype == dtype
    single = function(value.float(), SHAPES, locations.float(), weights.float())
    torch.testing.assert_close(out, single.to(dtype))


def test_a_location_that_is_not_a_number_reaches_the_result_of_its_query():
    value, locations, weights = make_inputs()
    broken = locations.detach().clone()
    broken[0, 1] = math.nan
    out = sample_sums(value, SHAPES, broken, weights)
    assert out[0, 1].isnan().all()
    assert out[0, 0].isfinite().all() and out[1].isfinite().all()


def test_a_new_layer_averages_points_in_the_compass_directions():
    layer = MultiScaleDeformableAttention(dim=16, num_heads=8, num_levels=3, num_points=4)
    offsets = layer.sampling_offsets.bias.view(8, 3, 4, 2)
    compass = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    steps = torch.arange(1.0, 5)
    expected = torch.tensor(compass)[:, None, None] * steps[:, None]
    torch.testing.assert_close(offsets, expected.expand(8, 3, 4, 2), atol=1e-5, rtol=1e-5)
    assert not layer.sampling_offsets.weight.any()
    assert not layer.attention_weights.weight.any()


def test_a_layer_returns_uniform_values_unchanged_inside_the_map():
    layer = MultiScaleDeformableAttention(dim=8, num_heads=2, num_levels=1, num_points=2)
    torch.nn.init.zeros_(layer.sampling_offsets.bias)
    value = torch.randn(1, 1, 8).expand(1, 12, 8)
    out = layer(torch.randn(1, 5, 8), torch.full((5, 2), 0.5), value, [(3, 4)])
    expected = layer.output_proj(layer.value_proj(value[:, :5]))
    torch.testing.assert_close(out, expected)


def test_heads_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match="16 channels"):
        MultiScaleDeformableAttention(dim=16, num_heads=3, num_levels=1, num_points=1)


def test_without_a_gpu_there_is_no_kernel():
    assert kernel_for(torch.device("cpu")) is None


@pytest.fixture(scope="module")
def kernel():
    """The kernel's module; `conftest.py` turns the interpreter on if there is no GPU."""
    pytest.importorskip("triton", reason="Triton comes with PyTorch only on Linux")
    return importlib.import_module("ovavss_d2.modeling.ops.deformable_kernel")


def value_and_gradients(function, shapes, inputs, upstream):
    out = function(inputs[0], shapes, *inputs[1:])
    return [out.detach(), *torch.autograd.grad(out, inputs, upstream.to(out))]


def reference(shapes, inputs, upstream):
    exact = [x.detach().double().requires_grad_() for x in inputs]
    return value_and_gradients(deformable_attention, shapes, exact, upstream)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_equal_the_pytorch_version_in_float64(kernel, kind, dtype):
    shapes, tolerance = SIZES[kind]["shapes"], 1e-9 if dtype == torch.float64 else 2e-4
    inputs = make_inputs(**SIZES[kind], dtype=dtype, device=DEVICE)
    upstream = torch.randn(inputs[0].shape[0], inputs[1].shape[1], inputs[0][0, 0].numel())
    upstream = upstream.to(DEVICE, torch.float64)
    ours = value_and_gradients(kernel.deformable_attention, shapes, inputs, upstream)
    for found, expected in zip(ours, reference(shapes, inputs, upstream), strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact_up_to_its_rounding(kernel, dtype):
    shapes = [(4, 5), (2, 2)]
    value, locations, weights = make_inputs(shapes, 1, 9, device=DEVICE)
    value = value.detach().to(dtype).requires_grad_()
    upstream = torch.randn(1, 9, 8, dtype=torch.float64, device=DEVICE).to(dtype)
    inputs = [value, *(x.detach().float().requires_grad_() for x in (locations, weights))]
    ours = value_and_gradients(kernel.deformable_attention, shapes, inputs, upstream)
    assert [x.dtype for x in ours] == [dtype, dtype, torch.float32, torch.float32]
    for found, expected in zip(ours, reference(shapes, inputs, upstream), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0.02)


def test_the_memory_format_does_not_matter(kernel):
    shapes = [(3, 4)]
    inputs = [x.detach() for x in make_inputs(shapes, device=DEVICE)]
    shuffled = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs]
    plain = kernel.deformable_attention(inputs[0], shapes, *inputs[1:])
    other = kernel.deformable_attention(shuffled[0], shapes, *shuffled[1:])
    assert torch.equal(plain, other)


def test_a_kernel_that_fails_is_logged_once_and_not_used(kernel, monkeypatch, caplog):
    monkeypatch.setattr(kernel, "_launch", None)
    kernel.works_on.cache_clear()
    for _ in range(2):
        assert not kernel.works_on(torch.device(DEVICE))
    assert len(caplog.records) == 1 and "uses plain PyTorch" in caplog.text
    kernel.works_on.cache_clear()


def test_the_kernel_works_here(kernel):
    assert kernel.works_on(torch.device(DEVICE))
