"""Pretraining on a source's base classes, in the role of ImageNet, COCO and VGGish.

The backbone learns the features (in the toy world shape and color) at each cell of its feature
maps, then the localizer learns to segment and name all visible objects, both on still images. The
audio encoder learns the captions (in the toy world timbre and pitch) without images. Images have
base classes and objects that never sound, audio base classes alone; none learns which visible
objects sound.

As ImageNet and AudioSet cover more than a data set's classes, backbone and audio encoder also see
the base classes in hues and pitches halfway between those of the classes.

Shapes: N images or sounds, h w size of a feature map, H W pixels, S audio samples of a second.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn
from tqdm import tqdm, trange

from ovavss_d2.files import write_torch
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.modeling.audio_encoder import AudioEncoder, NoAudio
from ovavss_d2.toy.audio import PITCHES
from ovavss_d2.toy.clip_model import Captions, Scenes, draw_scenes
from ovavss_d2.toy.scene import TOY_SIZE
from ovavss_d2.toy.schedule import draw_schedule
from ovavss_d2.toy.source import Source
from ovavss_d2.vocabulary import TOY_COLORS, novel_ids

if TYPE_CHECKING:
    from ovavss_d2.modeling.meta_arch import OVAVSS

BACKBONE_BATCH, BACKBONE_RATE = 32, 3e-3
SHIFTED_BATCH = 16  # additional images in other hues
LOCALIZER_RATE = 1e-3
MAPS_BATCH = 16  # images for which a frozen backbone computes maps at once
AUDIO_SECONDS, AUDIO_BATCH, AUDIO_RATE = 10, 64, 2e-3
MAX_GRADIENT_NORM = 1.0
WEIGHT_DECAY = 0.05
HUE_STEP = 180 // len(TOY_COLORS)  # between two colors, in OpenCV's units
PITCH_STEP = PITCHES[TOY_COLORS[1]] / PITCHES[TOY_COLORS[0]]
_SAVED = ("backbone.", "sem_seg_head.", "classifier.text_head.", "audio_encoder.")
_STREAM = 97  # of random numbers, separate from the data set's


@dataclass(frozen=True)
class StartSettings:
    """How long the backbone, the localizer and the audio encoder are trained.

    Attributes:
        scenes: number of still images.
        backbone_steps: optimizer steps of the backbone alone; 0: it learns with the localizer.
        steps: optimizer steps of the localizer, and upper bound of the others.
        batch: images in each of them.
        audio_clips: number of clips for the audio encoder, and as many at other pitches.
        audio_steps: optimizer steps of the audio encoder.
    """

    scenes: int = 3000
    backbone_steps: int = 450
    steps: int = 500
    batch: int = 32
    audio_clips: int = 250
    audio_steps: int = 250


TOY_START = StartSettings()


class Features:
    """The features of a source's classes, as indices.

    Attributes:
        table: int64 (1 + classes, features), from 1; 0 without an object.
        sizes: for each feature, the number of its values and of 0.
    """

    def __init__(self, source: Source) -> None:
        values = [dict.fromkeys(values) for values in zip(*source.features, strict=True)]
        index = [{value: i for i, value in enumerate(column, 1)} for column in values]
        rows = [[k[v] for k, v in zip(index, row, strict=True)] for row in source.features]
        self.table = torch.tensor([[0] * len(index), *rows])
        self.sizes = [len(column) + 1 for column in index]


def train_start_weights(
    path: Path,
    source: Source,
    model: "OVAVSS",
    settings: StartSettings,
    *,
    seed: int = 0,
    size: tuple[int, int] = TOY_SIZE,
) -> None:
    """Train a model without audio, and its audio encoder without images; write their weights.

    Args:
        path: the checkpoint; an existing file is kept.
        source: of images and sounds.
        model: the meta-architecture without fusion and audio queries, with the weights of CLIP. If
            the source has objects that never sound, its class layer has one class, "object".
        settings: of the training.
        seed: of scenes, audio, batches and the initial weights of temporary layers.
        size: (H, W) of the images.
    """
    if path.exists():
        return
    steps, batch = settings.steps, settings.batch
    rng = np.random.default_rng([seed, _STREAM])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        class_ids = (*source.base_ids, *source.silent_ids)
        count = min(settings.scenes, steps * batch)
        scenes = draw_scenes(source, rng, count, class_ids, size)
        if settings.backbone_steps:
            backbone_steps = min(steps, settings.backbone_steps)
            _train_backbone(model, scenes, Features(source), rng, backbone_steps)
        _train_localizer(model, scenes, _labels(source), rng, steps, batch)
        _train_audio_encoder(model.audio_encoder, source, rng, settings)
    state = model.state_dict()
    saved = [key for key in state if key.startswith(_SAVED)]
    write_torch(path, {"model": {key: state[key] for key in saved}})


def _train_backbone(
    model: "OVAVSS", scenes: Scenes, features: Features, rng: np.random.Generator, steps: int
) -> None:
    backbone, ids = model.backbone, scenes.ids.long()
    shifted = _shift_hues(scenes.frames, rng)
    heads = nn.ModuleDict()
    for name, shape in backbone.output_shape().items():
        heads[name] = nn.Conv2d(shape.channels, sum(features.sizes), 1)

    def loss() -> Tensor:
        own = torch.randint(len(ids), (BACKBONE_BATCH,))
        other = torch.randint(len(ids), (SHIFTED_BATCH,))
        frames = torch.cat([scenes.frames[own], shifted[other]])
        maps = backbone((frames - model.pixel_mean) / model.pixel_std)
        logits = [h(maps[name]).split([BACKBONE_BATCH, SHIFTED_BATCH]) for name, h in heads.items()]
        total = torch.zeros(())
        for a, b in logits:
            first = cell_losses(b, ids[other], features)[0]  # in the toy world the shape
            total = total + (sum(cell_losses(a, ids[own], features)) + first)
        return total

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


def cell_losses(logits: Tensor, ids: Tensor, features: Features) -> list[Tensor]:
    """Cross-entropy of each feature of all cells.

    Args:
        logits: (N, total of `features.sizes`, h, w).
        ids: class ids (N, H, W).
        features: of the classes.
    """
    cells = F.interpolate(ids[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0].long()
    truths = features.table[cells].unbind(-1)
    parts = logits.split(features.sizes, 1)
    return [F.cross_entropy(part, truth) for part, truth in zip(parts, truths, strict=True)]


def _labels(source: Source) -> Tensor:
    """Label of each class id (1 + classes,) for the localizer.

    Objects that never sound have no name: they get a novel name's label, which is not trained on.
    """
    labels = torch.arange(len(source.features) + 1) - 1
    if source.silent_ids:
        novel = novel_ids(source.names, source.base_ids)
        labels[list(source.silent_ids)] = novel[0] - 1
    return labels


def _train_localizer(
    model: "OVAVSS",
    scenes: Scenes,
    labels: Tensor,
    rng: np.random.Generator,
    steps: int,
    batch: int,
) -> None:
    classes: list[list[int]] = [[] for _ in scenes.frames]
    for index, class_id in scenes.objects.tolist():
        classes[index].append(class_id)
    encoder, backbone = model.audio_encoder, model.backbone
    model.audio_encoder = NoAudio(output_dim=encoder.output_dim)  # temporary, as are stored maps
    frozen = not any(x.requires_grad for x in backbone.parameters())
    stored = StoredMaps(model, scenes.frames) if frozen else None
    model.backbone = stored or backbone

    def loss() -> Tensor:
        chosen = rng.integers(len(classes), size=batch)
        if stored:
            stored.chosen = chosen
        clips = [
            _image_clip(scenes, i, classes[i], labels, rng, flip=not stored and rng.random() < 0.5)
            for i in chosen
        ]
        return sum(model(clips).values())

    model.train()
    _optimize(model.parameters(), loss, steps, LOCALIZER_RATE, "start weights: localizer")
    model.audio_encoder, model.backbone = encoder, backbone


class StoredMaps(nn.Module):
    """In place of a frozen backbone: its maps of all images, computed once, in half precision.

    Attributes:
        chosen: the images whose maps are returned next.
    """

    def __init__(self, model: "OVAVSS", frames: Tensor) -> None:
        """
        Args:
            model: with the backbone.
            frames: uint8 (N, 3, H, W).
        """
        super().__init__()
        self.chosen = np.arange(0)
        model.backbone.eval()
        parts = []
        with torch.no_grad():
            for part in tqdm(frames.split(MAPS_BATCH), desc="start weights: maps", unit="batch"):
                maps = model.backbone((part - model.pixel_mean) / model.pixel_std)
                parts.append({name: x.half() for name, x in maps.items()})
        self.maps = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """The maps {"res2": (B, C, h, w), ...} of the chosen images."""
        return {name: x[self.chosen].float() for name, x in self.maps.items()}


def _image_clip(
    scenes: Scenes,
    index: int,
    classes: list[int],
    labels: Tensor,
    rng: np.random.Generator,
    *,
    flip: bool = False,
) -> dict:
    """A scene as a silent clip of one frame in `AVSClipMapper`'s format."""
    image = scenes.frames[index]
    masks = scenes.ids[index] == torch.tensor(classes)[:, None, None]
    if flip:
        image, masks = image.flip(-1), masks.flip(-1)
    instances = Instances(tuple(image.shape[-2:]))
    instances.gt_classes = labels[classes]
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


