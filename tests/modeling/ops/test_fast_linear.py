"""Linear layers that a CPU computes as convolutions are linear layers."""

import pytest
import torch
from torch.nn import functional as F

from ovavss_d2.modeling.ops import fast_linear as module
from ovavss_d2.modeling.ops.fast_linear import linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="PyTorch without MKL has no second version"
)


@pytest.fixture
def convolved(monkeypatch):
    """Any size counts as large; a list with an entry for each convolution so far."""
    monkeypatch.setattr(module, "MIN_ROWS", 0)
    monkeypatch.setattr(module, "MIN_PRODUCTS", 0)
    calls, plain = [], module._convolve
    monkeypatch.setattr(module, "_convolve", lambda *args: calls.append(1) or plain(*args))
    return calls


@pytest.mark.parametrize("shape", [(11,), (1, 4), (2, 7), (2, 3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(convolved, shape, bias):
    x, weight = torch.randn(*shape, 12, requires_grad=True), torch.randn(9, 12, requires_grad=True)
    inputs = [x, weight] + ([torch.randn(9, requires_grad=True)] if bias else [])
    gradient = torch.randn(*shape, 9)
    outputs = [f(*inputs) for f in (linear, F.linear)]
    assert convolved
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    assert outputs[0].is_contiguous()
    gradients = [torch.autograd.grad(out, inputs, gradient) for out in outputs]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_memory_format_does_not_matter(convolved):
    x, weight = torch.randn(6, 2, 5).permute(1, 2, 0), torch.randn(6, 9).T
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    gradients = []
    for f in (linear, F.linear):
        leaf = x.detach().requires_grad_()
        f(leaf, weight).transpose(0, 2).sum(0).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_inputs_get_no_gradient(convolved, frozen):
    inputs = [torch.randn(*shape, requires_grad=True) for shape in ((4, 6), (3, 6), (3,))]
    inputs[frozen].requires_grad_(False)
    linear(*inputs).sum().backward()
    assert [x.grad is None for x in inputs] == [i == frozen for i in range(3)]


def test_small_layers_other_types_and_mixed_precision_use_pytorch(monkeypatch):
    monkeypatch.setattr(module, "_convolve", lambda *_: pytest.fail("it was convolved"))
    x, weight = torch.randn(64, 32), torch.randn(16, 32)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    monkeypatch.setattr(module, "MIN_ROWS", 0)
    monkeypatch.setattr(module, "MIN_PRODUCTS", 0)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x.to("meta"), weight.to("meta")).shape == (64, 16)
