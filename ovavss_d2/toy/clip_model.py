"""The CLIP stand-in of generated data sets: a small open_clip model, trained on captioned crops.

Like CLIP, it knows the names of all classes, including the novel ones, but no audio. It is trained
on crops of separate scenes with imperfect masks, and is used by the same code as CLIP.

Shapes: N crops or scenes, M objects, K texts, H W pixels, S the image tower's input size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from timm.data.constants import IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes, roi_align
from tqdm import trange

from ovavss_d2.files import write_json, write_torch
from ovavss_d2.toy.masks import background_masks, rough_masks
from ovavss_d2.toy.scene import TOY_SIZE, draw_scene, render
from ovavss_d2.toy.source import Source
from ovavss_d2.vocabulary import AVSBENCH_NAMES, BACKGROUND_NAMES, PROMPTS, synonyms_of

IMAGE_SIZE, CONTEXT_LENGTH = 64, 24
BATCH = 128  # crops per step
FROZEN_BLOCKS = 3  # of a pretrained tower, with its stem: they keep their weights; a third faster
FIRST_SCALE, LAST_SCALE = 14.0, 100.0  # of the cosines; the classifiers use 100
UNMASKED, EMPTY = 0.1, 0.2  # shares of crops without a mask, and without an object
SILENT = 0.35  # share of objects that never sound in scenes, if a source has such
DISTRACTORS = 16  # names per step that fit no crop; fewer if a source has some of them
WEIGHT_DECAY, TEXT_RATE = 0.05, 2e-3
TOKEN_STD = 0.3  # of the initial token embeddings

_STREAM = 99  # of random numbers, separate from the data set's


@dataclass(frozen=True)
class ClipSettings:
    """The size of the model, and its training.

    Attributes:
        scenes: number of still scenes, at most one per crop.
        steps: optimizer steps.
        rate: learning rate.
        embed_dim: size of the embeddings.
        trunk: timm's name of an EfficientNet as the image tower; empty: a small ResNet.
        text_steps: steps in which the text tower alone learns a random embedding for each caption;
            with many names, the images are learned in half the time after that.
    """

    scenes: int = 2500
    steps: int = 520
    rate: float = 2e-3
    embed_dim: int = 64
    trunk: str = ""
    text_steps: int = 0

    def architecture(self) -> dict:
        """In open_clip's format."""
        resnet = {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
        trunk = {"timm_model_name": self.trunk, "timm_pool": "avg", "timm_proj": "linear"}
        return {
            "embed_dim": self.embed_dim,
            "quick_gelu": True,
            "vision_cfg": {"image_size": IMAGE_SIZE, **(trunk if self.trunk else resnet)},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": 49408,
                "width": 64,
                "heads": 2,
                "layers": 2,
            },
        }

    def color_statistics(self) -> dict[str, tuple[float, float, float]]:
        """Mean and standard deviation of RGB in [0, 1] that the image tower expects."""
        if self.trunk:  # as on ImageNet
            return {"mean": IMAGENET_INCEPTION_MEAN, "std": IMAGENET_INCEPTION_STD}
        return {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}


TOY_CLIP = ClipSettings()


class Captions:
    """The captions of a source, in groups: the names, and other descriptions.

    Attributes:
        words: of all groups, one group after the other.
        sizes: number of words of each group.
        truths: (1 + classes, words), 1 for the captions of a class; without an object none is.
    """

    def __init__(self, source: Source) -> None:
        groups = list(map(dict.fromkeys, zip(*source.captions, strict=True)))
        self.words = [word for group in groups for word in group]
        self.sizes = [len(group) for group in groups]
        rows = [[float(word in words) for word in self.words] for words in source.captions]
        self.truths = torch.tensor([[0.0] * len(self.words), *rows])


@dataclass(frozen=True)
class Scenes:
    """One frame of each of N scenes."""

    frames: Tensor  # uint8 (N, 3, H, W)
    ids: Tensor  # uint8 (N, H, W), class ids
    objects: Tensor  # int64 (M, 2): scene index, class id


