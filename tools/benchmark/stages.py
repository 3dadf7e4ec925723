"""Where the time of a clip goes, and the least that it must cost.

Shapes: T frames, Q queries, K names, H W pixels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ovavss_d2.media.video import open_video
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.modeling.mask_decoder import AudioVisualHead
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import build, discs, random_clip
from tools.benchmark.timing import PeakMemory, matmul_peak, measure

GIGA = 1e9
VIDEO = "benchmark.mp4"
CHOICES = ("crop", "dense", "query")


@torch.no_grad()
def stages(
    config_file: str,
    opts: Sequence,
    *,
    size: tuple[int, int],
    passing: int,
    repeats: int,
    folder: Path,
) -> list[dict]:
    """Seconds, operations and memory of each stage of one clip.

    Args:
        config_file, opts: the model; its weights are random, which changes no time.
        size: (H, W) of the frames.
        passing: queries that can be painted.
        repeats: timed rounds.
        folder: for a video that is written and read.
    """
    model = build(config_file, opts, weights=False)
    runs = stage_runs(model, size=size, passing=passing, folder=folder)
    peak = matmul_peak()
    rows = []
    for name, run in runs.items():
        with PeakMemory() as memory:
            timing = measure({name: run}, repeats=repeats, warm_up=1, seconds=20)[name]
        operations = operations_of(run)
        rows.append(
            {
                "stage": name,
                "ms": 1e3 * timing.median,
                "spread": timing.spread,
                "GFLOP": operations / GIGA,
                "of the peak": operations / timing.median / peak if operations else None,
                "host MiB": memory.host,
                "GPU MiB": memory.gpu,
            }
        )
    (folder / VIDEO).unlink()
    return rows


def operations_of(run: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attentions in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def stage_runs(
    model: OVAVSS, *, size: tuple[int, int], passing: int, folder: Path
) -> dict[str, Callable[[], object]]:
    """What to call for each stage of a clip; each has its inputs ready."""
    clip = random_clip(size, model.window)
    frames = model._normalize([clip])
    images = frames.tensor.flatten(0, 1)
    features = model.backbone(images)
    sound = clip["audio"].to(model.device)
    head = model.sem_seg_head
    assert isinstance(head, AudioVisualHead)  # its parts are the stages
    audio = model.audio_encoder(sound, None)
    fine, scales, heard = head.pixel_decoder(features, audio)
    outputs = head.predictor(fine, scales, heard, 1)
    masks = discs(passing, model.window, frames.tensor.shape[-2:]).to(model.device)
    queries = outputs["pred_queries"][0, :1].expand(passing, -1)
    classifier, names = model.classifier, model.vocabulary
    window = {"mask_logits": masks, "frames": clip["image"].to(model.device), "names": names}

    def name_by(choice):
        def run():
            classifier.choice = choice
            return classifier.name_probabilities(queries=queries, **window)

        return run

    def embed_names():
        classifier.clip._forget_names()
        classifier.clip.encode_text(names)

    def paint():
        scores = torch.rand(passing, len(names)).to(model.device)
        return model.postprocessor(
            objectness=torch.ones(passing, device=model.device),
            name_probabilities=scores,
            mask_logits=masks[..., : size[0], : size[1]],
            audio=sound,
            size=size,
            names=names,
        )

    choices = [c for c in CHOICES if c != "query" or classifier.text_head is not None]
    return {
        **video_runs(clip["image"].permute(0, 2, 3, 1).numpy(), folder),
        "audio": lambda: model.audio_encoder(sound, None),
        "backbone": lambda: model.backbone(images),
        "pixel decoder": lambda: head.pixel_decoder(features, audio),
        "mask decoder": lambda: head.predictor(fine, scales, heard, 1),
        f"text, {len(names)} names": embed_names,
        **{f"names by {choice}": name_by(choice) for choice in choices},
        "post-processing": paint,
    }


def video_runs(images: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    """Encoding and decoding of the frames (T, H, W, 3) as a video of one frame a second."""
    path = folder / VIDEO
    even = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]

    def encode():
        with VideoWriter(path, rate=1) as writer:
            for frame in even:
                writer.write(frame)

    encode()
    return {"encode": encode, "decode": lambda: list(open_video(path).frames(1.0))}


@torch.no_grad()
def passing_curve(
    config_file: str,
    opts: Sequence,
    *,
    size: tuple[int, int],
    counts: Sequence[int],
    repeats: int,
    seconds: float,
) -> list[dict]:
    """Seconds of a clip by the number of queries that pass, for each classifier.

    Args:
        config_file, opts: the model; its weights are random, which changes no time.
        size: (H, W) of the frames.
        counts: numbers of queries; they share one localisation.
        repeats, seconds: rounds, and the time after which no further one is started.
    """
    model = build(config_file, opts, weights=False)
    clip = random_clip(size, model.window)
    frames = model._normalize([clip])
    outputs = model._localize(frames, [clip])
    warm_up = int(torch.cuda.is_available())  # a GPU's first run of a size looks for algorithms
    timing = measure(
        {"": lambda: model._localize(frames, [clip])}, repeats=repeats, warm_up=warm_up
    )
    localise = timing[""].median
    model.classifier.clip.encode_text(model.vocabulary)
    rows = []
    for count in counts:
        masks = discs(count, model.window, frames.tensor.shape[-2:]).to(model.device)
        queries = outputs["pred_queries"][0, :1].expand(count, -1)
        runs = {c: naming(model, c, queries, masks, clip) for c in CHOICES}
        if model.classifier.text_head is None:
            del runs["query"]
        found = measure(runs, repeats=repeats, warm_up=warm_up, seconds=seconds)
        row = {"queries": count, "localise s": localise}
        for choice, took in found.items():
            row[f"{choice} s"] = took.median
            row[f"clip by {choice} s"] = localise + took.median
        rows.append(row)
    return rows


def naming(model: OVAVSS, choice: str, queries, masks, clip: dict) -> Callable[[], object]:
    """A call that names masks in one way."""

    def run():
        model.classifier.choice = choice
        return model.classifier.name_probabilities(
            queries, masks, clip["image"].to(model.device), model.vocabulary
        )

    return run
