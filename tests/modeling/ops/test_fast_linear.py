"""Linear layers that a CPU computes as convolutions are linear layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovavss_d2.modeling.ops import fast_linear as module
from ovavss_d2.modeling.ops.fast_linear import Linear, convolve_linear_layers, linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="PyTorch without MKL has one way only"
)


@pytest.fixture
def convolved(monkeypatch):
    """Any size counts as large; gives the number of convolutions so far."""
    monkeypatch.setattr(module, "MANY_ROWS", 0)
    monkeypatch.setattr(module, "MANY_PRODUCTS", 0)
    calls, plain = [], module._convolved
    monkeypatch.setattr(module, "_convolved", lambda *args: calls.append(1) or plain(*args))
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


def test_memory_in_another_order_changes_nothing(convolved):
    x, weight = torch.randn(6, 2, 5).permute(1, 2, 0), torch.randn(6, 9).T
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    gradients = []
    for f in (linear, F.linear):
        leaf = x.detach().requires_grad_()
        f(leaf, weight).transpose(0, 2).sum(0).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(convolved, frozen):
    inputs = [torch.randn(*shape, requires_grad=True) for shape in ((4, 6), (3, 6), (3,))]
    inputs[frozen].requires_grad_(False)
    linear(*inputs).sum().backward()
    assert [x.grad is None for x in inputs] == [i == frozen for i in range(3)]


def test_small_layers_other_types_and_mixed_precision_are_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(module, "_convolved", lambda *_: pytest.fail("it was convolved"))
    x, weight = torch.randn(64, 32), torch.randn(16, 32)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    monkeypatch.setattr(module, "MANY_ROWS", 0)
    monkeypatch.setattr(module, "MANY_PRODUCTS", 0)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x.to("meta"), weight.to("meta")).shape == (64, 16)


def test_plain_linear_layers_are_turned_and_keep_their_parameters():
    class Other(nn.Linear):
        pass

    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5)), Other(5, 6))
    before = net.state_dict()
    convolve_linear_layers(net)
    assert [type(net[0]), type(net[1][0]), type(net[2])] == [Linear, Linear, Other]
    assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())
