"""Matches, losses and their gradients equal those of the released implementation, at its points."""

import pytest
import torch

from ovavss_d2.modeling.criterion import SetCriterion
from ovavss_d2.modeling.matcher import HungarianMatcher, TargetBatch
from ovavss_d2.modeling.ops.accelerate import accelerate
from tests.helpers import parity

FILES = parity.oracle_files("loss_seed*.npz")
WEIGHTS = {"loss_object": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
MATCHERS = [HungarianMatcher(object_weight=2.0, mask_weight=5.0, dice_weight=5.0) for _ in "12"]
accelerate(MATCHERS[1])
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


class GivenPoints:
    """Stands in for the sampler and hands out the oracle's points."""

    def __init__(self, arrays):
        self.match = torch.as_tensor(arrays["match_points"])
        self.loss = torch.as_tensor(arrays["loss_points"])

    def match_points(self, num_points, **key):
        return self.match

    def loss_points(self, logits, rows, num_points, **key):
        assert len(logits) == sum(rows) == len(self.loss)
        return self.loss


def inputs_of(path):
    """Outputs, targets and the file's arrays; clips of v1s have truth on their first frame only."""
    arrays = parity.load_arrays(path)
    outputs = {
        "pred_logits": torch.tensor(arrays["logits"], requires_grad=True),
        "pred_masks": torch.tensor(arrays["masks"], requires_grad=True),
    }
    num_clips, _, num_frames = arrays["masks"].shape[:3]
    labeled = torch.ones(num_frames, dtype=torch.bool)
    labeled[1:] = "_v1s_" not in path.stem
    masks = [torch.as_tensor(arrays[f"target{b}"]) for b in range(num_clips)]
    labels = [torch.zeros(len(m), dtype=torch.int64) for m in masks]
    targets = [
        {"masks": m, "labels": n, "labeled": labeled} for m, n in zip(masks, labels, strict=True)
    ]
    return outputs, targets, arrays


def losses_of(outputs, targets, arrays):
    criterion = SetCriterion(
        matcher=MATCHERS[1],
        sampler=GivenPoints(arrays),
        num_points=arrays["loss_points"].shape[1],
        no_object_weight=0.1,
        loss_weights=WEIGHTS,
        num_predictions=1,
    )
    return criterion(outputs, targets, step=0, clip_seeds=list(range(len(targets))))


@each_file
@pytest.mark.parametrize("matcher", MATCHERS, ids=["plain", "fast"])
def test_matches_equal_the_oracle(path, matcher):
    outputs, targets, arrays = inputs_of(path)
    points = torch.as_tensor(arrays["match_points"])
    [matches] = matcher([outputs], TargetBatch.pack(targets, "cpu"), [points])
    for clip, found in enumerate(matches):
        assert torch.stack(found).tolist() == arrays[f"match{clip}"].tolist()


@each_file
def test_losses_equal_the_oracle_each(path):
    outputs, targets, arrays = inputs_of(path)
    losses = losses_of(outputs, targets, arrays)
    ours = [losses[name].item() for name in WEIGHTS]
    assert ours == pytest.approx(arrays["loss"].tolist(), rel=parity.TOLERANCE)


@each_file
def test_gradients_equal_the_oracle(path):
    outputs, targets, arrays = inputs_of(path)
    losses = losses_of(outputs, targets, arrays)
    sum(weight * losses[name] for name, weight in WEIGHTS.items()).backward()
    gradient = outputs["pred_masks"].grad
    stages = {
        "grad_logits": outputs["pred_logits"].grad,
        "grad_masks_sample": gradient[..., ::6, ::8],
        "grad_masks_norm": gradient.norm(),
    }
    parity.assert_parity(stages, arrays)


def test_a_perturbed_oracle_fails():
    outputs, targets, arrays = inputs_of(FILES[0])
    arrays["match_points"] = 1 - arrays["match_points"]
    arrays["loss_points"] = arrays["loss_points"].copy()
    arrays["loss_points"][0] = 1 - arrays["loss_points"][0]
    losses = losses_of(outputs, targets, arrays)
    ours = [losses[name].item() for name in WEIGHTS]
    assert ours != pytest.approx(arrays["loss"].tolist(), rel=parity.TOLERANCE)