def draw_scenes(
    source: Source,
    rng: np.random.Generator,
    count: int,
    class_ids: Sequence[int],
    size: tuple[int, int] = TOY_SIZE,
) -> Scenes:
    """Draw `count` still scenes of 2 to 4 objects of the given classes.

    If some of these never sound, their share of the objects is about `SILENT`.
    """
    frames, ids, objects = [], [], []
    silent, shares = np.isin(class_ids, source.silent_ids), None
    if silent.any():
        shares = np.where(silent, SILENT / silent.sum(), (1 - SILENT) / (~silent).sum())
    for number in range(count):
        classes = rng.choice(class_ids, rng.integers(2, 5), replace=False, p=shares)
        scene = draw_scene(source, rng, classes.tolist(), size, seconds=4)
        frame, visible = render(scene, rng.uniform(0, 4, 1))
        frames.append(frame[0])
        ids.append(visible[0])
        objects += [(number, i) for i in classes if (visible == i).any()]
    return Scenes(
        torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(np.stack(ids)),
        torch.tensor(np.array(objects)),
    )


def crop_squares(frames: Tensor, masks: Tensor, unmasked: Tensor) -> Tensor:
    """Crop squares from the top-left corners of soft masks, black outside the masks.

    Args:
        frames: (N, 3, H, W), 0..255.
        masks: (N, H, W), 0..1; each exceeds 0.5 somewhere.
        unmasked: bool (N,), crops that keep their background.

    Returns:
        float (N, 3, S, S) in [0, 1].
    """
    boxes = masks_to_boxes(masks > 0.5)
    side = (boxes[:, 2:] - boxes[:, :2] + 1).amax(1, keepdim=True)
    rois = torch.cat([torch.arange(len(boxes))[:, None], boxes[:, :2], boxes[:, :2] + side], 1)
    both = torch.cat([frames.float() / 255, masks[:, None]], 1)
    crops = roi_align(both, rois, IMAGE_SIZE, sampling_ratio=-1, aligned=False)
    return crops[:, :3] * torch.where(unmasked[:, None, None, None], 1.0, crops[:, 3:])


