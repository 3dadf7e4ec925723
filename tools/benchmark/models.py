"""Models to time and inputs for them. Shapes: Q queries, T frames, H W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import Tensor

from ovavss_d2.config import load_config
from ovavss_d2.modeling.meta_arch import OVAVSS
from ovavss_d2.weights.checkpoint import load_weights


@dataclass(frozen=True)
class Variant:
    """One way to run the model.

    Attributes:
        name: label in the tables.
        opts: pairs KEY VALUE that differ from the config.
        name_all: CLIP names every query, as in the released system, not only paintable ones.
    """

    name: str
    opts: tuple = ()
    name_all: bool = False


def build(config_file: str, opts: Sequence = (), *, weights: bool = True) -> OVAVSS:
    """A model in evaluation mode, without gradients, with its weights or random ones."""
    cfg = load_config(config_file, [*map(str, opts), "MODEL.EMBEDDING_CACHE", ""])
    torch.manual_seed(0)
    model = build_model(cfg)
    if weights:
        load_weights(model, cfg)
    return model.eval().requires_grad_(False)


def build_variant(model: OVAVSS, config_file: str, opts: Sequence, variant: Variant) -> OVAVSS:
    """A variant of a model built from the same config; it shares all weights."""
    other = build(config_file, [*opts, *variant.opts], weights=False)
    other.backbone, other.audio_encoder = model.backbone, model.audio_encoder
    other.sem_seg_head = model.sem_seg_head
    other.classifier.text_head = model.classifier.text_head
    other.classifier.clip.model = model.classifier.clip.model
    other.set_vocabulary(model.vocabulary)
    if variant.name_all:
        name_queries(other)
    return other


def name_queries(model: OVAVSS, count: int | None = None) -> None:
    """Make a model name its first queries (None: all), even if they cannot be painted."""

    def select_by_objectness(objectness: Tensor) -> Tensor:
        limit = len(objectness) if count is None else count
        return torch.arange(len(objectness), device=objectness.device) < limit

    def select_by_mask(mask_logits: Tensor, has_sound: Tensor) -> Tensor:
        return mask_logits.new_ones(len(mask_logits), dtype=torch.bool)

    processor = model.postprocessor
    processor.select_by_objectness = select_by_objectness  # type: ignore[method-assign]
    processor.select_by_mask = select_by_mask  # type: ignore[method-assign]


def random_clip(size: tuple[int, int], frames: int, seed: int = 0) -> dict[str, Any]:
    """A clip of noise, as the mapper returns it; the content does not change the time."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (frames, 3, *size), generator=generator).byte(),
        "audio": 0.1 * torch.randn(frames, 16000, generator=generator),
        "audio_valid": torch.ones(frames, dtype=torch.bool),
        "times": [float(t) for t in range(frames)],
        "height": size[0],
        "width": size[1],
        "clip_seed": seed,
    }


def discs(queries: int, frames: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Mask logits (Q, T, H, W) of moving discs with a diameter of a fifth of the height."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    start = torch.rand(queries, 1, 2, generator=generator)
    step = 0.1 * (torch.rand(queries, 1, 2, generator=generator) - 0.5)
    centers = (start + torch.arange(frames)[:, None] * step).clamp(0, 1)
    y = torch.arange(height)[:, None] - centers[..., 0, None, None] * (height - 1)
    x = torch.arange(width) - centers[..., 1, None, None] * (width - 1)
    return (height / 10 - (x.square() + y.square()).sqrt()) / 2
