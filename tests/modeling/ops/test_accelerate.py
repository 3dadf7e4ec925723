"""An accelerated model is the plain model: the same weights, outputs, losses and gradients."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from ovavss_d2.modeling.ops import fast_linear
from ovavss_d2.modeling.ops.accelerate import FAST_MODULES, accelerate
from ovavss_d2.modeling.ops.fast_linear import FastLinear
from ovavss_d2.modeling.ops.folded_norm import NormedConv2d
from tests.helpers.clips import make_clip, model_config

TOLERANCE = 1e-4  # of the largest number
SWIN = {
    "NAME": "swin_tiny_patch4_window7_224",
    "OUT_INDICES": [0, 1, 2, 3],
    "KWARGS": {"embed_dim": 16, "num_heads": [1, 2, 2, 4], "drop_path_rate": 0.0},
}


@pytest.fixture(params=["resnet", "swin"])
def models(request, tmp_path, monkeypatch):
    """The plain model and an accelerated copy, in which every size counts as large."""
    monkeypatch.setattr(fast_linear, "MIN_ROWS", 0)
    monkeypatch.setattr(fast_linear, "MIN_PRODUCTS", 0)
    cfg = model_config(tmp_path, ACCELERATE=False, MASK_FORMER__NUM_OBJECT_QUERIES=70)
    cfg.MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO = 0.0  # rounding moves no point
    if request.param == "swin":
        cfg.MODEL.TIMM.update(SWIN)
    plain = build_model(cfg)
    for name, weights in plain.named_parameters():
        if name.endswith("sampling_offsets.bias"):
            nn.init.uniform_(weights, -0.9, 0.9)  # at the centers of cells the gradient jumps
    for norm in plain.modules():
        if isinstance(norm, nn.Module) and hasattr(norm, "running_var"):
            norm.running_var.uniform_(0.5, 2)
    fast = copy.deepcopy(plain)
    accelerate(fast)
    return plain, fast


def test_outputs_losses_and_gradients_are_the_same_up_to_rounding(models):
    clips = [make_clip(1), make_clip(2)]
    results = []
    for model in models:
        model.eval()
        with torch.no_grad():
            outputs = model._localize(model._normalize(clips), clips)
        losses = model.train()(clips)
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        keys = ("pred_logits", "pred_masks", "pred_queries")
        results.append({**{key: outputs[key] for key in keys}, **losses, **gradients})
    plain, fast = results
    assert plain.keys() == fast.keys()
    largest = max(x.grad.abs().max() for x in models[0].parameters() if x.grad is not None)
    for name, expected in plain.items():
        scale = largest if "." in name else expected.abs().max()
        assert (fast[name] - expected).abs().max() <= TOLERANCE * scale, name


def test_a_batch_in_mixed_precision_trains_in_both(models):
    for model in models:
        model.mixed_on_cpu = True
        assert torch.isfinite(sum(model.train()([make_clip(1), make_clip(2)]).values()))


def test_the_plain_model_has_no_fast_module_and_the_weights_have_the_same_names(models):
    plain, fast = models
    kinds = (*FAST_MODULES.values(), NormedConv2d)
    assert not [name for name, module in plain.named_modules() if isinstance(module, kinds)]
    for kind in FAST_MODULES.values():
        assert any(type(module) is kind for module in fast.modules()), kind
    assert list(plain.state_dict()) == list(fast.state_dict())
    for name, weights in plain.state_dict().items():
        assert torch.equal(weights, fast.state_dict()[name])


def test_only_plain_linear_layers_are_replaced_and_they_keep_their_parameters_and_hooks():
    class Other(nn.Linear):
        pass

    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5)), Other(5, 6)).eval()
    weight, calls = net[0].weight, []
    net[0].register_forward_hook(lambda *_: calls.append(1))
    accelerate(net)
    assert [type(net[0]), type(net[1][0]), type(net[2])] == [FastLinear, FastLinear, Other]
    assert net[0].weight is weight and not net[0].training
    net(torch.zeros(1, 3))
    assert calls == [1]
