"""Frozen batch norms that are folded into the convolutions before them."""

import copy

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ovavss_d2.modeling.ops.folded_norm import FoldedNorm, fold_frozen_norms

LAYERS = {"layers": (1, 2, 1, 1)}
RESNETS = {
    "resnet18": LAYERS,  # two convolutions a block
    "resnet50": LAYERS,  # three
    "resnet10t": {"stem_type": "deep", "stem_width": 8},  # a deep stem and pooled shortcuts
}


def frozen(name):
    torch.manual_seed(0)
    options = {"features_only": True, "channels": (8, 16, 24, 32), **RESNETS[name]}
    return with_statistics(freeze_batch_norm_2d(timm.create_model(name, **options))).eval()


def folded_copy(net):
    net = copy.deepcopy(net)
    fold_frozen_norms(net)
    return net


def with_statistics(net):
    """Random statistics and weights of the norms, as after training."""
    for module in net.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for values in module.buffers():
                values.uniform_(0.5, 2.0)
    return net


@pytest.mark.parametrize("name", RESNETS)
def test_folded_norms_change_neither_maps_nor_gradients(name):
    plain = frozen(name)
    folded = folded_copy(plain)
    assert all(type(m) is FoldedNorm for m in folded.modules() if isinstance(m, FrozenBatchNorm2d))
    frames, results = torch.randn(2, 3, 64, 96), []
    for net in (plain, folded):
        maps = net(frames)
        weights = [x for x in net.parameters() if x.dim() == 4]
        results.append((*maps, *torch.autograd.grad(sum(x.sin().sum() for x in maps), weights)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * one.abs().max().item())


def test_a_folded_network_has_the_same_weights_by_the_same_names_and_can_be_copied():
    plain = frozen("resnet18")
    folded = folded_copy(plain)
    loaded = copy.deepcopy(folded)
    for values in loaded.state_dict().values():
        values.zero_()
    loaded.load_state_dict(plain.state_dict())
    assert list(folded.state_dict()) == list(plain.state_dict())
    frames = torch.randn(1, 3, 64, 64)
    for one, other in zip(folded(frames), loaded(frames), strict=True):
        assert torch.equal(one, other)


def test_a_bias_of_the_convolution_is_normalized_too():
    plain = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4)))
    folded = folded_copy(plain)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(x), plain(x))


class Backwards(nn.Module):
    """Runs its modules in another order than it lists them."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3), FrozenBatchNorm2d(3)

    def forward(self, x):
        return self.convolution(self.norm(x))


def test_norms_are_not_folded_if_the_order_of_modules_is_unknown():
    plain = with_statistics(Backwards())
    folded = folded_copy(plain)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(folded(x), plain(x))
