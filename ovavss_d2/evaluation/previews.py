"""Previews of a data set's videos and of training clips: frames with their true classes, over the
spectrogram of the audio.

Shape letters: T frames, H W pixels, S audio samples, K classes with background, h w of a drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np

from ovavss_d2.data.label_maps import VOID
from ovavss_d2.evaluation.truth import true_frames
from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.drawing import (
    GREEN,
    blank,
    pad,
    paint_classes,
    paste,
    resize_to_fit,
    stack,
    text_box,
)  # fmt: skip
from ovavss_d2.media.fonts import drawable_names
from ovavss_d2.media.images import read_image

MAX_FRAMES = 10  # of a video, evenly spaced
CELL = (96, 128)  # height and width of a frame
WIDTH = MAX_FRAMES * CELL[1]
SPECTROGRAM_HEIGHT = 72
TIMES_HEIGHT = 16
_WINDOW, _HOP = 512, 160  # samples
_LOUDEST, _QUIETEST = 0.0, -80.0  # dB of a full-scale sine
_TEXT_SIZE, _SMALL_TEXT_SIZE = 12, 10
_RED = (180, 0, 0)


@dataclass(frozen=True)
class Preview:
    """A video or a clip to draw."""

    caption: str
    faults: tuple[str, ...]  # problems of its data, drawn in red
    frames: Sequence[np.ndarray]  # T of uint8 (H, W, 3) RGB
    ids: Sequence[np.ndarray | None]  # T of uint8 (H, W); None: no ground truth
    audio: np.ndarray  # float32 (S,) at 16 kHz, from time 0 on
    times: Sequence[float]  # T seconds, marked on the spectrogram


def preview_video(record: dict, metadata: Any) -> Preview:
    """Read a video of `DatasetCatalog` and check its data; `metadata` is of `MetadataCatalog`."""
    truth = {i: ids * (ids != VOID) for i, ids in true_frames(record, metadata)}
    path = record["audio_file"]
    audio = np.zeros(0, np.float32) if path is None else read_audio(path)
    labels = drawable_names(metadata.names)
    names = [labels.get(name, name) for name in record["names"]]
    drawn = {labels[metadata.names[i - 1]] for ids in truth.values() for i in np.unique(ids) if i}
    named = set(names)
    faults = {
        "no audio file": path is None,
        "the audio is digital silence": path is not None and not audio.any(),
        f"named but never drawn: {', '.join(sorted(named - drawn))}": truth and named - drawn,
        f"drawn but not named: {', '.join(sorted(drawn - named))}": drawn - named,
        "no ground truth": not truth,
    }
    size = record["height"], record["width"]
    sounding = ", ".join(names) or "nothing"
    return Preview(
        caption=f"{record['video_id']} ({record['subset']}): {sounding}",
        faults=tuple(fault for fault, found in faults.items() if found),
        frames=[read_image(file, size) for file in record["file_names"]],
        ids=[truth.get(i) for i in range(len(record["file_names"]))],
        audio=audio,
        times=record["times"],
    )


def preview_clip(clip: dict) -> Preview:
    """Convert a training clip of `AVSClipMapper`; each frame is at the start of its audio."""
    ids = []
    for frame, labeled in zip(clip["instances"], clip["labeled"], strict=True):
        drawn = np.zeros(frame.image_size, np.uint8)
        for category, mask in zip(frame.gt_classes, frame.gt_masks.tensor.numpy(), strict=True):
            drawn[mask] = int(category) + 1
        ids.append(drawn if labeled else None)
    times = ", ".join(f"{time:g}" for time in clip["times"])
    return Preview(
        caption=f"{clip['video_id']} ({clip['subset']}), frames at {times} s",
        faults=(),
        frames=list(clip["image"].numpy().transpose(0, 2, 3, 1)),
        ids=ids,
        audio=clip["audio"].flatten().numpy(),
        times=list(range(len(ids))),
    )


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` of `count` items."""
    selected = min(count, limit)
    return [i * count // selected for i in range(selected)]


def draw_preview(preview: Preview, palette: np.ndarray) -> np.ndarray:
    """Draw at most `MAX_FRAMES` frames and the audio of a preview: uint8 (h, WIDTH, 3) RGB.

    `palette` has the colors of the classes, uint8 (K, 3).
    """
    drawn = evenly_spaced(len(preview.frames), MAX_FRAMES)
    cells = [_draw_cell(preview.frames[i], preview.ids[i], palette) for i in drawn]
    rows = [text_box(preview.caption, _TEXT_SIZE)]
    if preview.faults:
        rows.append(text_box("; ".join(preview.faults), _TEXT_SIZE, ink=_RED))
    audio = _draw_audio(preview.audio, [preview.times[i] for i in drawn])
    return stack([*rows, np.concatenate(cells, axis=1), audio], WIDTH)


def draw_spectrogram(audio: np.ndarray, seconds: float, height: int, width: int) -> np.ndarray:
    """Draw the spectrogram of the first seconds of audio, float32 (S,) in [-1, 1] at 16 kHz, with
    low frequencies at the bottom: uint8 (height, width, 3) RGB."""
    length = max(round(seconds * SAMPLE_RATE), _WINDOW)
    samples = np.zeros(length, np.float32)
    samples[: len(audio)] = audio[:length]
    hop = max(_HOP, length // (8 * width))  # a day of audio has no more windows than pixels need
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    decibels = 10 * np.log10(power / (_WINDOW / 4) ** 2 + 1e-12)
    level = np.clip((decibels - _QUIETEST) / (_LOUDEST - _QUIETEST), 0, 1)
    picture = cv2.resize(level.T[::-1], (width, height), interpolation=cv2.INTER_AREA)
    return (matplotlib.colormaps["magma"](picture)[..., :3] * 255).astype(np.uint8)


def _draw_cell(frame: np.ndarray, ids: np.ndarray | None, palette: np.ndarray) -> np.ndarray:
    picture = resize_to_fit(frame, CELL[0] - 2, CELL[1] - 2)
    if ids is None:
        paste(picture, pad(text_box("no ground truth", _SMALL_TEXT_SIZE), 16, CELL[1]), 0, CELL[0])
    else:
        picture = paint_classes(picture, ids, palette)
    return pad(picture, *CELL)


def _draw_audio(audio: np.ndarray, times: Sequence[float]) -> np.ndarray:
    """Draw the spectrogram as wide as the frames, with a line and the time of each frame."""
    width = CELL[1] * len(times)
    seconds = max(len(audio) / SAMPLE_RATE, max(times) + 1)
    picture = draw_spectrogram(audio, seconds, SPECTROGRAM_HEIGHT, width)
    labels = blank(TIMES_HEIGHT, width)
    for time in times:
        x = min(round(time / seconds * width), width - 1)
        picture[:, x] = labels[:, x] = GREEN
        paste(labels, text_box(f"{time:g} s", _SMALL_TEXT_SIZE), x + 1, 0)
    return np.concatenate([picture, labels])
