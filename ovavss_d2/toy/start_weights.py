"""Pretraining for the toy world, in the role of ImageNet, COCO and VGGish.

The backbone learns the shape and color at each cell of its feature maps, then the localizer learns
to segment and name all visible objects, both on still images. The audio encoder learns timbre and
pitch without images. All use base classes alone, and none learns which visible objects sound.

As ImageNet and AudioSet cover more than a data set's classes, backbone and audio encoder also see
the base classes in hues and pitches halfway between those of the classes.

Shapes: N images or sounds, h w size of a feature map, H W pixels, S audio samples of a second.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn
from tqdm import trange

from ovavss_d2.files import write_torch
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.modeling.audio_encoder import AudioEncoder, NoAudio
from ovavss_d2.toy.audio import PITCHES, draw_audio
from ovavss_d2.toy.clip_model import Scenes, draw_scenes
from ovavss_d2.toy.schedule import draw_schedule
from ovavss_d2.toy.shapes import color_of, shape_of
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_COLORS, TOY_SHAPES

if TYPE_CHECKING:
    from ovavss_d2.modeling.meta_arch import OVAVSS

SCENES = 3000
BACKBONE_STEPS, BACKBONE_BATCH, BACKBONE_RATE = 450, 32, 3e-3
SHIFTED_BATCH = 16  # additional images in other hues
LOCALIZER_STEPS, LOCALIZER_BATCH, LOCALIZER_RATE = 500, 32, 1e-3
AUDIO_CLIPS, AUDIO_SECONDS = 250, 10  # and as many clips at other pitches
AUDIO_STEPS, AUDIO_BATCH, AUDIO_RATE = 250, 64, 2e-3
MAX_GRADIENT_NORM = 1.0
WEIGHT_DECAY = 0.05
NUM_SHAPES, NUM_COLORS = len(TOY_SHAPES) + 1, len(TOY_COLORS) + 1  # with background (0)
HUE_STEP = 180 // len(TOY_COLORS)  # between two colors, in OpenCV's units
PITCH_STEP = PITCHES[TOY_COLORS[1]] / PITCHES[TOY_COLORS[0]]
_SAVED = ("backbone.", "sem_seg_head.", "classifier.text_head.", "audio_encoder.")
_STREAM = 97  # of random numbers, separate from the data set's


def train_start_weights(
    path: Path, model: "OVAVSS", *, seed: int = 0, steps: int = LOCALIZER_STEPS
) -> None:
    """Train a model without audio, and its audio encoder without images; write their weights.

    Args:
        path: the checkpoint; an existing file is kept.
        model: the meta-architecture without fusion and audio queries, with the weights of CLIP.
        seed: of scenes, audio, batches and the initial weights of temporary layers.
        steps: optimizer steps of the localizer, and upper bound of the others.
    """
    if path.exists():
        return
    rng = np.random.default_rng([seed, _STREAM])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scenes = draw_scenes(TOY, rng, min(SCENES, steps * BACKBONE_BATCH), TOY_BASE_IDS)
        _train_backbone(model, scenes, rng, min(steps, BACKBONE_STEPS))
        _train_localizer(model, scenes, rng, steps)
        _train_audio_encoder(model.audio_encoder, rng, min(steps, AUDIO_STEPS))
    state = model.state_dict()
    saved = [key for key in state if key.startswith(_SAVED)]
    write_torch(path, {"model": {key: state[key] for key in saved}})


def _train_backbone(model: "OVAVSS", scenes: Scenes, rng: np.random.Generator, steps: int) -> None:
    backbone, ids = model.backbone, scenes.ids.long()
    shifted = _shift_hues(scenes.frames, rng)
    heads = nn.ModuleDict()
    for name, shape in backbone.output_shape().items():
        heads[name] = nn.Conv2d(shape.channels, NUM_SHAPES + NUM_COLORS, 1)

    def loss() -> Tensor:
        own = torch.randint(len(ids), (BACKBONE_BATCH,))
        other = torch.randint(len(ids), (SHIFTED_BATCH,))
        frames = torch.cat([scenes.frames[own], shifted[other]])
        maps = backbone((frames - model.pixel_mean) / model.pixel_std)
        logits = [h(maps[name]).split([BACKBONE_BATCH, SHIFTED_BATCH]) for name, h in heads.items()]
        losses = [sum(cell_losses(a, ids[own])) + cell_losses(b, ids[other])[0] for a, b in logits]
        return sum(losses, start=torch.zeros(()))

    backbone.train()
    parameters = [*backbone.parameters(), *heads.parameters()]
    _optimize(parameters, loss, steps, BACKBONE_RATE, "start weights: backbone")


def _shift_hues(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Rotate all hues of each image (N, 3, H, W) to halfway between two colors."""
    shifted = []
    for frame in frames.permute(0, 2, 3, 1).numpy():
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        shift = HUE_STEP // 2 + HUE_STEP * rng.integers(len(TOY_COLORS))
        hsv[..., 0] = (hsv[..., 0] + shift) % 180
        shifted.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return torch.from_numpy(np.stack(shifted)).permute(0, 3, 1, 2).contiguous()


