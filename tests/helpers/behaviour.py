"""What a runtime does with small inputs: recorded from Detectron2, compared with the one that runs.

Run as a script it prints the facts of the runtime that is installed, as JSON; `behaviour.json` in
`tests/fixtures/detectron2` was made in this way.
"""

import itertools
import json
import logging
import math
import sys

import numpy as np
import torch

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)

SIZES = [(480, 640), (640, 480), (333, 500), (100, 1333), (1080, 1920), (7, 9), (51, 50)]


def samplers():
    """First indices of every training sampler, and the shares at test time."""
    from detectron2.data import samplers as made

    factors = torch.tensor([1.0, 2.5, 1.2, 3.0])
    found = {
        "training": made.TrainingSampler(7, seed=3),
        "training in order": made.TrainingSampler(5, shuffle=False, seed=3),
        "repeat factors": made.RepeatFactorTrainingSampler(factors, seed=11),
        "random subset": made.RandomSubsetTrainingSampler(20, 0.3, seed_shuffle=2, seed_subset=5),
    }
    first = {name: list(itertools.islice(sampler, 23)) for name, sampler in found.items()}
    return {**first, "inference": list(made.InferenceSampler(5))}


def picture(height=13, width=17, channels=3):
    """uint8 (height, width, channels) with every kind of edge, without random numbers."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return ((x * x * 7 + y * 31 + c * 53 + x * y * 3) % 256).astype(np.uint8)


def resizing():
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


def filled(module):
    """The module with weights that depend on their place alone."""
    with torch.no_grad():
        for i, (name, x) in enumerate(sorted(module.state_dict().items())):
            if not x.is_floating_point():
                continue
            wave = torch.sin(torch.arange(x.numel(), dtype=torch.float64) * 0.7 + i)
            scale = math.sqrt(2.0 / max(1, x[0].numel())) if x.dim() > 1 else 0.1
            shift = 1.0 if name.endswith(("norm.weight", "running_var")) else 0.0
            x.copy_((wave * scale + shift).reshape(x.shape))
    return module.eval()


@torch.no_grad()
def resnet_features():
    """Shapes, means and some values of ResNet's maps."""
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import build_resnet_backbone

    image = torch.from_numpy(picture(32, 64)).permute(2, 0, 1)[None].float() / 255
    found = {}
    for depth, in_1x1, norm in ((18, True, "BN"), (50, True, "FrozenBN"), (50, False, "FrozenBN")):
        cfg = get_cfg()
        keys = cfg.MODEL.RESNETS
        keys.DEPTH, keys.STRIDE_IN_1X1, keys.NORM = depth, in_1x1, norm
        keys.RES2_OUT_CHANNELS = 64 if depth == 18 else 256
        keys.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        net = filled(build_resnet_backbone(cfg, ShapeSpec(channels=3)))
        for name, x in net(image).items():
            some = x.flatten()[:: max(1, x.numel() // 5)][:5]
            found[f"{depth} {in_1x1} {norm} {name}"] = [*x.shape, x.mean().item(), *some.tolist()]
    return found


def printed_line():
    """What the printer of figures says, and what the JSON writer leaves."""
    from detectron2.utils.events import CommonMetricPrinter, EventStorage

    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("detectron2.utils.events")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with EventStorage(0) as storage:
            for step in range(3):
                storage.iter = step
                storage.put_scalars(total_loss=3.0 - step, loss_a=0.5 * step, data_time=0.25)
                storage.put_scalar("lr", 0.001, smoothing_hint=False)
                storage.put_scalar("time", 0.5)
            CommonMetricPrinter(max_iter=10).write()
            latest = {name: list(value) for name, value in storage.latest().items()}
            smoothed = {n: list(v) for n, v in storage.latest_with_smoothing_hint(20).items()}
    finally:
        log.removeHandler(handler)
    return {"line": said[-1].split("max_mem")[0], "latest": latest, "smoothed": smoothed}


def drawing():
    """Colours, and pixels of painted masks away from their edges."""
    from detectron2.data import MetadataCatalog
    from detectron2.utils.colormap import colormap
    from detectron2.utils.visualizer import GenericMask, Visualizer

    image = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[8:32, 12:44] = True
    painted = Visualizer(image).draw_binary_mask(
        mask.astype(np.uint8), color=(1.0, 0.0, 0.5), alpha=0.5, area_threshold=0
    )
    labels = mask.astype(np.int64)
    metadata = MetadataCatalog.get("behaviour_of_drawing")
    metadata.set(stuff_classes=["", ""], stuff_colors=[[0, 0, 0], [10, 200, 90]])
    named = Visualizer(image, metadata).draw_sem_seg(labels, area_threshold=10_000, alpha=0.7)
    generic = GenericMask(mask.astype(np.uint8), 40, 60)
    places = [(2, 2), (20, 28), (10, 14), (30, 42), (37, 55)]
    return {
        "colormap": colormap(rgb=True, maximum=255).astype(int).tolist()[:12],
        "mask": [painted.get_image()[place].tolist() for place in places],
        "labels": [named.get_image()[place].tolist() for place in places],
        "area": int(generic.area()),
        "box": [int(x) for x in generic.bbox()],
        "size": list(painted.get_image().shape),
    }


def schedules():
    """Parameter groups and steps of the optimiser that a config describes."""
    from detectron2.config import get_cfg
    from detectron2.solver import build_optimizer

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    cfg = get_cfg()
    cfg.SOLVER.BIAS_LR_FACTOR, cfg.SOLVER.WEIGHT_DECAY_BIAS = 2.0, 0.0
    optimizer = build_optimizer(cfg, model)
    return {
        "class": type(optimizer).__name__,
        "groups": [
            {key: value if key != "params" else len(value) for key, value in group.items()}
            for group in optimizer.param_groups
        ],
    }


FACTS = {
    "samplers": samplers,
    "resizing": resizing,
    "resnet features": resnet_features,
    "figures": printed_line,
    "drawing": drawing,
    "optimizer": schedules,
}


if __name__ == "__main__":
    import detectron2

    facts = {name: fact() for name, fact in FACTS.items()}
    json.dump({"recorded_from": f"Detectron2 {detectron2.__version__}"} | facts, sys.stdout)
