"""Matching: costs against a plain reference, the assignment against brute force."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.matcher import HungarianMatcher, TargetBatch, dice_cost
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


def reference_costs(prediction, target, points, clip):
    """One clip's costs (Q, N), pair by pair, from the definitions."""
    frames = target["labeled"]
    costs = torch.zeros(QUERIES, len(target["masks"]))
    for q, n in itertools.product(*map(range, costs.shape)):
        both = (prediction["pred_masks"][clip, q], target["masks"][n].float())
        x, t = (
            sample_points(m[frames].unsqueeze(0), points[clip : clip + 1]).flatten() for m in both
        )
        p = x.sigmoid()
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        is_object = prediction["pred_logits"][clip, q].softmax(0)[0]
        costs[q, n] = 5 * F.binary_cross_entropy_with_logits(x, t) + 5 * dice - 2 * is_object
    return costs


def test_costs_follow_the_definitions_for_every_clip_of_a_mixed_batch(matcher):
    targets = [a_target(2), a_target(3, (True, False, False)), a_target(0)]
    prediction, points = a_prediction(3), torch.rand(3, 40, 2)
    ours = matcher.costs(prediction, TargetBatch.pack(targets, "cpu"), points)
    assert ours.shape == (3, QUERIES, 3)
    for clip, target in enumerate(targets):
        expected = reference_costs(prediction, target, points, clip)
        assert torch.allclose(ours[clip, :, : expected.shape[1]], expected, atol=1e-5)


def test_the_assignment_is_the_cheapest_of_all(matcher):
    targets, prediction, points = [a_target(3)], a_prediction(1), torch.rand(1, 40, 2)
    cost = reference_costs(prediction, targets[0], points, 0)
    best = min(
        itertools.permutations(range(QUERIES), 3),
        key=lambda qs: sum(cost[q, n] for n, q in enumerate(qs)),
    )
    [[(queries, objects)]] = matcher([prediction], TargetBatch.pack(targets, "cpu"), [points])
    assert dict(zip(objects.tolist(), queries.tolist(), strict=True)) == dict(enumerate(best))
    assert queries.tolist() == sorted(queries.tolist())


def test_frames_without_truth_do_not_matter(matcher):
    target, prediction, points = (
        a_target(2, (True, False, True)),
        a_prediction(1),
        torch.rand(1, 30, 2),
    )
    before = matcher.costs(prediction, TargetBatch.pack([target], "cpu"), points)
    prediction["pred_masks"][:, :, 1] = 50
    target["masks"][:, 1] = True
    after = matcher.costs(prediction, TargetBatch.pack([target], "cpu"), points)
    assert torch.allclose(before, after)


def test_predictions_are_matched_on_their_own(matcher):
    batch = TargetBatch.pack([a_target(2), a_target(1)], "cpu")
    predictions = [a_prediction(2) for _ in range(3)]
    points = [torch.rand(2, 30, 2) for _ in range(3)]
    together = matcher(predictions, batch, points)
    for i, found in enumerate(together):
        [alone] = matcher(predictions[i : i + 1], batch, points[i : i + 1])
        assert all(
            torch.equal(a, b)
            for x, y in zip(found, alone, strict=True)
            for a, b in zip(x, y, strict=True)
        )


def test_nothing_to_match_and_more_objects_than_queries(matcher):
    points = [torch.rand(2, 30, 2)]
    [found] = matcher(
        [a_prediction(2)], TargetBatch.pack([a_target(0), a_target(0)], "cpu"), points
    )
    assert [len(q) for q, _ in found] == [0, 0]
    [found] = matcher(
        [a_prediction(2)], TargetBatch.pack([a_target(9), a_target(0)], "cpu"), points
    )
    assert [len(q) for q, _ in found] == [QUERIES, 0]


def test_a_diverged_model_still_matches_so_that_the_trainer_reports_its_loss(matcher):
    prediction = a_prediction(1)
    prediction["pred_masks"].fill_(float("nan"))
    [[(queries, _)]] = matcher(
        [prediction], TargetBatch.pack([a_target(2)], "cpu"), [torch.rand(1, 9, 2)]
    )
    assert len(queries) == 2


def test_dice_cost_of_two_empty_masks_is_zero():
    assert dice_cost(*torch.zeros(3, 1, 1, 1)).item() == 0


def test_targets_with_unequal_numbers_are_refused():
    target = {**a_target(2), "labels": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(ValueError, match="3,.* labels and .*2,.* masks"):
        TargetBatch.pack([target], "cpu")
