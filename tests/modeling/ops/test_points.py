"""Random points, and sampling of maps at points."""

import pytest
import torch

from ovavss_d2.modeling.ops.points import PointSampler, most_uncertain, sample_points

KEY = {"step": 3, "prediction": 1}


@pytest.fixture
def sampler():
    return PointSampler(seed=5)


def test_at_the_center_of_a_pixel_is_its_value():
    maps = torch.rand(2, 3, 4, 5)
    x, y = (torch.tensor([0, 4, 2]) + 0.5) / 5, (torch.tensor([0, 3, 1]) + 0.5) / 4
    points = torch.stack([x, y], -1).expand(2, -1, -1)
    expected = torch.stack([maps[..., 0, 0], maps[..., 3, 4], maps[..., 1, 2]], -1)
    assert torch.allclose(sample_points(maps, points), expected, atol=1e-6)


def test_between_two_pixels_is_their_mean_and_the_border_fades_to_zero():
    maps = torch.tensor([[[[2.0, 4.0]]]])
    points = torch.tensor([[[0.5, 0.5], [0.0, 0.5], [0.25, 0.0]]])
    assert sample_points(maps, points).flatten().tolist() == [3.0, 1.0, 1.0]


def test_no_maps_give_no_values():
    assert sample_points(torch.zeros(0, 2, 4, 4), torch.zeros(0, 7, 2)).shape == (0, 2, 7)


def test_the_most_uncertain_points_are_those_nearest_to_zero():
    chosen = most_uncertain(torch.tensor([[3.0, -0.1, 0.5, -9.0]]), 2)
    assert sorted(chosen[0].tolist()) == [1, 2]


def test_the_same_key_draws_the_same_points_and_torchs_state_is_unchanged(sampler):
    state = torch.get_rng_state()
    first = sampler.match_points(10, clip_seeds=[7, 8], **KEY)
    assert torch.equal(first, PointSampler(seed=5).match_points(10, clip_seeds=[7, 8], **KEY))
    assert torch.equal(state, torch.get_rng_state())
    assert first.shape == (2, 10, 2) and first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("change", ["seed", "step", "clip", "prediction"])
def test_every_part_of_the_key_changes_the_points(sampler, change):
    other = PointSampler(seed=6) if change == "seed" else sampler
    seeds = [8 if change == "clip" else 7]
    key = {name: value + (change == name) for name, value in KEY.items()}
    ours = sampler.match_points(10, clip_seeds=[7], **KEY)
    assert not torch.equal(ours, other.match_points(10, clip_seeds=seeds, **key))


def test_a_clip_gets_the_same_loss_points_in_any_batch_and_order(sampler):
    logits = torch.randn(5, 6, 6)
    together = sampler.loss_points(logits, [2, 0, 3], 20, clip_seeds=[1, 2, 3], **KEY)
    swapped = sampler.loss_points(logits.roll(3, 0), [3, 2], 20, clip_seeds=[3, 1], **KEY)
    alone = sampler.loss_points(logits[2:], [3], 20, clip_seeds=[3], **KEY)
    assert torch.equal(together[2:], alone)
    assert torch.equal(swapped, together.roll(3, 0))


def test_most_loss_points_are_where_the_prediction_is_uncertain(sampler):
    ramp = torch.linspace(-8, 8, 64).expand(1, 64, 64)  # uncertain in the middle column
    x = sampler.loss_points(ramp, [1], 400, clip_seeds=[1], **KEY)[0, :, 0]
    near = ((x - 0.5).abs() < 0.17).float().mean()
    # A quarter is uniform: 75% + 0.34 * 25%.
    assert near > 0.8
    uniform = PointSampler(seed=5, importance_ratio=0.0)
    x = uniform.loss_points(ramp, [1], 400, clip_seeds=[1], **KEY)[0, :, 0]
    assert ((x - 0.5).abs() < 0.17).float().mean() < 0.45


def test_no_rows_give_no_points(sampler):
    points = sampler.loss_points(torch.zeros(0, 4, 4), [0], 8, clip_seeds=[1], **KEY)
    assert points.shape == (0, 8, 2)


@pytest.mark.parametrize("ratios", [(0.5, 0.75), (3, 1.5)])
def test_impossible_ratios_are_refused(ratios):
    with pytest.raises(ValueError, match="expected at least 1, and 0 to 1"):
        PointSampler(seed=0, oversample_ratio=ratios[0], importance_ratio=ratios[1])
