"""Outputs of a runtime for small inputs, to compare with those recorded from Detectron2.

As a script it prints the outputs of the installed runtime as JSON. With Detectron2 itself it has
written `tests/fixtures/detectron2/behavior.json`.
"""

import itertools
import json
import sys
from typing import Any

import numpy as np
import torch

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)

SIZES = [(480, 640), (640, 480), (333, 500), (100, 1333), (1080, 1920), (7, 9), (51, 50)]


def samplers() -> dict[str, Any]:
    """First indices of the samplers."""
    from detectron2.data.samplers import InferenceSampler, TrainingSampler

    return {
        "training": list(itertools.islice(TrainingSampler(7, seed=3), 23)),
        "training in order": list(itertools.islice(TrainingSampler(5, shuffle=False, seed=3), 23)),
        "inference": list(InferenceSampler(5)),
    }


def picture(height: int = 13, width: int = 17, channels: int = 3) -> np.ndarray:
    """A pattern with many edges, uint8 (height, width, channels)."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return ((x * x * 7 + y * 31 + c * 53 + x * y * 3) % 256).astype(np.uint8)


def resizing() -> dict[str, Any]:
    """Output shapes of shortest-edge resizing, and pixels of the transforms."""
    from detectron2.data import transforms as T

    cases = itertools.product(SIZES, (240, 360, 800), (512, 1333))
    shapes = [T.ResizeShortestEdge.get_output_shape(*size, *limits) for size, *limits in cases]
    up, down = T.ResizeTransform(13, 17, 29, 23), T.ResizeTransform(13, 17, 6, 5)
    image = picture()
    return {
        "shapes": shapes,
        "up": up.apply_image(image).tolist(),
        "down": down.apply_image(image).tolist(),
        "gray": down.apply_image(image[..., 0]).tolist(),
        "float": down.apply_image(image[..., 0].astype(np.float32)).tolist(),
        "labels": up.apply_segmentation(image[..., 0]).tolist(),
        "points": up.apply_coords(np.array([[0.0, 0.0], [3.5, 2.0], [17.0, 13.0]])).tolist(),
        "flipped": T.HFlipTransform(17).apply_image(image).tolist(),
    }


def drawing() -> dict[str, Any]:
    """Colors, and pixels of drawn masks away from their edges."""
    from detectron2.data import MetadataCatalog
    from detectron2.utils.colormap import colormap
    from detectron2.utils.visualizer import GenericMask, Visualizer

    image = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[8:32, 12:44] = True
    drawn = Visualizer(image).draw_binary_mask(
        mask.astype(np.uint8), color=(1.0, 0.0, 0.5), alpha=0.5, area_threshold=0
    )
    labels = mask.astype(np.int64)
    metadata = MetadataCatalog.get("behavior_of_drawing")
    metadata.set(stuff_classes=["", ""], stuff_colors=[[0, 0, 0], [10, 200, 90]])
    named = Visualizer(image, metadata).draw_sem_seg(labels, area_threshold=10_000, alpha=0.7)
    generic = GenericMask(mask.astype(np.uint8), 40, 60)
    pixels = [(2, 2), (20, 28), (10, 14), (30, 42), (37, 55)]
    return {
        "colormap": colormap(rgb=True, maximum=255).astype(int).tolist()[:12],
        "mask": [drawn.get_image()[pixel].tolist() for pixel in pixels],
        "labels": [named.get_image()[pixel].tolist() for pixel in pixels],
        "area": int(generic.area()),
        "box": [int(x) for x in generic.bbox()],
        "size": list(drawn.get_image().shape),
    }


def optimizer() -> dict[str, Any]:
    """Class and parameter groups of the optimizer that a config describes."""
    from detectron2.config import get_cfg
    from detectron2.solver import build_optimizer

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    cfg = get_cfg()
    cfg.SOLVER.BIAS_LR_FACTOR, cfg.SOLVER.WEIGHT_DECAY_BIAS = 2.0, 0.0
    built = build_optimizer(cfg, model)
    return {
        "class": type(built).__name__,
        "groups": [
            {key: value if key != "params" else len(value) for key, value in group.items()}
            for group in built.param_groups
        ],
    }


FACTS = {fact.__name__: fact for fact in (samplers, resizing, drawing, optimizer)}


if __name__ == "__main__":
    import detectron2

    facts = {name: fact() for name, fact in FACTS.items()}
    json.dump({"recorded_from": f"Detectron2 {detectron2.__version__}"} | facts, sys.stdout)
