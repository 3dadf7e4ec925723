"""The criterion: against a plain reference, over batches, over processes, and at the edges."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.modeling.criterion import Matches, SetCriterion
from ovavss_d2.modeling.mask_decoder import object_probability
from ovavss_d2.modeling.matcher import HungarianMatcher, TargetBatch
from ovavss_d2.modeling.ops.points import PointSampler, sample_points
from tests.helpers.small import small_config

FRAMES, QUERIES, NAMES, POINTS = 3, 6, 4, 50
SEEDS = [11, 12, 13, 14]
WEIGHTS = {"loss_object": 2.0, "loss_mask": 5.0, "loss_dice": 5.0, "loss_name": 2.0}


def a_criterion(num_predictions=1):
    return SetCriterion(
        matcher=HungarianMatcher(object_weight=2.0, mask_weight=5.0, dice_weight=5.0),
        sampler=PointSampler(seed=0),
        num_points=POINTS,
        no_object_weight=0.1,
        loss_weights=WEIGHTS,
        num_predictions=num_predictions,
    )


def a_target(labels, labeled=(True,) * FRAMES):
    return {
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.rand(len(labels), FRAMES, 16, 20) > 0.6,
        "labeled": torch.tensor(labeled),
    }


def a_prediction(batch):
    return {
        "pred_logits": torch.randn(batch, QUERIES, 2, requires_grad=True),
        "pred_masks": torch.randn(batch, QUERIES, FRAMES, 4, 5, requires_grad=True),
        "pred_names": torch.randn(batch, QUERIES, NAMES, requires_grad=True),
    }


@pytest.fixture
def prediction():
    return a_prediction(4)


@pytest.fixture
def targets():
    """Clips with two objects, with one labeled frame, with an unknown name, with no object."""
    one_frame = a_target([1], (True, False, False))
    return [a_target([0, 3]), one_frame, a_target([2, -1]), a_target([])]


def losses_of(prediction, targets, seeds=SEEDS):
    return a_criterion()(prediction, targets, step=0, clip_seeds=seeds[: len(targets)])


class PointsElsewhere:
    """Points on a device that holds no values."""

    def match_points(self, num_points, *, clip_seeds, device, **key):
        return torch.rand(len(clip_seeds), num_points, 2, device=device)

    def loss_points(self, logits, rows, num_points, **key):
        return torch.rand(sum(rows), num_points, 2, device=logits.device)


def clips_of(prediction, index):
    return {key: value[index].detach().requires_grad_() for key, value in prediction.items()}


def reference_losses(prediction, targets):
    """The four losses, object by object, from the definitions."""
    criterion = a_criterion()
    key = {"step": 0, "clip_seeds": SEEDS, "prediction": 0}
    points = [criterion.sampler.match_points(POINTS, **key)]
    [matches] = criterion.matcher([prediction], TargetBatch.pack(targets, "cpu"), points)
    pairs = [(b, q, n) for b, (qs, ns) in enumerate(matches) for q, n in zip(qs, ns, strict=True)]
    rows = [(b, q, n, t) for b, q, n in pairs for t in targets[b]["labeled"].nonzero()[:, 0]]
    logits = torch.stack([prediction["pred_masks"][b, q, t] for b, q, _, t in rows])
    counts = [sum(row[0] == b for row in rows) for b in range(len(targets))]
    points = criterion.sampler.loss_points(logits, counts, POINTS, **key)
    mask = dice = 0.0
    for (b, _, n, t), logit, at in zip(rows, logits, points, strict=True):
        truth = targets[b]["masks"][n, t].float()
        x, y = (sample_points(m[None, None], at[None]).flatten() for m in (logit, truth))
        mask = mask + F.binary_cross_entropy_with_logits(x, y)
        p = x.sigmoid()
        dice = dice + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    found = {(b, int(q)) for b, q, _ in pairs}
    log_p = prediction["pred_logits"].log_softmax(-1)
    slots = [(b, q) for b in range(len(targets)) for q in range(QUERIES)]
    weights = torch.tensor([1.0 if slot in found else 0.1 for slot in slots])
    each = torch.stack([-log_p[b, q, 0 if (b, q) in found else 1] for b, q in slots])
    named = [(b, q, targets[b]["labels"][n]) for b, q, n in pairs if targets[b]["labels"][n] >= 0]
    name = sum(-prediction["pred_names"][b, q].log_softmax(-1)[k] for b, q, k in named)
    objects = sum(len(t["masks"]) for t in targets)
    return {
        "loss_object": (each * weights).sum() / weights.sum(),
        "loss_mask": mask / objects,
        "loss_dice": dice / objects,
        "loss_name": name / len(named),
    }


def total(losses):
    return sum(value * WEIGHTS[name] for name, value in losses.items())


def test_losses_and_gradients_follow_the_definitions(prediction, targets):
    expected = reference_losses(prediction, targets)
    losses = losses_of(prediction, targets)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-5
    )
    leaves = list(prediction.values())
    ours = torch.autograd.grad(total(losses), leaves)
    theirs = torch.autograd.grad(total(expected), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_two_processes_equal_one(prediction, targets, monkeypatch):
    total(losses_of(prediction, targets)).backward()
    given, meeting = [], Barrier(2, timeout=30)

    def all_reduce(tensor):
        given.append(tensor.clone())
        meeting.wait()
        tensor.copy_(sum(given))

    def train(mine):
        part = clips_of(prediction, mine)
        total(losses_of(part, targets[mine], SEEDS[mine])).backward()
        return {key: value.grad / 2 for key, value in part.items()}  # gradients are averaged

    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    with ThreadPoolExecutor(2) as ranks:
        first, second = ranks.map(train, [slice(0, 1), slice(1, 4)])
    for key, value in prediction.items():
        assert torch.allclose(torch.cat([first[key], second[key]]), value.grad, atol=1e-6)


def test_gradients_reach_every_output_of_every_prediction(prediction, targets):
    aux = [a_prediction(4) for _ in range(2)]
    criterion = a_criterion(num_predictions=3)
    losses = criterion({**prediction, "aux_outputs": aux}, targets, step=0, clip_seeds=SEEDS)
    assert losses.keys() == criterion.weight_dict.keys()
    sum(criterion.weight_dict[name] * loss for name, loss in losses.items()).backward()
    for leaf in (leaf for p in (prediction, *aux) for leaf in p.values()):
        assert leaf.grad.abs().sum() > 0


def test_clips_without_objects_train_towards_no_object_and_leave_no_parameter_out():
    prediction = a_prediction(2)
    targets = [a_target([]), a_target([])]
    losses = losses_of(prediction, targets)
    assert not any(losses[name].item() for name in ("loss_mask", "loss_dice", "loss_name"))
    expected = -prediction["pred_logits"].log_softmax(-1)[..., 1].mean()
    assert losses["loss_object"].item() == pytest.approx(expected.item(), rel=1e-5)
    total(losses).backward()
    assert all(leaf.grad is not None for leaf in prediction.values())


def test_frames_without_truth_get_no_gradient():
    prediction = a_prediction(1)
    target = a_target([0, 1], (True, False, False))
    total(losses_of(prediction, [target])).backward()
    gradient = prediction["pred_masks"].grad.abs().sum((0, 1, 3, 4))
    assert gradient[0] > 0 and gradient[1:].sum() == 0


def test_without_name_logits_there_is_no_name_loss(prediction, targets):
    del prediction["pred_names"]
    assert losses_of(prediction, targets).keys() == {"loss_object", "loss_mask", "loss_dice"}


@pytest.mark.parametrize("frames", [1, FRAMES])
@pytest.mark.parametrize("pixels", [0, 1, 99])
def test_small_masks_single_frames_and_unknown_names_give_finite_gradients(pixels, frames):
    leaves, target = a_prediction(1), a_target([-1])
    target = {**target, "masks": target["masks"][:, :frames], "labeled": target["labeled"][:frames]}
    target["masks"][:] = False
    target["masks"].flatten()[:pixels] = True
    prediction = {**leaves, "pred_masks": leaves["pred_masks"][:, :, :frames]}
    losses = losses_of(prediction, [target])
    total(losses).backward()
    assert losses["loss_name"].item() == 0 and losses["loss_mask"].item() > 0
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves.values())


def test_it_is_built_from_a_config():
    cfg = get_cfg()
    add_ovavss_config(cfg)
    criterion = SetCriterion(cfg)
    assert len(criterion.weight_dict) == 4 * (cfg.MODEL.MASK_FORMER.DEC_LAYERS + 1)
    assert criterion.weight_dict["loss_dice_3"] == cfg.MODEL.MASK_FORMER.DICE_WEIGHT
    assert not criterion.state_dict()


def test_all_is_compared_on_the_device_of_the_predictions(prediction, targets, monkeypatch):
    """PyTorch's device "meta" knows shapes alone, and refuses to mix with a CPU as a GPU does."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" has none
    criterion = a_criterion().to("meta")
    criterion.sampler = PointsElsewhere()
    criterion.matcher.forward = lambda predictions, batch, points: [
        [(torch.arange(n), torch.arange(n)) for n in batch.counts] for _ in predictions
    ]
    elsewhere = [
        {**t, "masks": t["masks"].to("meta"), "labels": t["labels"].to("meta")} for t in targets
    ]
    outputs = {key: value.to("meta") for key, value in prediction.items()}
    losses = criterion(outputs, elsewhere, step=0, clip_seeds=SEEDS)
    assert losses.keys() == WEIGHTS.keys()
    assert {loss.device.type for loss in losses.values()} == {"meta"}


def test_a_class_layer_is_trained_with_the_objects_classes():
    cfg = small_config(MASK_FORMER__NUM_CLASSES=3)
    criterion = SetCriterion(cfg)
    assert criterion.class_weight.tolist() == pytest.approx([1, 1, 1, 0.1])
    logits = torch.randn(1, 2, 4)
    matches = Matches(*torch.tensor([[0], [1], [0]]), torch.tensor([0]), torch.tensor([0]), [1])
    batch = SimpleNamespace(labels=torch.tensor([2]))
    log = logits.log_softmax(-1)[0]
    expected = -log[1, 2] - 0.1 * log[0, 3]
    torch.testing.assert_close(
        criterion._object_loss({"pred_logits": logits}, matches, batch), expected
    )
    assert torch.equal(object_probability(logits[..., :2]), logits[..., :2].softmax(-1)[..., 0])
