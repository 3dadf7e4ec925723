"""DeepLab's schedule and PointRend's points and colours."""

import random

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.projects.deeplab import add_deeplab_config, build_lr_scheduler
from detectron2.projects.point_rend import ColorAugSSDTransform, add_pointrend_config
from detectron2.projects.point_rend.point_features import (
    get_uncertain_point_coords_with_randomness,
    point_sample,
)

IMAGE = np.random.RandomState(0).randint(0, 256, (11, 17, 3)).astype(np.uint8)


def _rates(**solver):
    cfg = get_cfg()
    add_deeplab_config(cfg)
    options = {"LR_SCHEDULER_NAME": "WarmupPolyLR", "MAX_ITER": 20, "WARMUP_ITERS": 4, **solver}
    for key, value in options.items():
        cfg.SOLVER[key] = value
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_polynomial_schedule_is_the_recorded_one():
    rates = _rates()
    recorded = {0: 0.001, 1: 0.23944, 3: 0.64816, 4: 0.81805, 10: 0.53589, 19: 0.06746}
    for step, rate in recorded.items():
        assert rates[step] == pytest.approx(rate, abs=1e-5)


def test_polynomial_schedule_has_a_floor_and_a_power():
    assert _rates(POLY_LR_CONSTANT_ENDING=0.3)[-4:] == pytest.approx([0.3] * 4)
    assert _rates(POLY_LR_POWER=2.0)[10] == pytest.approx(0.25)
    assert _rates(WARMUP_METHOD="constant")[1] == pytest.approx(0.00095489, abs=1e-7)


def test_other_schedules_are_the_solvers():
    rates = _rates(LR_SCHEDULER_NAME="WarmupMultiStepLR", STEPS=(10,))
    assert rates[9:11] == pytest.approx([1.0, 0.1])


def test_projects_add_their_keys():
    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_pointrend_config(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD.ASPP_DILATIONS == [6, 12, 18]
    assert cfg.MODEL.POINT_HEAD.TRAIN_NUM_POINTS == 196
    assert cfg.INPUT.COLOR_AUG_SSD is False


def test_points_are_sampled_bilinearly():
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    points = torch.tensor([[[0.5, 0.5], [1 / 16, 0.5], [0.25, 0.9]]])
    values = point_sample(ramp, points, padding_mode="border", align_corners=False)
    torch.testing.assert_close(values, torch.tensor([[[3.5, 0.0, 1.5]]]))
    grid = torch.rand(2, 4, 6, 2)
    assert point_sample(torch.rand(2, 3, 5, 7), grid, align_corners=False).shape == (2, 3, 4, 6)


def test_uncertain_points_lie_at_the_boundary():
    ramp = torch.linspace(-1, 1, 32).expand(2, 1, 32, 32)
    points = get_uncertain_point_coords_with_randomness(ramp, lambda x: -x.abs(), 40, 3, 0.75)
    assert points.shape == (2, 40, 2)
    distance = (points[:, :, 0] - 0.5).abs()
    assert distance[:, :30].max() < 0.25
    assert distance[:, 30:].max() > 0.25


def test_uncertain_points_are_the_recorded_ones():
    logits = torch.randn(3, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    for arguments, total in {
        (10, 3, 0.75): 29.4210,
        (10, 1, 0.0): 30.5429,
        (7, 2.5, 0.5): 21.26,
    }.items():
        torch.manual_seed(0)
        points = get_uncertain_point_coords_with_randomness(logits, lambda x: -x.abs(), *arguments)
        assert points.sum().item() == pytest.approx(total, abs=1e-3)


def test_no_maps_give_no_points():
    points = get_uncertain_point_coords_with_randomness(
        torch.zeros(0, 1, 6, 8), lambda x: -x.abs(), 10, 3, 0.5
    )
    assert points.shape == (0, 10, 2)
    with pytest.raises(AssertionError):
        get_uncertain_point_coords_with_randomness(
            torch.zeros(1, 1, 6, 8), lambda x: -x.abs(), 10, 0.5, 0.5
        )


def test_colours_change_as_recorded():
    recorded = {0: [188, 4, 65], 1: [221, 122, 139], 3: [166, 0, 172], 5: [187, 29, 118]}
    change = ColorAugSSDTransform("RGB")
    for seed, colour in recorded.items():
        random.seed(seed)
        changed = change.apply_image(IMAGE)
        assert changed.dtype == np.uint8
        assert np.abs(changed[0, 0].astype(int) - colour).max() <= 1


def test_colour_change_leaves_the_geometry_alone():
    change = ColorAugSSDTransform("BGR")
    assert np.array_equal(change.apply_segmentation(IMAGE[:, :, 0]), IMAGE[:, :, 0])
    with pytest.raises(AssertionError):
        ColorAugSSDTransform("L")
