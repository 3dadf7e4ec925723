"""Sums for the matching costs: both versions from the definitions."""

import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.ops import matching_sums
from ovavss_d2.modeling.ops.matching_sums import FastMatchingSums, MatchingSums
from ovavss_d2.modeling.ops.points import sample_points

each_version = pytest.mark.parametrize("kind", [MatchingSums, FastMatchingSums])


@each_version
@pytest.mark.parametrize("queries", [3, matching_sums.MIN_CHANNELS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_follow_the_definitions(kind, queries, dtype, monkeypatch):
    monkeypatch.setattr(matching_sums, "BLOCK", 8)  # of 20 points: several blocks
    masks, targets = torch.randn(2, queries, 4, 5, dtype=dtype), torch.rand(2, 3, 20, dtype=dtype)
    points = torch.rand(2, 20, 2, dtype=dtype)
    logits = sample_points(masks, points)[:, :, None]
    p, t = logits.sigmoid(), targets[:, None]
    losses = F.binary_cross_entropy_with_logits(
        *torch.broadcast_tensors(logits, t), reduction="none"
    )
    expected = losses.sum(3), (p * t).sum(3), p[:, :, :1].sum(3), t[:, :1].sum(3)
    for found, exact in zip(kind()(masks, points, targets), expected, strict=True):
        torch.testing.assert_close(found, exact)


@each_version
@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_the_cross_entropy_is_exact_for_extreme_logits(kind, value):
    masks, targets = torch.full((1, 1, 8, 8), value), torch.tensor([[[0.0, 1, 0, 1, 0.5, 0.25]]])
    expected = F.binary_cross_entropy_with_logits(
        torch.full((6,), value), targets[0, 0], reduction="sum"
    )
    found = kind()(masks, torch.full((1, 6, 2), 0.5), targets)[0]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
