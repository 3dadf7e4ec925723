"""Optimizers and schedules equal those of Detectron2."""

import json

import pytest
import torch
from detectron2.solver import (
    LRMultiplier,
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
)
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.param_scheduler import ConstantParamScheduler
from torch import nn

from tests.helpers.paths import FIXTURES

RECORDED = FIXTURES / "detectron2" / "learning_rates.json"
CURVES = json.loads(RECORDED.read_text())["curves"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 2)
        self.again = self.linear  # shared
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.token = nn.Parameter(torch.zeros(3))


def settings_by_name(optimizer, model):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def rates(scheduler, optimizer, steps):
    curve = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        curve.append(optimizer.param_groups[0]["lr"])
    return curve


def sgd(lr=5.0):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize("case", CURVES, ids=lambda case: " ".join(map(str, case["options"])))
def test_learning_rates_equal_the_recorded_ones(cfg, case):
    cfg.merge_from_list(case["options"])
    optimizer = sgd()
    scheduler = build_lr_scheduler(cfg, optimizer)
    assert rates(scheduler, optimizer, len(case["rates"]) - 1) == pytest.approx(case["rates"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LR_SCHEDULER_NAME", "WarmupNothing"),
        ("WARMUP_METHOD", "exponential"),
        ("CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
    ],
)
def test_unknown_schedules_and_clipping_raise(cfg, key, value):
    cfg.merge_from_list([f"SOLVER.{key}", value, "SOLVER.CLIP_GRADIENTS.ENABLED", True])
    with pytest.raises(ValueError, match=value):
        build_lr_scheduler(cfg, sgd())
        maybe_add_gradient_clipping(cfg, torch.optim.SGD)


def test_multiplier_keeps_the_ratio_of_the_groups_and_resumes():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = LRMultiplier(optimizer, ConstantParamScheduler(0.5), max_iter=10)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]
    rates(scheduler, optimizer, 3)
    assert scheduler.state_dict() == {"base_lrs": [1.0, 0.1], "last_epoch": 3}
    with pytest.raises(ValueError, match="ParamScheduler"):
        LRMultiplier(optimizer, 0.5, max_iter=10)


def test_norms_have_another_weight_decay_and_shared_parameters_appear_once(cfg):
    model = Net()
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer) is torch.optim.SGD
    found = settings_by_name(optimizer, model)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found) == 9
    for name, (lr, decay) in found.items():
        assert lr == cfg.SOLVER.BASE_LR
        assert decay == (0.0 if "norm" in name else cfg.SOLVER.WEIGHT_DECAY)
    assert not any(name.startswith("frozen") for name in found)


def test_settings_of_biases_overrides_and_factors(cfg):
    model = Net()
    cfg.SOLVER.BIAS_LR_FACTOR = 2.0
    cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.3
    found = settings_by_name(build_optimizer(cfg, model), model)
    assert found["conv.bias"] == found["norm.bias"] == (0.002, 0.3)
    groups = get_default_optimizer_params(
        model,
        base_lr=1.0,
        weight_decay=0.1,
        overrides={"token": {"weight_decay": 0.0}},
        lr_factor_func=lambda name: 0.5 if name.startswith("conv") else 1.0,
    )
    found = settings_by_name(torch.optim.SGD(groups, lr=9.0), model)
    assert found["token"] == (1.0, 0.0)
    assert found["conv.weight"] == (0.5, 0.1)
    assert len(groups) == 3  # equal settings share a group


@pytest.mark.parametrize(
    "arguments",
    [
        {"lr_factor_func": lambda name: 1.0},
        {"bias_lr_factor": 2.0},
        {"base_lr": 1.0, "bias_lr_factor": 2.0, "overrides": {"bias": {"lr": 1.0}}},
    ],
)
def test_contradictory_settings_raise(arguments):
    with pytest.raises(ValueError):
        get_default_optimizer_params(Net(), **arguments)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("value", ([-1.0, -1.0], [-0.5, 1.0])), ("norm", ([-0.6, -0.8], [-0.242536, 0.970143]))],
)
def test_gradients_are_clipped_per_element_or_per_parameter(cfg, kind, expected):
    assert maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = kind
    clipping = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    assert issubclass(clipping, torch.optim.SGD)
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5, -2.0])
    clipping([first, second], lr=1.0).step()
    for parameter, values in zip((first, second), expected, strict=True):
        torch.testing.assert_close(parameter.data, torch.tensor(values), atol=1e-5, rtol=0)