def cell_losses(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the shapes, and of the colors, of all cells.

    Args:
        logits: (N, NUM_SHAPES + NUM_COLORS, h, w).
        ids: class ids (N, H, W).
    """
    cells = F.interpolate(ids[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0].long()
    shapes = torch.where(cells > 0, (cells - 1) % len(TOY_SHAPES) + 1, 0)
    colors = torch.where(cells > 0, (cells - 1) // len(TOY_SHAPES) + 1, 0)
    of_shapes, of_colors = logits.split([NUM_SHAPES, NUM_COLORS], 1)
    return F.cross_entropy(of_shapes, shapes), F.cross_entropy(of_colors, colors)


def _train_localizer(model: "OVAVSS", scenes: Scenes, rng: np.random.Generator, steps: int) -> None:
    classes: list[list[int]] = [[] for _ in scenes.frames]
    for index, class_id in scenes.objects.tolist():
        classes[index].append(class_id)

    def loss() -> Tensor:
        chosen = rng.integers(len(classes), size=LOCALIZER_BATCH)
        return sum(model([_image_clip(scenes, i, classes[i], rng) for i in chosen]).values())

    encoder = model.audio_encoder
    model.audio_encoder = NoAudio(output_dim=encoder.output_dim)  # temporary
    model.train()
    _optimize(model.parameters(), loss, steps, LOCALIZER_RATE, "start weights: localizer")
    model.audio_encoder = encoder


def _image_clip(scenes: Scenes, index: int, classes: list[int], rng: np.random.Generator) -> dict:
    """A scene, flipped at random, as a silent clip of one frame in `AVSClipMapper`'s format."""
    image = scenes.frames[index]
    masks = scenes.ids[index] == torch.tensor(classes)[:, None, None]
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
        "clip_seed": int(rng.integers(2**31)),  # other sampling points each time
    }


def _train_audio_encoder(encoder: AudioEncoder, rng: np.random.Generator, steps: int) -> None:
    clips = min(AUDIO_CLIPS, steps * AUDIO_BATCH // AUDIO_SECONDS)
    sounds, truths = _draw_sounds(rng, clips)
    others, other_truths = _draw_sounds(rng, clips, shift_pitch=True)
    log_mel = encoder.log_mel(torch.cat([sounds, others]))
    truths = torch.cat([truths, other_truths])
    weights = torch.ones_like(truths)
    weights[len(sounds) :, len(TOY_SHAPES) :] = 0  # shifted pitches belong to no color
    head = nn.Linear(encoder.output_dim, truths.shape[1])

    def loss() -> Tensor:
        batch = torch.from_numpy(rng.integers(len(truths), size=AUDIO_BATCH))
        logits = head(encoder.encode(log_mel[batch]))
        return F.binary_cross_entropy_with_logits(logits, truths[batch], weights[batch])

    parameters = [*encoder.parameters(), *head.parameters()]
    _optimize(parameters, loss, steps, AUDIO_RATE, "start weights: audio encoder")


def _draw_sounds(
    rng: np.random.Generator, clips: int, shift_pitch: bool = False
) -> tuple[Tensor, Tensor]:
    """Draw the seconds of training clips: (N, S), and (N, shapes + colors), 1 for those that sound.

    `shift_pitch` lowers all pitches of a clip by 0.5 or 1.5 steps between two colors.
    """
    waveforms, truths = [], []
    for _ in range(clips):
        audible = draw_schedule(TOY, rng, "base", AUDIO_SECONDS).audible()
        factor = PITCH_STEP ** -(0.5 + rng.integers(2)) if shift_pitch else 1.0
        waveforms.append(draw_audio(rng, audible, factor))
        for now in audible:
            words = {word for i in now for word in (shape_of(i), color_of(i))}
            truths.append([float(word in words) for word in (*TOY_SHAPES, *TOY_COLORS)])
    sounds = np.concatenate(waveforms).reshape(-1, SAMPLE_RATE).astype(np.float32) / 32768
    return torch.from_numpy(sounds), torch.tensor(truths)


def _optimize(
    parameters: Iterable[nn.Parameter],
    loss_of_batch: Callable[[], Tensor],
    steps: int,
    rate: float,
    title: str,
) -> None:
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
            nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")
