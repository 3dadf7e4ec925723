"""The optimizer follows the recipe: rates, weight decays and the clip of the whole gradient."""

import pytest
import torch
from detectron2.config import get_cfg
from torch import nn

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.engine.optimizer import build_optimizer, parameter_groups


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.embed = nn.Embedding(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_ovavss_config(cfg)
    return cfg


def group_of(groups, parameter):
    return next(g for g in groups if any(p is parameter for p in g["params"]))


def test_backbone_learns_slower_and_norms_and_embeddings_do_not_decay(cfg):
    net = Net()
    groups = parameter_groups(cfg, net)
    weight = group_of(groups, net.backbone[0].weight)
    assert weight["lr"] == pytest.approx(1e-5)
    assert weight["weight_decay"] == 0.05
    assert group_of(groups, net.backbone[1].weight)["weight_decay"] == 0
    assert group_of(groups, net.embed.weight) == group_of(groups, net.embed.weight)
    assert group_of(groups, net.embed.weight)["lr"] == pytest.approx(1e-4)
    assert group_of(groups, net.embed.weight)["weight_decay"] == 0


def test_every_trainable_parameter_is_in_exactly_one_group(cfg):
    net = Net()
    listed = [p for g in parameter_groups(cfg, net) for p in g["params"]]
    assert len(listed) == len({id(p) for p in listed})
    assert {id(p) for p in listed} == {id(p) for p in net.parameters() if p.requires_grad}


def test_gradient_is_clipped_over_all_parameters_together(cfg):
    net = Net()
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    optimizer = build_optimizer(cfg, net)
    trainable = [p for p in net.parameters() if p.requires_grad]
    for p in trainable:
        p.grad = torch.full_like(p, 3.0)
    optimizer.step()
    norm = torch.cat([p.grad.flatten() for p in trainable]).norm()
    assert norm == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["full_model", "value", "norm"])
def test_the_scaling_of_amp_is_undone_before_gradients_are_clipped(cfg, kind):
    net = Net()
    cfg.SOLVER.AMP.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = kind
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 10.0  # above the gradients, below the scaled ones
    optimizer = build_optimizer(cfg, net)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainable = [p for p in net.parameters() if p.requires_grad]
    scaler.scale(sum(p.sum() for p in trainable)).backward()
    before = net.embed.weight.clone()
    scaler.step(optimizer)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in trainable)
    assert not torch.equal(net.embed.weight, before)


def test_a_checkpoint_of_another_kind_of_step_goes_on_under_amp(cfg):
    cfg.SOLVER.AMP.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    optimizer, scaler = build_optimizer(cfg, net := Net()), torch.amp.GradScaler("cpu")
    saved = optimizer.state_dict()
    saved["param_groups"] = [{**group, "fused": False} for group in saved["param_groups"]]
    optimizer.load_state_dict(saved)
    before = net.embed.weight.clone()
    trainable = [p for p in net.parameters() if p.requires_grad]
    scaler.scale(sum(p.sum() for p in trainable)).backward()
    scaler.step(optimizer)
    assert not torch.equal(net.embed.weight, before)


def test_unknown_optimizer_is_one_clear_line(cfg):
    cfg.SOLVER.OPTIMIZER = "ADAMM"
    with pytest.raises(ValueError, match="ADAMM.*ADAMW"):
        build_optimizer(cfg, Net())
