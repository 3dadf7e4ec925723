"""Time, operations and memory of each stage of a clip. Shapes: T frames, Q queries, H W pixels."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ovavss_d2.media.video import open_video
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.modeling.mask_decoder import AudioVisualHead
from ovavss_d2.modeling.meta_arch import OVAVSS
from tools.benchmark.models import build, discs, random_clip
from tools.benchmark.timing import PeakMemory, measure

VIDEO = "benchmark.mp4"
CLASSIFIERS = ("crop", "dense", "query")


@torch.no_grad()
def stages(
    config_file: str,
    opts: Sequence,
    *,
    size: tuple[int, int],
    named: int,
    repeats: int,
    folder: Path,
) -> list[dict[str, Any]]:
    """Measure each stage of one clip.

    Args:
        config_file, opts: the model; its weights are random, which does not change the time.
        size: (H, W) of the frames.
        named: number of queries that are named.
        repeats: timed rounds.
        folder: for a temporary video.
    """
    model = build(config_file, opts, weights=False)
    rows = []
    for name, run in stage_functions(model, size=size, named=named, folder=folder).items():
        with PeakMemory() as memory:
            seconds = measure({name: run}, repeats=repeats, seconds=20)[name]
        with FlopCounterMode(display=False) as counter:
            run()
        rows.append(
            {
                "stage": name,
                "ms": 1e3 * seconds,
                "GFLOP": counter.get_total_flops() / 1e9,
                "host MiB": memory.host,
                "GPU MiB": memory.gpu,
            }
        )
    (folder / VIDEO).unlink()
    return rows


def stage_functions(
    model: OVAVSS, *, size: tuple[int, int], named: int, folder: Path
) -> dict[str, Callable[[], object]]:
    """A call for each stage of a clip, with its inputs prepared."""
    clip = random_clip(size, model.window)
    frames = model._normalize([clip])
    images = frames.tensor.flatten(0, 1)
    waveforms = clip["audio"].to(model.device)
    head = model.sem_seg_head
    assert isinstance(head, AudioVisualHead)
    features = model.backbone(images)
    audio = model.audio_encoder(waveforms, None)
    decoded = head.pixel_decoder(features, audio)
    queries = head.predictor(*decoded, 1)["pred_queries"][0, :1].expand(named, -1)
    masks = discs(named, model.window, frames.tensor.shape[-2:]).to(model.device)
    pixels = clip["image"].to(model.device)
    classifier, names = model.classifier, model.vocabulary

    def classify(choice: str) -> Callable[[], object]:
        def run() -> object:
            classifier.use(choice)
            return classifier.name_probabilities(queries, masks, pixels, names)

        return run

    number = itertools.count()

    def embed_names() -> object:  # new names each time, because embeddings are cached
        suffix = next(number)
        return classifier.clip.encode_text([f"{name} {suffix}" for name in names])

    def postprocess() -> object:
        return model.postprocessor(
            objectness=torch.ones(named, device=model.device),
            name_probabilities=torch.rand(named, len(names)).to(model.device),
            mask_logits=masks[..., : size[0], : size[1]],
            audio=waveforms,
            size=size,
            names=names,
        )

    choices = [c for c in CLASSIFIERS if c != "query" or classifier.text_head is not None]
    return {
        **video_functions(clip["image"].permute(0, 2, 3, 1).numpy(), folder),
        "audio": lambda: model.audio_encoder(waveforms, None),
        "backbone": lambda: model.backbone(images),
        "pixel decoder": lambda: head.pixel_decoder(features, audio),
        "mask decoder": lambda: head.predictor(*decoded, 1),
        f"text, {len(names)} names": embed_names,
        **{f"names by {choice}": classify(choice) for choice in choices},
        "post-processing": postprocess,
    }


def video_functions(images: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    """Encoding and decoding of the frames (T, H, W, 3) as a video at one frame per second."""
    path = folder / VIDEO
    even = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]

    def encode() -> None:
        with VideoWriter(path, rate=1) as writer:
            for frame in even:
                writer.write(frame)

    encode()
    return {"encode": encode, "decode": lambda: list(open_video(path).frames(1.0))}
