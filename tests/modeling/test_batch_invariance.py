"""A batch gives the results of its clips; clips and audio may have any length."""

import pytest
import torch
from detectron2.modeling import build_model

from ovavss_d2.media.audio_pairing import audio_at_times
from tests.helpers.clips import make_clip, model_config

TOLERANCE = 1e-5  # of the largest number
ONLY_FIRST = torch.arange(5) == 0  # ground truth of a v1s clip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    return build_model(model_config(tmp_path_factory.mktemp("clip")))


def clips():
    """Clips of two objects each, so the batch's divisors are the mean of theirs."""
    return [make_clip(11), make_clip(12, labeled=ONLY_FIRST), make_clip(13)]


def losses_and_gradients(model, batch):
    model.zero_grad()
    losses = model.train()(batch)
    sum(losses.values()).backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, grads


def test_losses_and_gradients_of_a_batch_are_the_mean_of_its_clips(model):
    losses, gradients = losses_and_gradients(model, clips())
    alone = [losses_and_gradients(model, [clip]) for clip in clips()]
    for name, loss in losses.items():
        mean = sum(one[name] for one, _ in alone) / len(alone)
        assert loss == pytest.approx(mean, rel=TOLERANCE), name
    largest = max(x.abs().max() for x in gradients.values())
    for name, gradient in gradients.items():
        mean = sum(one[name] for _, one in alone) / len(alone)
        assert (gradient - mean).abs().max() <= TOLERANCE * largest, name


@torch.no_grad()
def test_outputs_of_a_batch_are_those_of_its_clips(model):
    model.eval()
    together = model._localize(model._normalize(clips()), clips())
    for i, clip in enumerate(clips()):
        alone = model._localize(model._normalize([clip]), [clip])
        for key in ("pred_logits", "pred_masks", "pred_queries"):
            error = (together[key][i] - alone[key][0]).abs().max()
            assert error <= TOLERANCE * alone[key].abs().max(), key


@pytest.mark.parametrize("frames", [1, 3, 10])
def test_clips_of_other_lengths_train(model, frames):
    losses, gradients = losses_and_gradients(model, [make_clip(21, frames), make_clip(22, frames)])
    assert all(torch.isfinite(torch.tensor(loss)) for loss in losses.values())
    assert all(torch.isfinite(x).all() for x in gradients.values())


def segmented(model, clip):
    return model.eval()([clip])[0]["label_map"]


@torch.no_grad()
def test_later_windows_equal_the_first(model):
    clip = make_clip(31, 5)
    long = {**clip, "times": [float(i) for i in range(15)]}
    for key in ("image", "audio", "audio_valid"):
        long[key] = torch.cat([clip[key]] * 3)
    found = segmented(model, long)
    assert found.any()
    for first in (0, 5, 10):
        assert torch.equal(found[first : first + 5], segmented(model, clip))


@pytest.mark.parametrize("seconds", [0, 0.5, 3, 20])
def test_audio_may_be_absent_shorter_or_longer_than_the_video(model, seconds):
    audio = torch.randn(int(16000 * seconds)).mul(0.1).numpy()
    clip = make_clip(41, 12)
    clip["audio"] = torch.from_numpy(audio_at_times(audio, range(12), "time")[0])
    found = segmented(model, clip)
    paired = min(12, -(-int(16000 * seconds) // 16000))
    assert not found[paired:].any()
    examples, valid = audio_at_times(audio, range(12), "released")
    assert examples.shape == (12, 16000)
    assert valid.sum() == min(12, int(16000 * seconds // (96 * 160)))
