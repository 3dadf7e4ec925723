"""Models to time: variants of one model that share its weights, and clips to feed them.

Shapes: Q queries, T frames, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
        name: what the tables say.
        opts: pairs KEY VALUE that make it out of the config.
        every_query: CLIP sees every query, as in the released system, not those alone that can be
            painted.
    """

    name: str
    opts: tuple = ()
    every_query: bool = False


def build(config_file: str, opts: Sequence = (), *, weights: bool = True) -> OVAVSS:
    """A model in evaluation mode, without gradients; with its weights, or with random ones."""
    cfg = load_config(config_file, [str(x) for x in opts])
    torch.manual_seed(0)
    model = build_model(cfg)
    if weights:
        load_weights(model, cfg)
    return model.eval().requires_grad_(False)


def build_variant(model: OVAVSS, config_file: str, opts: Sequence, variant: Variant) -> OVAVSS:
    """A variant of a model that has been built from the same config; it shares all weights."""
    other = build(config_file, [*opts, *variant.opts], weights=False)
    other.backbone, other.audio_encoder = model.backbone, model.audio_encoder
    other.sem_seg_head = model.sem_seg_head
    other.classifier.text_head = model.classifier.text_head
    other.classifier.clip.model = model.classifier.clip.model
    other.set_vocabulary(model.vocabulary)
    if variant.every_query:
        keep_every_query(other)
    return other


def keep_every_query(model: OVAVSS) -> None:
    """Have every query named, whether it can be painted or not."""
    painter = model.postprocessor

    def select_by_objectness(objectness: Tensor) -> Tensor:
        return torch.ones_like(objectness, dtype=torch.bool)

    def select_by_mask(mask_logits: Tensor, has_sound: Tensor) -> Tensor:
        return mask_logits.new_ones(len(mask_logits), dtype=torch.bool)

    painter.select_by_objectness = select_by_objectness  # type: ignore[method-assign]
    painter.select_by_mask = select_by_mask  # type: ignore[method-assign]


def random_clip(size: tuple[int, int], frames: int, seed: int = 0) -> dict:
    """Noise to see and to hear, in the mapper's form; noise is as much work as a film."""
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
    """Mask logits (Q, T, H, W) of discs that drift, a fifth of the frame's height wide."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    radius = height / 10
    start = torch.rand(queries, 2, generator=generator)
    drift = 0.1 * (torch.rand(queries, 2, generator=generator) - 0.5)
    at = (start[:, None] + torch.arange(frames)[:, None] * drift[:, None]).clamp(0, 1)
    y = torch.arange(height)[:, None] - at[..., 0, None, None] * (height - 1)
    x = torch.arange(width) - at[..., 1, None, None] * (width - 1)
    return (radius - (x.square() + y.square()).sqrt()) / 2