def _train_audio_encoder(
    encoder: AudioEncoder, source: Source, rng: np.random.Generator, settings: StartSettings
) -> None:
    steps = min(settings.steps, settings.audio_steps)
    clips = min(settings.audio_clips, steps * AUDIO_BATCH // AUDIO_SECONDS)
    captions = Captions(source)
    sounds, truths = _draw_sounds(source, captions, rng, clips)
    others, other_truths = _draw_sounds(source, captions, rng, clips, shift_pitch=True)
    log_mel = encoder.log_mel(torch.cat([sounds, others]))
    truths = torch.cat([truths, other_truths])
    weights = torch.ones_like(truths)
    weights[len(sounds) :, _audio_sizes(captions)[0] :] = 0  # shifted pitches belong to no color
    head = nn.Linear(encoder.output_dim, truths.shape[1])

    def loss() -> Tensor:
        batch = torch.from_numpy(rng.integers(len(truths), size=AUDIO_BATCH))
        logits = head(encoder.encode(log_mel[batch]))
        return F.binary_cross_entropy_with_logits(logits, truths[batch], weights[batch])

    parameters = [*encoder.parameters(), *head.parameters()]
    _optimize(parameters, loss, steps, AUDIO_RATE, "start weights: audio encoder")


def _audio_sizes(captions: Captions) -> list[int]:
    """Sizes of the captions' groups that the audio encoder learns: not the names, if it can be."""
    return captions.sizes[1:] or captions.sizes


def _draw_sounds(
    source: Source,
    captions: Captions,
    rng: np.random.Generator,
    clips: int,
    shift_pitch: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw the seconds of training clips: (N, S), and (N, captions), 1 for those that sound.

    `shift_pitch` lowers all pitches of a clip, in the toy world by 0.5 or 1.5 steps between two
    colors.
    """
    first = len(captions.words) - sum(_audio_sizes(captions))
    waveforms, truths = [], []
    for _ in range(clips):
        audible = draw_schedule(source, rng, "base", AUDIO_SECONDS).audible()
        factor = PITCH_STEP ** -(0.5 + rng.integers(2)) if shift_pitch else 1.0
        waveforms.append(source.draw_audio(rng, audible, factor))
        truths += [captions.truths[[0, *now], first:].amax(0) for now in audible]
    sounds = np.concatenate(waveforms).reshape(-1, SAMPLE_RATE).astype(np.float32) / 32768
    return torch.from_numpy(sounds), torch.stack(truths)


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
