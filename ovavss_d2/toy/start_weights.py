"""Start weights for the toy world, as ImageNet's, COCO's and VGGish's are for the real one.

The backbone learns shape and colour of what each cell of its maps shows, then the localiser to find
and name all that is in sight, both on still pictures without sound. The audio encoder learns to
tell timbre and pitch, without pictures. All know base classes alone, and none learns what sounding
looks like. As ImageNet and AudioSet hold more than a data set's classes, backbone and audio encoder
also meet the base classes' pictures in other hues and their sounds at other pitches, halfway
between those of the classes: so they know a shape whatever its colour, a timbre whatever its pitch.

Shapes: N pictures or sounds, h w cells of a map, H W pixels, S samples of a second.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn
from tqdm import trange

from ovavss_d2.files import atomic_path
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.audio import PITCHES, draw_soundtrack
from ovavss_d2.toy.clip_model import Pictures, draw_pictures
from ovavss_d2.toy.scene import color_of, shape_of
from ovavss_d2.toy.schedule import draw_cast
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_COLORS, TOY_SHAPES

if TYPE_CHECKING:  # models are handed in: data sets are made without knowing of them
    from ovavss_d2.modeling.audio_encoder import AudioEncoder
    from ovavss_d2.modeling.meta_arch import OVAVSS

PICTURES = 3000
CELL_STEPS, CELL_BATCH, CELL_RATE = 450, 32, 3e-3
TURNED_BATCH = 16  # pictures in other hues, beside these
PICTURE_STEPS, PICTURE_BATCH, PICTURE_RATE = 500, 32, 1e-3
SOUND_CLIPS, SOUND_SECONDS = 250, 10  # and as many at other pitches
SOUND_STEPS, SOUND_BATCH, SOUND_RATE = 250, 64, 2e-3
LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 0.05
KINDS = len(TOY_SHAPES) + 1, len(TOY_COLORS) + 1  # the first of each is background
HUE_STEP = 180 // len(TOY_COLORS)  # between two colours, in OpenCV's units
PITCH_STEP = PITCHES[TOY_COLORS[1]] / PITCHES[TOY_COLORS[0]]
_LEARNT = ("backbone.", "sem_seg_head.", "classifier.text_head.", "audio_encoder.")
_DROPPED = "class_embed"  # what counts as an object is for the sound to say
_STREAM = 97  # of random numbers, apart from the data set's


def train_toy_start(
    path: Path, model: "OVAVSS", *, seed: int = 0, steps: int = PICTURE_STEPS
) -> None:
    """Train a model that does not hear, and an audio encoder; write their weights.

    Args:
        path: the file, a checkpoint of the project's form; one that is there is kept.
        model: the meta-architecture without fusion and audio queries, its CLIP loaded.
        seed: of scenes, sounds, batches and start values of what is thrown away.
        steps: optimiser steps of the localiser; the other two take at most as many.
    """
    if path.exists():
        return
    rng = np.random.default_rng([seed, _STREAM])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pictures = draw_pictures(rng, min(PICTURES, steps * CELL_BATCH), TOY_BASE_IDS)
        _learn_cells(model, pictures, rng, min(steps, CELL_STEPS))
        _learn_to_see(model, pictures, rng, steps)
        _learn_to_hear(model.audio_encoder, rng, min(steps, SOUND_STEPS))
    weights = {
        key: value
        for key, value in model.state_dict().items()
        if key.startswith(_LEARNT) and _DROPPED not in key
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        torch.save({"model": weights}, draft)


def _learn_cells(model: "OVAVSS", pictures: Pictures, rng: np.random.Generator, steps: int) -> None:
    backbone, ids = model.backbone, pictures.ids.long()
    turned = _turn_hues(pictures.frames, rng)
    heads = nn.ModuleDict(
        {name: nn.Conv2d(s.channels, sum(KINDS), 1) for name, s in backbone.output_shape().items()}
    )

    def loss():
        own = torch.randint(len(ids), (CELL_BATCH,))
        other = torch.randint(len(ids), (TURNED_BATCH,))
        frames = torch.cat([pictures.frames[own], turned[other]])
        maps = backbone((frames - model.pixel_mean) / model.pixel_std)
        both = [head(maps[name]).split([CELL_BATCH, TURNED_BATCH]) for name, head in heads.items()]
        return sum(cell_loss(a, ids[own]) + shape_loss(b, ids[other]) for a, b in both)

    backbone.train()
    parameters = [*backbone.parameters(), *heads.parameters()]
    _fit(parameters, loss, steps, CELL_RATE, "toy start weights: cells")


def _turn_hues(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """The pictures (N, 3, H, W) with all hues turned, each to halfway between two colours."""
    turned = []
    for frame in frames.permute(0, 2, 3, 1).numpy():
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        turn = HUE_STEP // 2 + HUE_STEP * rng.integers(len(TOY_COLORS))
        hsv[..., 0] = (hsv[..., 0] + turn) % 180
        turned.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return torch.from_numpy(np.stack(turned)).permute(0, 3, 1, 2).contiguous()


def cell_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of cells' shapes and colours: logits (N, sum(KINDS), h, w), ids (N, H, W)."""
    cells = _cells(ids, logits)
    colors = torch.where(cells > 0, (cells - 1) // len(TOY_SHAPES) + 1, 0)
    return shape_loss(logits, ids) + F.cross_entropy(logits[:, KINDS[0] :], colors)


def shape_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """The part of `cell_loss` that is of shapes."""
    cells = _cells(ids, logits)
    shapes = torch.where(cells > 0, (cells - 1) % len(TOY_SHAPES) + 1, 0)
    return F.cross_entropy(logits[:, : KINDS[0]], shapes)


def _cells(ids: Tensor, logits: Tensor) -> Tensor:
    return F.interpolate(ids[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0].long()


def _learn_to_see(
    model: "OVAVSS", pictures: Pictures, rng: np.random.Generator, steps: int
) -> None:
    classes: list[list[int]] = [[] for _ in pictures.frames]
    for number, class_id in pictures.objects.tolist():
        classes[number].append(class_id)

    def loss():
        chosen = rng.integers(len(classes), size=PICTURE_BATCH)
        return sum(model([_still(pictures, i, classes[i], rng) for i in chosen]).values())

    encoder = model.audio_encoder
    model.audio_encoder = _Deaf(encoder.output_dim)  # type: ignore[assignment]  # for a while
    model.train()
    _fit(model.parameters(), loss, steps, PICTURE_RATE, "toy start weights: pictures")
    model.audio_encoder = encoder


class _Deaf(nn.Module):
    """In an audio encoder's place where nothing is heard."""

    def __init__(self, output_dim: int):
        super().__init__()
        self.output_dim = output_dim

    def forward(self, waveforms: Tensor, valid: Tensor) -> Tensor:
        """Zeros (N, A)."""
        return waveforms.new_zeros(len(waveforms), self.output_dim)


def _still(pictures: Pictures, number: int, classes: list[int], rng: np.random.Generator) -> dict:
    """A picture, perhaps mirrored, as a silent clip of one frame in `AVSClipMapper`'s form."""
    image = pictures.frames[number]
    masks = pictures.ids[number] == torch.tensor(classes)[:, None, None]
    if rng.random() < 0.5:
        image, masks = image.flip(-1), masks.flip(-1)
    instances = Instances(tuple(image.shape[-2:]))
    instances.gt_classes = torch.tensor(classes) - 1
    instances.gt_ids = torch.arange(len(classes))
    instances.gt_masks = BitMasks(masks)
    return {
        "image": image[None],
        "audio": torch.zeros(1, SAMPLE_RATE),
        "audio_valid": torch.ones(1, dtype=torch.bool),
        "labeled": torch.ones(1, dtype=torch.bool),
        "instances": [instances],
        "clip_seed": int(rng.integers(2**31)),  # other points to compare at, each time
    }


def _learn_to_hear(encoder: "AudioEncoder", rng: np.random.Generator, steps: int) -> None:
    clips = min(SOUND_CLIPS, steps * SOUND_BATCH // SOUND_SECONDS)
    sounds, truths = _draw_sounds(rng, clips)
    others, other_truths = _draw_sounds(rng, clips, transposed=True)
    log_mel = encoder.log_mel(torch.cat([sounds, others]))
    truths = torch.cat([truths, other_truths])
    counts = torch.ones_like(truths)
    counts[len(sounds) :, len(TOY_SHAPES) :] = 0  # no colour's pitch
    head = nn.Linear(encoder.output_dim, truths.shape[1])

    def loss():
        batch = torch.from_numpy(rng.integers(len(truths), size=SOUND_BATCH))
        logits = head(encoder.encode(log_mel[batch]))
        return F.binary_cross_entropy_with_logits(logits, truths[batch], counts[batch])

    parameters = [*encoder.parameters(), *head.parameters()]
    _fit(parameters, loss, steps, SOUND_RATE, "toy start weights: sounds")


def _draw_sounds(
    rng: np.random.Generator, clips: int, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """Seconds as they occur in training clips: (N, S), and which shapes and colours are heard.

    Transposed, each clip is half a step between two colours' pitches lower, or one and a half.
    """
    tracks, truths = [], []
    for _ in range(clips):
        heard = draw_cast(rng, "base", SOUND_SECONDS).heard()
        factor = PITCH_STEP ** -(0.5 + rng.integers(2)) if transposed else 1.0
        tracks.append(draw_soundtrack(rng, heard, factor))
        for now in heard:
            there = {word for i in now for word in (shape_of(i), color_of(i))}
            truths.append([float(word in there) for word in (*TOY_SHAPES, *TOY_COLORS)])
    sounds = np.concatenate(tracks).reshape(-1, SAMPLE_RATE).astype(np.float32) / 32768
    return torch.from_numpy(sounds), torch.tensor(truths)


def _fit(parameters, loss_of_batch, steps: int, rate: float, title: str) -> None:
    parameters = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    with trange(steps, desc=title, unit="step") as progress:
        for _ in progress:
            loss = loss_of_batch()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")
