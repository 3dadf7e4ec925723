"""The kernel of deformable attention: against plain PyTorch, through Triton's interpreter.

On a machine with a GPU the same tests run the compiled kernel.
"""

import importlib

import pytest
import torch

from ovavss_d2.modeling.ops import deformable_attention as module

pytest.importorskip("triton", reason="Triton comes with PyTorch only on Linux")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {
    "odd sizes": {
        "shapes": [(2, 3), (5, 4), (1, 1)],
        "n": 2,
        "queries": 33,
        "heads": 1,
        "depth": 5,
    },
    "one level": {"shapes": [(4, 7)], "n": 1, "queries": 5, "heads": 3, "depth": 8},
    "one point": {"shapes": [(3, 3), (2, 2)], "n": 1, "queries": 4, "heads": 1, "points": 1},
    "three points": {"shapes": [(2, 5)], "n": 2, "queries": 9, "heads": 2, "depth": 6, "points": 3},
    "all outside": {"shapes": [(3, 2)], "n": 1, "queries": 5, "heads": 2, "spread": 1e12},
    "no query": {"shapes": [(3, 2)], "n": 1, "queries": 0, "heads": 2},
}


@pytest.fixture(scope="module")
def kernel():
    """The kernel's module; `conftest.py` turns the interpreter on if there is no GPU."""
    return importlib.import_module("ovavss_d2.modeling.ops.deformable_kernel")


def make_inputs(shapes, n, queries, heads, depth=4, points=2, spread=1.6, dtype=torch.float64):
    positions = sum(h * w for h, w in shapes)
    size = (n, queries, heads, len(shapes), points)
    inputs = (
        torch.randn(n, positions, heads, depth, dtype=torch.float64),
        0.5 + spread * (torch.rand(*size, 2, dtype=torch.float64) - 0.5),
        torch.rand(size, dtype=torch.float64),
    )
    return [x.to(DEVICE, dtype).requires_grad_() for x in inputs]


def value_and_gradients(function, shapes, inputs, upstream):
    out = function(inputs[0], shapes, *inputs[1:])
    return [out.detach(), *torch.autograd.grad(out, inputs, upstream.to(out))]


def reference(shapes, inputs, upstream):
    exact = [x.detach().double().requires_grad_() for x in inputs]
    return value_and_gradients(module.deformable_attention, shapes, exact, upstream)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_equal_the_pytorch_version_in_float64(kernel, kind, dtype):
    shapes, tolerance = SIZES[kind]["shapes"], 1e-9 if dtype == torch.float64 else 2e-4
    inputs = make_inputs(**SIZES[kind], dtype=dtype)
    upstream = torch.randn(inputs[0].shape[0], inputs[1].shape[1], inputs[0][0, 0].numel())
    upstream = upstream.to(DEVICE, torch.float64)
    ours = value_and_gradients(kernel.deformable_attention, shapes, inputs, upstream)
    for found, expected in zip(ours, reference(shapes, inputs, upstream), strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact_up_to_its_rounding(kernel, dtype):
    shapes = [(4, 5), (2, 2)]
    value, locations, weights = make_inputs(shapes, 1, 9, 2)
    value = value.detach().to(dtype).requires_grad_()
    upstream = torch.randn(1, 9, 8, dtype=torch.float64, device=DEVICE).to(dtype)
    inputs = [value, *(x.detach().float().requires_grad_() for x in (locations, weights))]
    ours = value_and_gradients(kernel.deformable_attention, shapes, inputs, upstream)
    assert [x.dtype for x in ours] == [dtype, dtype, torch.float32, torch.float32]
    for found, expected in zip(ours, reference(shapes, inputs, upstream), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0.02)


def test_the_memory_format_does_not_matter(kernel):
    shapes = [(3, 4)]
    inputs = [x.detach() for x in make_inputs(shapes, 2, 5, 2)]
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
