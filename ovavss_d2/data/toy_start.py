"""Start weights for the toy world's backbone, as COCO's are for the real configurations.

The backbone learns to tell shape and colour of what each cell of its maps shows, on still pictures
of base classes alone: it sees no novel class and hears nothing.

Shapes: N pictures, C channels, h w cells of a map, H W pixels.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from ovavss_d2.data.toy_clip import draw_pictures
from ovavss_d2.files import atomic_path
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_COLORS, TOY_SHAPES

PICTURES = 3000
STEPS = 450
BATCH = 48
LEARNING_RATE = 3e-3
_STREAM = 97  # of random numbers, apart from the data set's


def train_toy_start(
    path: Path,
    backbone: nn.Module,
    *,
    mean: list[float],
    std: list[float],
    seed: int = 0,
    steps: int = STEPS,
    pictures: int = PICTURES,
) -> None:
    """Train a backbone and write its weights as a checkpoint of the project's form.

    Args:
        path: the file; one that is there is kept.
        backbone: pictures (N, 3, H, W) to a dict of maps (N, C, h, w).
        mean, std: of RGB in 0..255, as the model has them.
        seed: of scenes, batches and start values.
        steps: optimiser steps.
        pictures: scenes to draw, if the steps need as many.
    """
    if path.exists():
        return
    rng = np.random.default_rng([seed, _STREAM])
    scenes = draw_pictures(rng, min(pictures, steps * BATCH), TOY_BASE_IDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(backbone, scenes.frames, scenes.ids.long(), mean, std, steps)
    weights = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        torch.save({"model": weights}, draft)


def _fit(backbone: nn.Module, frames: Tensor, ids: Tensor, mean, std, steps: int) -> None:
    kinds = len(TOY_SHAPES) + 1, len(TOY_COLORS) + 1  # the first of each is background
    heads = nn.ModuleDict(
        {name: nn.Conv2d(s.channels, sum(kinds), 1) for name, s in backbone.output_shape().items()}
    )
    parameters = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    backbone.train()
    with trange(steps, desc="toy start weights", unit="step") as progress:
        for _ in progress:
            batch = torch.randint(len(frames), (BATCH,))
            maps = backbone((frames[batch] - mean) / std)
            loss = sum(
                _cell_loss(heads[name](maps[name]), ids[batch], kinds) for name in sorted(maps)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}")


def _cell_loss(logits: Tensor, ids: Tensor, kinds: tuple[int, int]) -> Tensor:
    """Cross-entropy of shape and of colour of each cell: logits (N, kinds, h, w), ids (N, H, W)."""
    cells = F.interpolate(ids[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0].long()
    shapes = torch.where(cells > 0, (cells - 1) % len(TOY_SHAPES) + 1, 0)
    colors = torch.where(cells > 0, (cells - 1) // len(TOY_SHAPES) + 1, 0)
    shape_logits, color_logits = logits.split(kinds, dim=1)
    return F.cross_entropy(shape_logits, shapes) + F.cross_entropy(color_logits, colors)
