"""Audio encoders: log-mel examples, the sizes of VGGish, and the small network."""

import math

import numpy as np
import pytest
import torch

from ovavss_d2.modeling.audio_encoder import LogMelEncoder, VGGish, build_audio_encoder
from ovavss_d2.modeling.log_mel import log_mel_examples
from tests.helpers.small import small_config


def tone(hz, harmonics):
    time = torch.arange(16000) / 16000
    parts = [torch.sin(2 * math.pi * hz * (k + 1) * time) / (k + 1) for k in range(harmonics)]
    return 0.3 * sum(parts)


def naive_log_mel(waveform):
    """A textbook version: one window, one bin, one band at a time."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(125), mel(7500), 66)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    rows = []
    for first in range(0, 96 * 160, 160):
        magnitude = np.abs(basis @ (waveform[first : first + 400] * window))
        row = np.zeros(64)
        for band in range(64):
            low, center, high = edges[band : band + 3]
            for k in range(1, 257):
                m = mel(k * 16000 / 512)
                weight = min((m - low) / (center - low), (high - m) / (high - center))
                row[band] += max(0, weight) * magnitude[k]
        rows.append(np.log(row + 0.01))
    return np.stack(rows)


def test_log_mel_equals_a_textbook_version():
    waveform = torch.randn(16000, dtype=torch.float64) * 0.1
    ours = log_mel_examples(waveform[None])
    assert ours.shape == (1, 1, 96, 64)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours[0, 0].numpy(), naive_log_mel(waveform.numpy()), atol=1e-5)


@pytest.mark.parametrize("shape", [(16000,), (2, 15599), (2, 1, 16000)])
def test_sounds_of_another_shape_are_an_error(shape):
    with pytest.raises(ValueError, match="expected"):
        log_mel_examples(torch.zeros(shape))


def test_examples_that_are_not_valid_are_zeros_in_log_mel_space():
    encoder = LogMelEncoder(width=4, output_dim=8)
    sounds = torch.randn(2, 16000) * 0.1
    out = encoder(sounds, torch.tensor([True, False]))
    torch.testing.assert_close(out[1:], encoder.encode(torch.zeros(1, 1, 96, 64)))
    torch.testing.assert_close(out[:1], encoder(sounds[:1]))  # alone as in the batch


def test_the_small_encoder_learns_pitch_and_timbre_of_single_tones():
    pitches, timbres = (220, 277, 349, 440), (1, 6)
    sounds = [tone(hz, harmonics=h) for h in timbres for hz in pitches]
    labels = torch.arange(len(sounds)).repeat(4)
    sounds = torch.stack(sounds).repeat(4, 1)
    sounds = sounds * torch.rand(len(sounds), 1).add(0.5) + 0.01 * torch.randn(sounds.shape)
    encoder = LogMelEncoder(width=8, output_dim=16)
    layer = torch.nn.Linear(16, 8)
    examples = encoder.log_mel(sounds)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *layer.parameters()], lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(layer(encoder.encode(examples)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (layer(encoder.encode(examples)).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_encoder_has_nothing_to_train(freeze):
    encoder = build_audio_encoder(small_config(AUDIO__FREEZE=freeze))
    assert {p.requires_grad for p in encoder.parameters()} == {not freeze}


def test_vggish_has_the_sizes_of_its_checkpoint():
    with torch.device("meta"):
        encoder = VGGish(freeze=True)
    shapes = {name: tuple(p.shape) for name, p in encoder.named_parameters()}
    assert shapes["features.0.weight"] == (64, 1, 3, 3)
    assert shapes["features.13.weight"] == (512, 512, 3, 3)
    assert shapes["embeddings.0.weight"] == (4096, 12288)
    assert shapes["embeddings.4.bias"] == (128,)
    assert len(shapes) == 18


def test_wrong_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="LogMelEncoder, NoAudio, VGGish"):
        build_audio_encoder(small_config(AUDIO__ENCODER="Wav2Vec"))
    with pytest.raises(ValueError, match="MODEL.AUDIO.DIM is 16"):
        build_audio_encoder(small_config(AUDIO__ENCODER="VGGish"))
