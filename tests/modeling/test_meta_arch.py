"""The whole model: batches, clip lengths, vocabularies and silence.

A batch of clips is its clips: outputs, losses and gradients.
"""

import pytest
import torch
from detectron2.modeling import build_model

from ovavss_d2.media.audio_pairing import audio_at_times
from tests.helpers.clips import NAMES, SIZE, make_clip, model_config

TOLERANCE = 1e-5  # of the largest number
ONLY_FIRST = torch.arange(5) == 0  # ground truth of a v1s clip


@pytest.fixture
def cfg(tmp_path):
    return model_config(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    return build_model(model_config(tmp_path_factory.mktemp("clip")))


@pytest.mark.parametrize("frames", [1, 3, 5, 10, 12])
def test_any_number_of_frames_is_segmented(model, frames):
    (output,) = model.eval()([make_clip(3, frames)])
    assert output["label_map"].shape == (frames, *SIZE)
    assert output["label_map"].max() <= len(NAMES)
    assert output["names"] == tuple(NAMES)


def test_label_map_and_segments_agree(model):
    (output,) = model.eval()([make_clip(3, 7)])
    painted = torch.zeros_like(output["label_map"])
    for segment in output["segments"]:
        first, last = segment["window"]
        painted[first:last][segment["masks"]] = segment["label"]
    assert len(output["segments"]) > 0
    assert torch.equal(painted, output["label_map"])


def test_a_silent_window_has_no_objects_and_no_cost(model, monkeypatch):
    monkeypatch.setattr(model, "_localize", None)
    (output,) = model.eval()([make_clip(5, loudness=0.0)])
    assert output["label_map"].shape == (5, *SIZE)
    assert not output["label_map"].any() and output["segments"] == []


def test_order_of_the_vocabulary_does_not_matter(model):
    clip = make_clip(4)
    try:
        first = model.eval()([clip])[0]
        model.set_vocabulary(tuple(reversed(NAMES)))
        second = model([clip])[0]
    finally:
        model.set_vocabulary(tuple(NAMES))
    assert [s["name"] for s in first["segments"]] == [s["name"] for s in second["segments"]]
    lookup = torch.tensor([0, 3, 2, 1], dtype=torch.int32)
    assert torch.equal(first["label_map"], lookup[second["label_map"].long()])


def test_an_empty_vocabulary_is_refused(model):
    with pytest.raises(ValueError, match="vocabulary"):
        model.set_vocabulary(())


def test_names_too_long_for_clip_are_refused_and_the_vocabulary_is_kept(model):
    before = model.vocabulary
    with pytest.raises(ValueError, match="CLIP reads"):
        model.set_vocabulary(("cat", "dog|" + "very " * 40 + "big dog"))
    assert model.vocabulary == before


def test_equal_names_of_the_config_are_one_class(cfg):
    cfg.MODEL.CLASSIFIER.VOCABULARY = [*NAMES, NAMES[0].upper()]
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = [NAMES[0], NAMES[0].upper()]
    model = build_model(cfg)
    assert model.vocabulary == tuple(NAMES) and model.training_vocabulary == (NAMES[0],)


def test_classes_are_found_in_a_training_vocabulary_of_another_case(cfg):
    expected = build_model(cfg).training_index.tolist()
    names = [name.upper() for name in cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY]
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = names
    assert build_model(cfg).training_index.tolist() == expected
    assert max(expected) >= 0


@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
def test_an_unknown_data_set_is_an_error_with_its_key(cfg, part):
    cfg.MODEL.CLASSIFIER.VOCABULARY = []
    cfg.DATASETS.TEST = ("toy_ov_test_all",)
    cfg.DATASETS[part] = ("nowhere",)
    with pytest.raises(ValueError, match=f"DATASETS.{part}"):
        build_model(cfg)


def test_names_replace_data_sets(cfg):
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    assert build_model(cfg).vocabulary == tuple(cfg.MODEL.CLASSIFIER.VOCABULARY)
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = []
    with pytest.raises(ValueError, match="DATASETS.TRAIN is empty"):
        build_model(cfg)


def test_losses_are_finite_and_reach_every_trainable_parameter(model):
    model.zero_grad()
    losses = model.train()([make_clip(5), make_clip(6, objects=0)])
    assert {"loss_object", "loss_mask", "loss_dice", "loss_name"} <= set(losses)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_unlabeled_frames_do_not_change_the_losses(model):
    clip, other = (make_clip(9, labeled=ONLY_FIRST) for _ in range(2))
    for frame in other["instances"][1:]:
        frame.gt_masks.tensor.logical_not_()
    first, second = model.train()([clip]), model.train()([other])
    for key in first:
        torch.testing.assert_close(first[key], second[key])


def test_names_outside_the_training_vocabulary_have_no_name_loss(model):
    clip = make_clip(10, objects=2)
    assert model._targets(clip, SIZE)["labels"].tolist() == [0, -1]


def test_only_the_backbone_is_compiled(cfg, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **keys: asked.append((self, keys)))
    cfg.MODEL.COMPILE = True
    model = build_model(cfg)
    assert asked == [(model.backbone, {"dynamic": True})]


def test_checkpointing_changes_no_loss_and_no_gradient(cfg):
    found = []
    for again in (False, True):
        cfg.MODEL.CHECKPOINTING = again
        torch.manual_seed(0)
        model = build_model(cfg)
        losses = model.train()([make_clip(1)])
        sum(losses.values()).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((*losses.values(), *gradients))
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


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


class Ears(torch.nn.Module):
    """An audio classifier that hears given names, (T, K) by the first sample of the context."""

    background_names = ("silence",)

    def __init__(self, heard):
        super().__init__()
        self.heard = heard

    def name_probabilities(self, audio, names):
        return self.heard[audio[:, 0].long()]


@pytest.fixture
def silent_model(cfg):
    """A model without query audio that hears the first name in frame 1 and the others in 3."""
    cfg.MODEL.FUSION.ENABLED = cfg.MODEL.MASK_FORMER.AUDIO_QUERIES = False
    cfg.MODEL.AUDIO.ENCODER = "NoAudio"
    cfg.MODEL.MASK_FORMER.NUM_CLASSES = 4
    heard = torch.zeros(5, len(NAMES))
    heard[1, 0], heard[3, 1:] = 1.0, 0.5
    model = build_model(cfg).eval()
    model.audio_classifier = Ears(heard)
    return model


def heard_clip(seed, frames=5, **settings):
    return {**make_clip(seed, frames, **settings), "audio_context": torch.arange(5.0)[:, None]}


def test_only_names_that_are_heard_are_painted_in_a_frame(silent_model):
    (output,) = silent_model([heard_clip(3)])
    found = [set(frame.unique().tolist()) - {0} for frame in output["label_map"]]
    assert found[0] == found[2] == found[4] == set()
    assert found[1] == {1} and found[3] and found[3] <= {2, 3}


def test_a_window_in_which_no_name_is_heard_costs_nothing(silent_model, monkeypatch):
    monkeypatch.setattr(silent_model, "_localize", None)
    silent_model.audio_classifier.heard.zero_()
    (output,) = silent_model([heard_clip(3)])
    assert not output["label_map"].any() and output["segments"] == []


def test_queries_that_cannot_be_painted_are_not_named(silent_model, monkeypatch):
    named = []
    name = silent_model.classifier.name_probabilities
    monkeypatch.setattr(
        silent_model.classifier,
        "name_probabilities",
        lambda **inputs: named.append(len(inputs["queries"])) or name(**inputs),
    )
    expected = silent_model([heard_clip(4)])[0]["label_map"]
    silent_model.audio_classifier.heard *= 0.5
    silent_model.postprocessor.threshold = 0.4
    (output,) = silent_model([heard_clip(4)])
    monkeypatch.setattr(
        silent_model.postprocessor, "can_paint", lambda factors, *_: factors.amax(1) >= 0
    )
    (slow,) = silent_model([heard_clip(4)])
    assert torch.equal(output["label_map"], slow["label_map"])
    assert named[1] < named[2] and expected.any()


def test_a_model_without_query_audio_ignores_the_sound_in_its_masks(silent_model):
    clip, other = make_clip(7), make_clip(7)
    other["audio"] = torch.randn(5, 16000)
    found = [silent_model._localize(silent_model._normalize([x]), [x]) for x in (clip, other)]
    assert torch.equal(found[0]["pred_masks"], found[1]["pred_masks"])
    assert found[0]["pred_logits"].shape[-1] == 5


@pytest.fixture
def combined_model(cfg):
    """A model with a silent localizer, trained on the first name; it hears all names."""
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = [NAMES[0]]
    cfg.MODEL.AUDIO_CLASSIFIER.NAME = "LogMelClassifier"
    cfg.MODEL.AUDIO_CLASSIFIER.SAMPLE_RATE, cfg.MODEL.AUDIO_CLASSIFIER.CONTEXT = 16000, 1.0
    cfg.MODEL.SILENT_LOCALIZER.ENABLED, cfg.MODEL.SILENT_LOCALIZER.NUM_CLASSES = True, 4
    model = build_model(cfg).eval()
    model.audio_classifier = Ears(torch.ones(5, len(NAMES)))
    return model


def test_names_that_were_trained_come_from_the_first_localizer_alone(combined_model, monkeypatch):
    model = combined_model
    model.audio_classifier.heard[:, 1:] = 0
    monkeypatch.setattr(model.silent_localizer, "forward", None)  # costs nothing
    (output,) = model([heard_clip(3)])
    model.silent_localizer = None
    (alone,) = model([heard_clip(3)])
    assert torch.equal(output["label_map"], alone["label_map"])
    assert output["label_map"].unique().tolist() == [0, 1]


def test_other_names_come_from_the_silent_localizer_alone_frame_by_frame(
    combined_model, silent_model, monkeypatch
):
    combined_model.audio_classifier.heard[:, 0] = 0
    monkeypatch.setattr(combined_model, "_localize", None)  # costs nothing
    (output,) = combined_model([heard_clip(3)])
    silent_model.window, silent_model.silent_localizer = 1, None
    silent_model.sem_seg_head.predictor.time_encoding = False
    silent_model.audio_classifier = combined_model.audio_classifier
    silent_model.classifier = combined_model.classifier
    silent_model.classifier.use("crop")
    for part in ("backbone", "sem_seg_head"):
        weights = getattr(combined_model.silent_localizer, part).state_dict()
        getattr(silent_model, part).load_state_dict(weights)
    (expected,) = silent_model([heard_clip(3)])
    assert torch.equal(output["label_map"], expected["label_map"])
    assert set(output["label_map"].unique().tolist()) - {0} <= {2, 3} and output["segments"]


def test_both_localizers_compete_for_pixels(combined_model):
    (output,) = combined_model([heard_clip(3)])
    found = set(output["label_map"].unique().tolist())
    assert 1 in found and found & {2, 3}
    painted = sum(segment["masks"].sum() for segment in output["segments"])
    assert painted == (output["label_map"] > 0).sum()


def test_a_silent_localizer_is_never_trained(combined_model):
    assert not combined_model.train().silent_localizer.training
    assert not any(p.requires_grad for p in combined_model.silent_localizer.parameters())
    assert sum(combined_model([make_clip(0)]).values()).requires_grad


def test_a_silent_localizer_needs_an_audio_classifier(cfg):
    cfg.MODEL.SILENT_LOCALIZER.ENABLED = True
    with pytest.raises(ValueError, match=r"MODEL\.AUDIO_CLASSIFIER\.NAME"):
        build_model(cfg)
