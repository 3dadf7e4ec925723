"""Matching: costs against a plain reference, the assignment against brute force."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.matcher import HungarianMatcher, TargetBatch
from ovavss_d2.modeling.ops.points import sample_points

FRAMES, QUERIES = 3, 5


@pytest.fixture
def matcher():
    return HungarianMatcher(object_weight=2.0, mask_weight=5.0, dice_weight=5.0)


def a_target(num_objects, labeled=(True,) * FRAMES, size=(16, 20)):
    return {
        "labels": torch.zeros(num_objects, dtype=torch.int64),
        "masks": torch.rand(num_objects, FRAMES, *size) > 0.6,
        "labeled": torch.tensor(labeled),
    }


def a_prediction(batch):
    return {
        "pred_logits": torch.randn(batch, QUERIES, 2),
        "pred_masks": torch.randn(batch, QUERIES, FRAMES, 4, 5),
    }


def pack(*targets):
    return TargetBatch.pack(list(targets), "cpu")


def reference_costs(prediction, target, points, clip):
    """One clip's costs (Q, N), pair by pair, from the definitions."""
    frames = target["labeled"]
    costs = torch.zeros(QUERIES, len(target["masks"]))
    for q, n in itertools.product(*map(range, costs.shape)):
        both = (prediction["pred_masks"][clip, q], target["masks"][n].float())
        at = points[clip : clip + 1]
        x, t = (sample_points(m[None, frames], at).flatten() for m in both)
        p = x.sigmoid()
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        is_object = prediction["pred_logits"][clip, q].softmax(0)[0]
        costs[q, n] = 5 * F.binary_cross_entropy_with_logits(x, t) + 5 * dice - 2 * is_object
    return costs


def test_costs_follow_the_definitions_for_every_clip_of_a_mixed_batch(matcher):
    targets = [a_target(2), a_target(3, (True, False, False)), a_target(0)]
    prediction, points = a_prediction(3), torch.rand(3, 40, 2)
    ours = matcher.costs(prediction, pack(*targets), points)
    assert ours.shape == (3, QUERIES, 3)
    for clip, target in enumerate(targets):
        expected = reference_costs(prediction, target, points, clip)
        assert torch.allclose(ours[clip, :, : expected.shape[1]], expected, atol=1e-5)


def test_the_assignment_is_the_cheapest_of_all(matcher):
    target, prediction, points = a_target(3), a_prediction(1), torch.rand(1, 40, 2)
    cost = reference_costs(prediction, target, points, 0)
    best = min(
        itertools.permutations(range(QUERIES), 3),
        key=lambda qs: sum(cost[q, n] for n, q in enumerate(qs)),
    )
    [[(queries, objects)]] = matcher([prediction], pack(target), [points])
    assert dict(zip(objects.tolist(), queries.tolist(), strict=True)) == dict(enumerate(best))
    assert queries.tolist() == sorted(queries.tolist())


def test_frames_without_truth_do_not_matter(matcher):
    target, prediction = a_target(2, (True, False, True)), a_prediction(1)
    points = torch.rand(1, 30, 2)
    before = matcher.costs(prediction, pack(target), points)
    prediction["pred_masks"][:, :, 1] = 50
    target["masks"][:, 1] = True
    after = matcher.costs(prediction, pack(target), points)
    assert torch.allclose(before, after)


def test_predictions_are_matched_separately(matcher):
    batch = pack(a_target(2), a_target(1))
    predictions = [a_prediction(2) for _ in range(3)]
    points = [torch.rand(2, 30, 2) for _ in range(3)]
    together = matcher(predictions, batch, points)
    for i, found in enumerate(together):
        [alone] = matcher(predictions[i : i + 1], batch, points[i : i + 1])
        torch.testing.assert_close(found, alone, rtol=0, atol=0)


@pytest.mark.parametrize(("objects", "matched"), [(0, 0), (9, QUERIES)])
def test_nothing_to_match_and_more_objects_than_queries(matcher, objects, matched):
    targets, points = pack(a_target(objects), a_target(0)), torch.rand(2, 30, 2)
    [found] = matcher([a_prediction(2)], targets, [points])
    assert [len(q) for q, _ in found] == [matched, 0]


def test_a_diverged_model_still_matches_so_that_the_trainer_reports_its_loss(matcher):
    prediction = a_prediction(1)
    prediction["pred_masks"].fill_(float("nan"))
    [[(queries, _)]] = matcher([prediction], pack(a_target(2)), [torch.rand(1, 9, 2)])
    assert len(queries) == 2
