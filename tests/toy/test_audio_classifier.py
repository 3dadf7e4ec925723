"""The CLAP stand-in: all classes, mixtures, reproducible from the seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ovavss_d2.modeling.audio_classifier import LogMelClassifier
from ovavss_d2.modeling.log_mel import log_mel_examples
from ovavss_d2.toy import audio_classifier
from ovavss_d2.toy.audio_classifier import (
    SECONDS,
    TOY_SOUND,
    draw_mixtures,
    mix_log_mel,
    train_audio_classifier,
)
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import BACKGROUND_SOUNDS, TOY_NAMES
from ovavss_d2.weights.layouts import layout_of
from tests.helpers.tiny_clip import tiny_clip

SHORT = replace(TOY_SOUND, steps=2)


@pytest.fixture
def classifier(tmp_path):
    clip = tiny_clip(tmp_path)
    torch.manual_seed(3)
    return LogMelClassifier(clip=clip, width=4, background_names=BACKGROUND_SOUNDS)


def test_mixtures_have_all_classes_and_silence():
    sounds, audible = draw_mixtures(TOY, np.random.default_rng(0), 12)
    assert sounds.shape == (12 * SECONDS, 16000) and audible.shape == (len(sounds), len(TOY_NAMES))
    counts = audible.sum(1)
    assert audible.any(0).all() and {0, 1, 2} <= set(counts.tolist())
    assert sounds[counts == 0].abs().max() < 0.2 * sounds[counts == 1].abs().max()


def test_the_same_seed_gives_the_same_weights_and_they_are_kept(classifier, tmp_path):
    before = {name: x.clone() for name, x in classifier.model.state_dict().items()}
    files = tmp_path / "a.pth", tmp_path / "b.pth"
    for path in files:
        classifier.model.load_state_dict(before)
        train_audio_classifier(path, TOY, classifier, SHORT)
    first, second = (torch.load(path, weights_only=True)["model"] for path in files)
    assert layout_of(first) == "own"
    assert all(torch.equal(first[name], second[name]) for name in first)
    prefix = "audio_classifier.model."
    assert any(not torch.equal(first[prefix + name], x) for name, x in before.items())
    train_audio_classifier(files[0], TOY, classifier, SHORT, seed=1)
    assert torch.load(files[0], weights_only=True)["model"].keys() == first.keys()
    assert not any(p.requires_grad for p in classifier.parameters())


@pytest.mark.parametrize("mixed", [0.0, 0.5])
def test_training_lowers_the_error(classifier, tmp_path, mixed):
    sounds, audible = draw_mixtures(TOY, np.random.default_rng(1), 3)

    def error():
        found = classifier.name_probabilities(sounds, TOY_NAMES)
        return torch.nn.functional.binary_cross_entropy(found, audible.float()).item()

    before = error()
    train_audio_classifier(
        tmp_path / "a.pth", TOY, classifier, replace(TOY_SOUND, steps=25, mixed=mixed)
    )
    assert error() < 0.5 * before


def test_mixed_examples_are_those_of_the_mixed_sounds(monkeypatch):
    monkeypatch.setattr(audio_classifier, "MIXED_GAIN", 0.0)
    monkeypatch.setattr(audio_classifier, "SHORTENED", 0.0)
    tone = torch.sin(torch.arange(16000) / 16000 * 2 * torch.pi * torch.tensor([[300.0], [3000.0]]))
    mixed = mix_log_mel(log_mel_examples(tone)[:, None])
    expected = log_mel_examples(tone.sum(0, keepdim=True))
    assert (mixed - expected).abs().mean() < 0.05


def test_some_mixed_sounds_are_shorter_than_a_second():
    loud, silent = torch.zeros(1, 40, 1, 96, 64), torch.full((1, 40, 1, 96, 64), -4.6)
    heard = (mix_log_mel(torch.cat([loud, silent])) > -2).float().mean((1, 2, 3))
    whole = heard > 0.99
    assert 8 < whole.sum() < 32 and heard.min() > 0.13
