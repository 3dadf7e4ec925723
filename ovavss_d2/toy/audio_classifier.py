"""The CLAP stand-in of generated data sets: an audio encoder in the CLIP stand-in's text space.

Like CLAP, it knows the names of all classes, including the novel ones, but no images. It is trained
on mixtures of one-second sounds with captions of all that sounds; the text tower is not changed.

Shapes: N seconds, K names, D size of an embedding, S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import trange

from ovavss_d2.files import write_torch
from ovavss_d2.media.audio_format import LOG_OFFSET, SAMPLE_RATE
from ovavss_d2.modeling.audio_classifier import LogMelClassifier
from ovavss_d2.modeling.text_classifier import class_vocabulary
from ovavss_d2.toy.source import Source

BATCH, LEARNING_RATE = 64, 4e-3
SECONDS = 10  # of a clip
SOURCES = (0.2, 0.35, 0.35, 0.1)  # probabilities of 0, 1, ... sources in a second
FIRST_SCALE = 14.0  # of the cosines; at the end it is that of the classifier

MIXED_GAIN = 4.0  # dB: upper bound of the change of the levels of two mixed seconds
SHORTENED, SHORTEST = 0.5, 0.15  # share of them that is shortened, and the least part that is left

_STREAM = 96  # of random numbers, separate from the data set's
_PREFIX = "audio_classifier.model."


@dataclass(frozen=True)
class SoundSettings:
    """How long the encoder is trained.

    Attributes:
        clips: number of clips, of ten mixtures each.
        steps: optimizer steps.
        mixed: share of each batch that mixes two of the seconds in which one class sounds.
    """

    clips: int = 500
    steps: int = 2000
    mixed: float = 0.0


TOY_SOUND = SoundSettings()


def train_audio_classifier(
    path: Path,
    source: Source,
    classifier: LogMelClassifier,
    settings: SoundSettings,
    *,
    seed: int = 0,
) -> None:
    """Train the encoder of a classifier, and write its weights.

    Args:
        path: the weight file; an existing one is kept.
        source: of the sounds.
        classifier: with a trained CLIP stand-in.
        settings: of the training.
        seed: of sounds and batches.
    """
    if path.exists():
        return
    rng = np.random.default_rng([seed, _STREAM])
    clips = min(settings.clips, settings.steps * BATCH // SECONDS + 1)
    sounds, audible = draw_mixtures(source, rng, clips)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(classifier, source.names, sounds, audible, rng, settings)
    state = classifier.model.state_dict()
    write_torch(path, {"model": {_PREFIX + name: value for name, value in state.items()}})


def draw_mixtures(source: Source, rng: np.random.Generator, clips: int) -> tuple[Tensor, Tensor]:
    """Draw seconds of random classes: (N, S), and bool (N, classes), those that sound."""
    number = len(source.names)
    waveforms, truths = [], []
    for _ in range(clips):
        counts = rng.choice(len(SOURCES), SECONDS, p=SOURCES)
        audible = [tuple(1 + rng.choice(number, n, replace=False)) for n in counts]
        waveforms.append(source.draw_audio(rng, [tuple(map(int, now)) for now in audible]))
        truths += [[i in now for i in range(1, number + 1)] for now in audible]
    sounds = np.concatenate(waveforms).reshape(-1, SAMPLE_RATE).astype(np.float32) / 32768
    return torch.from_numpy(sounds), torch.tensor(truths)


def _fit(
    classifier: LogMelClassifier,
    names: Sequence[str],
    sounds: Tensor,
    audible: Tensor,
    rng: np.random.Generator,
    settings: SoundSettings,
) -> None:
    steps = settings.steps
    encoder = classifier.model.requires_grad_(True)
    log_mel = torch.cat([encoder.log_mel(part) for part in sounds.split(500)])  # type: ignore[operator]
    vocabulary = class_vocabulary(names, classifier.background_names, ())
    text = classifier.embed_text(vocabulary.words)
    truths = audible.float()
    alone = np.flatnonzero(audible.sum(1) == 1)
    mixed = round(settings.mixed * BATCH)
    optimizer = torch.optim.AdamW(encoder.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    with trange(steps, desc="audio classifier", unit="step") as progress:
        for step in progress:
            batch = torch.from_numpy(rng.integers(len(truths), size=BATCH))
            examples, heard = log_mel[batch], truths[batch]
            if mixed:
                pairs = torch.from_numpy(rng.choice(alone, (2, mixed)))
                examples[:mixed] = mix_log_mel(log_mel[pairs])
                heard[:mixed] = truths[pairs].amax(0)
            scale = FIRST_SCALE * (classifier.scale / FIRST_SCALE) ** min(1, 2 * step / steps)
            embeddings = F.normalize(encoder.encode(examples), dim=-1)  # type: ignore[operator]
            logits = vocabulary.class_logits(scale * embeddings @ text.t())
            loss = _loss(logits, heard)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")
    encoder.requires_grad_(False)


def mix_log_mel(log_mel: Tensor) -> Tensor:
    """Mix log-mel examples (2, N, 1, 96, 64) to (N, 1, 96, 64): their powers add up.

    Each has a random level, and may be heard for a part of the second alone.
    """
    pairs, windows = log_mel.shape[:2], log_mel.shape[-2]
    decibels = MIXED_GAIN * (2 * torch.rand(pairs) - 1)
    short = torch.rand(pairs) < SHORTENED
    length = torch.where(short, SHORTEST + (1 - SHORTEST) * torch.rand(pairs), 1.0)[..., None]
    since = torch.arange(windows) / windows - (1 - length) * torch.rand(pairs)[..., None]
    heard = (since >= 0) & (since < length)  # (2, N, 96)
    gain = 10 ** (decibels / 20)[..., None] * heard
    magnitudes = (log_mel.exp() - LOG_OFFSET) * gain[:, :, None, :, None]
    return torch.log(magnitudes.square().sum(0).sqrt() + LOG_OFFSET)


def _loss(logits: Tensor, truths: Tensor) -> Tensor:
    """Binary cross-entropy of each name against the background names."""
    names, background = logits.split([truths.shape[1], logits.shape[1] - truths.shape[1]], 1)
    alone = names - background.logsumexp(1, keepdim=True)
    return F.binary_cross_entropy_with_logits(alone, truths, reduction="sum") / len(truths)