def train_clip(
    folder: Path,
    source: Source,
    settings: ClipSettings,
    *,
    seed: int = 0,
    size: tuple[int, int] = TOY_SIZE,
    load_trunk: Callable[[nn.Module], None] | None = None,
) -> None:
    """Train the stand-in on all classes of a source.

    It writes `<folder of the source>_clip.json` (open_clip's format) and `..._clip.pt` (weights).

    Args:
        folder: for both files; existing weights are kept.
        source: of the scenes; its silent objects are background.
        settings: of the model and its training.
        seed: of scenes, crops and initial weights.
        size: (H, W) of the scenes.
        load_trunk: loads weights into a timm image tower before training.
    """
    path = folder / f"{source.folder}_clip.pt"
    if path.exists():
        return
    steps = settings.steps
    class_ids = range(1, len(source.features) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(settings, load_trunk)
        rng = np.random.default_rng([seed, _STREAM])
        drawn = draw_scenes(source, rng, min(settings.scenes, steps * BATCH), class_ids, size)
        captions = Captions(source)
        _fit_texts(model, captions.words, min(steps, settings.text_steps))
        _fit(model, drawn, captions, settings)
    description = settings.architecture()
    if settings.trunk:
        colors = settings.color_statistics()
        description = {"model_cfg": description, "preprocess_cfg": colors}
    write_json(path.with_suffix(".json"), description)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_torch(path, weights)


def _build(
    settings: ClipSettings, load_trunk: Callable[[nn.Module], None] | None = None
) -> open_clip.CLIP:
    """Build the model with initial weights that learn a third faster than open_clip's."""
    model = open_clip.CLIP(**settings.architecture())
    for module in model.visual.modules():
        if isinstance(module, Bottleneck):
            nn.init.ones_(module.bn3.weight)  # residual branches are active at once
    nn.init.normal_(model.token_embedding.weight, std=TOKEN_STD)  # words differ at once
    if load_trunk:
        trunk = model.visual.trunk
        load_trunk(trunk)
        for module in trunk.conv_stem, trunk.bn1, trunk.blocks[:FROZEN_BLOCKS]:
            module.requires_grad_(False)
    return model


def _fit_texts(model: open_clip.CLIP, words: Sequence[str], steps: int) -> None:
    """Train the text tower to give each word a random direction, in any prompt.

    Background names have one direction, which no other word has.
    """
    if not steps:
        return
    targets = F.normalize(torch.randn(len(words) + 1, model.text_projection.shape[1]), dim=-1)
    targets = targets[[*range(len(words)), *[-1] * len(BACKGROUND_NAMES)]]
    words = [*words, *BACKGROUND_NAMES]
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)
    parameters = [p for name, p in model.named_parameters() if not name.startswith("visual.")]
    optimizer = torch.optim.AdamW(parameters, TEXT_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    with trange(steps, desc="CLIP stand-in: texts", unit="step") as progress:
        for _ in progress:
            text = F.normalize(model.encode_text(tokenizer(_draw_captions(words))), dim=-1)
            loss = (1 - (text * targets).sum(1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")


def _fit(model: open_clip.CLIP, scenes: Scenes, captions: Captions, settings: ClipSettings) -> None:
    steps = settings.steps
    known = {word for caption in captions.words for word in synonyms_of(caption)}
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in settings.color_statistics().values())
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, settings.rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=steps, pct_start=0.15
    )
    model.to(memory_format=torch.channels_last).train()  # a third faster on the CPU
    if settings.trunk:
        model.visual.eval()  # its batch norms keep ImageNet's statistics
    with trange(steps, desc="CLIP stand-in", unit="step") as progress:
        for step in progress:
            crops, classes = draw_crops(scenes, BATCH)
            classes = classes.masked_fill(classes >= len(captions.truths), 0)  # silent objects
            texts = [*captions.words, *BACKGROUND_NAMES, *_draw_distractors(known)]
            text = F.normalize(model.encode_text(tokenizer(_draw_captions(texts))), dim=-1)
            image = F.normalize(model.encode_image((crops - mean) / std), dim=-1)
            scale = FIRST_SCALE * (LAST_SCALE / FIRST_SCALE) ** min(1, 2 * step / steps)
            loss = contrastive_loss(scale * image @ text.t(), classes, captions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")
    model.logit_scale.data.fill_(float(np.log(LAST_SCALE)))
    model.eval()


def draw_crops(scenes: Scenes, count: int) -> tuple[Tensor, Tensor]:
    """Draw random crops.

    Returns:
        images (count, 3, S, S) in [0, 1], and class ids (count,), 0 without an object.
    """
    index, classes = scenes.objects[torch.randint(len(scenes.objects), (count,))].unbind(1)
    frames, ids = scenes.frames[index], scenes.ids[index]
    masks = rough_masks((ids == classes[:, None, None]).float())
    kind = torch.rand(count)
    moved, usable = background_masks(masks, ids == 0)
    empty = (kind < EMPTY) & usable
    masks = torch.where(empty[:, None, None], moved, masks)
    crops = crop_squares(frames, masks, kind > 1 - UNMASKED)
    return crops, classes.masked_fill(empty, 0)


def contrastive_loss(logits: Tensor, classes: Tensor, captions: Captions) -> Tensor:
    """Pull crops to their captions.

    The sum of: cross-entropy of each crop's caption of each group (in the toy world name, shape and
    color), against the others of the group and the background names; cross-entropy of each name
    over the crops; and two binary terms: a correct name scores above the background names, and
    without it these score above all other names.

    Args:
        logits: (N, K) of the captions, background names, distractors.
        classes: (N,) ids, 0 for background.
        captions: of all classes.
    """
    sizes = [*captions.sizes, len(BACKGROUND_NAMES)]
    *groups, background, distractors = logits.split([*sizes, logits.shape[1] - sum(sizes)], 1)
    truths = captions.truths[classes].split(captions.sizes, 1)
    empty = (classes == 0).float()[:, None].expand_as(background) / background.shape[1]
    loss = logits.new_zeros(())
    for group, truth in zip(groups, truths, strict=True):
        choices, truth = torch.cat([group, background], 1), torch.cat([truth, empty], 1)
        loss = loss + F.cross_entropy(choices, truth)
    by_name = F.log_softmax(groups[0], 0)
    loss = loss - 0.5 * (by_name * truths[0]).sum() / truths[0].sum().clamp(min=1)
    alone = torch.cat([*groups, distractors], 1) - background.logsumexp(1, keepdim=True)
    right = torch.cat([*truths, torch.zeros_like(distractors)], 1) > 0
    wrong = alone.masked_fill(right, -torch.inf).logsumexp(1)
    return loss + F.softplus(-alone[right]).mean() + F.softplus(wrong).mean()


def _draw_distractors(known: set[str]) -> list[str]:
    names = (AVSBENCH_NAMES[i] for i in torch.randperm(len(AVSBENCH_NAMES))[:DISTRACTORS])
    return [name for name in names if name not in known]


def _draw_captions(names: list[str]) -> list[str]:
    choice = torch.randint(len(PROMPTS), (len(names),))
    return [PROMPTS[i].format(_draw_word(name)) for i, name in zip(choice, names, strict=True)]


def _draw_word(name: str) -> str:
    """One of a name's synonyms."""
    words = synonyms_of(name)
    return words[int(torch.randint(len(words), ()))] if len(words) > 1 else words[0]
