"""The toy world's stand-in for CLIP: a small open_clip model, trained on captioned crops.

It plays CLIP's part: it knows the names of all classes, the novel ones too, but nothing of sound.
It is trained on scenes of its own, cut out with masks as rough as a segmenter's, and is used
through the same code as the real CLIP.

Shapes: N crops, K texts, D embedding size, H W picture size, S the image tower's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from torch import Tensor
from torchvision.ops import masks_to_boxes, roi_align
from tqdm import trange

from ovavss_d2.files import atomic_path, write_json
from ovavss_d2.toy.masks import bare_masks, rough_masks
from ovavss_d2.toy.scene import TOY_SIZE, color_of, draw_scene, render, shape_of
from ovavss_d2.vocabulary import (
    AVSBENCH_NAMES,
    BACKGROUND_NAMES,
    PROMPTS,
    TOY_COLORS,
    TOY_NAMES,
    TOY_SHAPES,
)

ARCHITECTURE: dict = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
PICTURES = 2500  # scenes to train on
STEPS = 520
BATCH = 128  # crops a step
LEARNING_RATE = 2e-3
FIRST_SCALE, LAST_SCALE = 14.0, 100.0  # of the cosines; 100 is what the classifiers use
WHOLE, BARE = 0.1, 0.2  # shares of crops without a mask, and of crops that hold no object
STRANGERS = 16  # names a step that are never seen
TOKEN_STD = 0.3  # of the start values of the token embeddings

_STREAM = 99  # of random numbers, apart from the data set's
_KNOWN = (*TOY_NAMES, *TOY_SHAPES, *TOY_COLORS)
_MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)


@dataclass(frozen=True)
class Pictures:
    """Drawn scenes."""

    frames: Tensor  # uint8 (N, 3, H, W)
    ids: Tensor  # uint8 (N, H, W), class of the object at each pixel
    objects: Tensor  # int64 (M, 2): picture, class id


def draw_pictures(
    rng: np.random.Generator,
    count: int,
    class_ids: Sequence[int] = range(1, len(TOY_NAMES) + 1),
    size: tuple[int, int] = TOY_SIZE,
) -> Pictures:
    """Draw `count` scenes of 2 to 4 objects of the given classes, one picture of each."""
    frames, ids, objects = [], [], []
    for number in range(count):
        classes = rng.choice(class_ids, rng.integers(2, 5), replace=False)
        scene = draw_scene(rng, classes.tolist(), size, seconds=4)
        frame, seen = render(scene, rng.uniform(0, 4, 1))
        frames.append(frame[0])
        ids.append(seen[0])
        objects += [(number, i) for i in classes if (seen == i).sum() > 0]
    return Pictures(
        torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(np.stack(ids)),
        torch.tensor(np.array(objects)),
    )


def cut(frames: Tensor, masks: Tensor, whole: Tensor) -> Tensor:
    """Cut squares from the left-top corners of soft masks, black outside the masks.

    Args:
        frames: (N, 3, H, W), 0..255.
        masks: (N, H, W), 0..1; each exceeds 0.5 somewhere.
        whole: bool (N,), crops that are not blackened.

    Returns:
        float (N, 3, S, S) in [0, 1].
    """
    boxes = masks_to_boxes(masks > 0.5)
    side = (boxes[:, 2:] - boxes[:, :2] + 1).amax(1, keepdim=True)
    rois = torch.cat([torch.arange(len(boxes))[:, None], boxes[:, :2], boxes[:, :2] + side], 1)
    both = torch.cat([frames.float() / 255, masks[:, None]], 1)
    size = ARCHITECTURE["vision_cfg"]["image_size"]
    crops = roi_align(both, rois, size, sampling_ratio=-1, aligned=False)
    return crops[:, :3] * torch.where(whole[:, None, None, None], 1.0, crops[:, 3:])


def train_toy_clip(
    folder: Path, *, seed: int = 0, steps: int = STEPS, pictures: int = PICTURES
) -> None:
    """Train the stand-in; write `toy_clip.json` (open_clip's form) and `toy_clip.pt` (weights).

    Args:
        folder: where to; weights that are there are kept.
        seed: of scenes, crops and start weights.
        steps: optimiser steps.
        pictures: scenes to draw, if the steps need as many.
    """
    if (folder / "toy_clip.pt").exists():
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build()
        rng = np.random.default_rng([seed, _STREAM])
        _fit(model, draw_pictures(rng, min(pictures, steps * BATCH)), steps)
    write_json(folder / "toy_clip.json", ARCHITECTURE)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / "toy_clip.pt") as path:
        torch.save(weights, path)


def _build() -> open_clip.CLIP:
    """Build the model with start values that learn a third faster here than open_clip's."""
    model = open_clip.CLIP(**ARCHITECTURE)
    for module in model.visual.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.ones_(module.bn3.weight)  # residual branches that take part at once
    torch.nn.init.normal_(model.token_embedding.weight, std=TOKEN_STD)  # words that differ at once
    return model


def _fit(model: open_clip.CLIP, pictures: Pictures, steps: int) -> None:
    length = ARCHITECTURE["text_cfg"]["context_length"]
    tokenizer = open_clip.SimpleTokenizer(context_length=length)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15
    )
    model.to(memory_format=torch.channels_last).train()  # a third faster on the CPU
    with trange(steps, desc="toy CLIP", unit="step") as progress:
        for step in progress:
            images, classes = draw_crops(pictures, BATCH)
            texts = [*_KNOWN, *BACKGROUND_NAMES, *_draw_strangers()]
            text = F.normalize(model.encode_text(tokenizer(_draw_captions(texts))), dim=-1)
            image = F.normalize(model.encode_image(images), dim=-1)
            scale = FIRST_SCALE * (LAST_SCALE / FIRST_SCALE) ** min(1, 2 * step / steps)
            loss = contrastive_loss(scale * image @ text.t(), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")
    model.logit_scale.data.fill_(float(np.log(LAST_SCALE)))
    model.eval()


def draw_crops(pictures: Pictures, count: int) -> tuple[Tensor, Tensor]:
    """Cut random crops.

    Returns:
        normalised images (count, 3, S, S), and class ids (count,), 0 where no object is in.
    """
    index, classes = pictures.objects[torch.randint(len(pictures.objects), (count,))].unbind(1)
    frames, ids = pictures.frames[index], pictures.ids[index]
    masks = rough_masks((ids == classes[:, None, None]).float())
    kind = torch.rand(count)
    bare, usable = bare_masks(masks, ids == 0)
    empty = (kind < BARE) & usable
    masks = torch.where(empty[:, None, None], bare, masks)
    crops = cut(frames, masks, kind > 1 - WHOLE)
    return (crops - _MEAN) / _STD, classes.masked_fill(empty, 0)


def contrastive_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Pull crops to their captions.

    A crop must pick its name, shape and colour among all of these and the background names; each
    name must pick its crops; a right name must beat the background names by itself, and where all
    right names are left out of the vocabulary, the background names must win.

    Args:
        logits: (N, K) of the toy names, shapes, colours, background names, other names.
        classes: (N,) ids, 0 for background.
    """
    sizes = [len(TOY_NAMES), len(TOY_SHAPES), len(TOY_COLORS), len(BACKGROUND_NAMES)]
    *groups, background, strangers = logits.split([*sizes, logits.shape[1] - sum(sizes)], 1)
    truths = _TRUTHS[classes].split(sizes[:3], 1)
    empty = (classes == 0).float()[:, None].expand_as(background) / background.shape[1]
    loss = logits.new_zeros(())
    for group, truth in zip(groups, truths, strict=True):
        choices, truth = torch.cat([group, background], 1), torch.cat([truth, empty], 1)
        loss = loss + F.cross_entropy(choices, truth)
    by_name = F.log_softmax(groups[0], 0)
    loss = loss - 0.5 * (by_name * truths[0]).sum() / truths[0].sum().clamp(min=1)
    alone = torch.cat([*groups, strangers], 1) - background.logsumexp(1, keepdim=True)
    right = torch.cat([*truths, torch.zeros_like(strangers)], 1) > 0
    wrong = alone.masked_fill(right, -torch.inf).logsumexp(1)
    return loss + F.softplus(-alone[right]).mean() + F.softplus(wrong).mean()


def _truths() -> Tensor:
    """Which of the known names are right for each class: (1 + K, names, shapes and colours)."""
    rows = [[0.0] * len(_KNOWN)]
    for i, name in enumerate(TOY_NAMES, start=1):
        rows.append([float(word in (name, shape_of(i), color_of(i))) for word in _KNOWN])
    return torch.tensor(rows)


_TRUTHS = _truths()


def _draw_strangers() -> list[str]:
    return [AVSBENCH_NAMES[i] for i in torch.randperm(len(AVSBENCH_NAMES))[:STRANGERS]]


def _draw_captions(names: list[str]) -> list[str]:
    choice = torch.randint(len(PROMPTS), (len(names),))
    return [PROMPTS[i].format(name) for i, name in zip(choice, names, strict=True)]
