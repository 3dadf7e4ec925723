"""From a video, or frames and sound in memory, to what sounds in each frame: the demo's and
everyone's way in.

    segmenter = Segmenter.from_config_file("configs/ovavss_toy.yaml", weights="model_final.pth")
    for frame in segmenter("video.mp4"):
        print(frame.time, [(segment.name, segment.score) for segment in frame.segments])

Shape letters: T frames, S samples of sound, H W pixels of a frame.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from detectron2.modeling import build_model
from torch import nn

from ovavss_d2.checkpoint import check_weight_files, config_for_use, load_weights
from ovavss_d2.data.augmentation import (
    ClipAugmentation,
    build_augmentations,
    transform_frames,
)
from ovavss_d2.data.media import released_examples, resample, seconds_at
from ovavss_d2.data.video import Video, open_video
from ovavss_d2.vocabulary import parse_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]  # frames done, frames in all (None: not known)


@dataclass(frozen=True)
class Segment:
    """A sounding object in one frame.

    Attributes:
        name: what it is.
        score: 0 to 1.
        mask: bool (H, W), the pixels that it is painted on; no pixel belongs to two segments.
    """

    name: str
    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class FrameResult:
    """What sounds in one frame.

    Attributes:
        index: its place among the segmented frames, from 0.
        time: seconds since the first frame.
        image: uint8 (H, W, 3) RGB.
        names: the vocabulary.
        label_map: int32 (H, W): 0 background, k the k-th of `names`.
        segments: the objects, best first.
    """

    index: int
    time: float
    image: np.ndarray
    names: tuple[str, ...]
    label_map: np.ndarray
    segments: tuple[Segment, ...]


class Segmenter:
    """A model with its vocabulary, applied to videos window by window in bounded memory."""

    def __init__(
        self,
        *,
        model: nn.Module,
        resize: ClipAugmentation,
        window: int,
        pairing: str = "time",
    ):
        """
        Args:
            model: takes clips and gives label maps, as the meta-architecture `OVAVSS` does.
            resize: brings frames to the model's size.
            window: frames that the model looks at together.
            pairing: "time" or "released", see MODEL.AUDIO.PAIRING.
        """
        self.model = model.eval()
        self.resize = resize
        self.window = window
        self.pairing = pairing

    @classmethod
    def from_config_file(
        cls,
        config_file: str | os.PathLike,
        *,
        weights: str | os.PathLike | None = None,
        vocabulary: str | Iterable[str] | None = None,
        threshold: float | None = None,
        opts: Sequence[str] = (),
    ) -> "Segmenter":
        """Build the model of a config file and load its weights.

        Args:
            config_file: path of a YAML file.
            weights: a checkpoint; None: the config's MODEL.WEIGHTS.
            vocabulary: names to look for (see `parse_vocabulary`); None: the config's, or else
                those of its test data set.
            threshold: paint what scores above it, 0 to 1; None: the config's.
            opts: pairs `KEY, VALUE, ...` that override the config.

        Raises:
            FileNotFoundError: the config or a weight file is missing.
            ValueError: no weights are named, the vocabulary is empty, or the threshold is out of
                range.
        """
        if weights is not None:
            opts = [*opts, "MODEL.WEIGHTS", os.fspath(weights)]
        cfg = config_for_use(os.fspath(config_file), opts)
        if threshold is not None:
            cfg.TEST.PAINT_THRESHOLD = float(threshold)
        if not 0 <= cfg.TEST.PAINT_THRESHOLD <= 1:
            raise ValueError(f"the threshold is {cfg.TEST.PAINT_THRESHOLD}, expected 0 to 1")
        if not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "no weights: name a checkpoint as MODEL.WEIGHTS path/to/model_final.pth"
            )
        if vocabulary is not None:
            cfg.MODEL.CLASSIFIER.VOCABULARY = list(parse_vocabulary(vocabulary))
        check_weight_files(cfg)
        model = build_model(cfg)
        load_weights(model, cfg)
        return cls(
            model=model,
            resize=ClipAugmentation(build_augmentations(cfg, is_train=False)),
            window=cfg.INPUT.SAMPLING_FRAME_NUM,
            pairing=cfg.MODEL.AUDIO.PAIRING,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The vocabulary."""
        return tuple(self.model.vocabulary)

    def set_vocabulary(self, vocabulary: str | Iterable[str]) -> None:
        """Look for other names from now on; see `parse_vocabulary` for what it takes."""
        self.model.set_vocabulary(parse_vocabulary(vocabulary))

    def __call__(
        self,
        video: str | os.PathLike | Video | np.ndarray,
        *,
        fps: float = 1.0,
        times: Sequence[float] | None = None,
        audio: np.ndarray | None = None,
        sample_rate: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[FrameResult]:
        """Segment a video file, or frames in memory.

        Args:
            video: a path, an opened `Video`, or frames, uint8 (T, H, W, 3) RGB.
            fps: of a file: how many frames a second are segmented.
            times: of frames in memory: T ascending seconds; None: 0, 1, 2, ...
            audio: of frames in memory: (S,) or (S, channels), int16 or float in [-1, 1], from time
                0 on; None is silence.
            sample_rate: of `audio`, in Hz.
            progress: called after every window with the frames done and in all.

        Returns:
            An iterator that works as it is read.

        Raises:
            FileNotFoundError: there is no such video.
            ValueError: it cannot be read, or the arguments contradict each other.
        """
        if isinstance(video, np.ndarray):
            frames = _timed_frames(video, times)
            return self._segment(frames, _mono(audio, sample_rate), len(video), progress)
        if not isinstance(video, Video):
            video = open_video(video)
        if not fps > 0:
            raise ValueError(f"fps is {fps}, expected a positive number of frames a second")
        total = max(1, round(video.duration * fps)) if video.duration else None
        return self._segment(video.frames(fps), _sound_of(video), total, progress)

    def _segment(
        self,
        frames: Iterator[tuple[float, np.ndarray]],
        audio: np.ndarray,
        total: int | None,
        progress: Progress | None,
    ) -> Iterator[FrameResult]:
        done = 0
        while window := list(islice(frames, self.window)):
            output = self._run_model(window, audio)
            yield from _results(window, output, done)
            done += len(window)
            if progress is not None:
                progress(done, total)

    @torch.no_grad()
    def _run_model(self, window: list[tuple[float, np.ndarray]], audio: np.ndarray) -> dict:
        times = [time for time, _ in window]
        images = [image for _, image in window]
        image = transform_frames(self.resize.draw(images[0]), images)
        seconds, valid = self._hear(audio, times)
        clip = {
            "image": torch.from_numpy(image),
            "audio": torch.from_numpy(seconds),
            "audio_valid": torch.from_numpy(valid),
            "times": times,
            "height": images[0].shape[0],
            "width": images[0].shape[1],
            "clip_seed": 0,
        }
        return self.model([clip])[0]

    def _hear(self, audio: np.ndarray, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
        """Sound (T, 16000) of frames at these times, and whether it is there (T,)."""
        if self.pairing == "released":
            return released_examples(audio, [round(time) for time in times])  # made for 1 fps
        return seconds_at(audio, times), np.ones(len(times), bool)


def _timed_frames(
    frames: np.ndarray, times: Sequence[float] | None
) -> Iterator[tuple[float, np.ndarray]]:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3)")
    times = range(len(frames)) if times is None else times
    if len(times) != len(frames):
        raise ValueError(f"{len(times)} times for {len(frames)} frames; give one a frame")
    return iter([(float(time), frame) for time, frame in zip(times, frames, strict=True)])


def _mono(audio: np.ndarray | None, sample_rate: int | None) -> np.ndarray:
    """Sound as float32 (S,) at 16 kHz."""
    if audio is None:
        return np.zeros(0, np.float32)
    if not sample_rate or sample_rate < 0:
        raise ValueError(f"sample_rate is {sample_rate}, expected the Hz of the given audio")
    if audio.dtype == np.int16:
        audio = audio / np.float32(32768)
    if audio.dtype.kind != "f" or audio.ndim not in (1, 2):
        raise ValueError(
            f"audio is {audio.dtype} {audio.shape}, expected int16 or float, (S,) or (S, channels)"
        )
    mono = audio if audio.ndim == 1 else audio.mean(axis=1)
    return resample(np.ascontiguousarray(mono, np.float32), sample_rate)


def _sound_of(video: Video) -> np.ndarray:
    if video.has_sound:
        return video.sound()
    logger.warning("'%s' has no sound: it is treated as silence.", video.path)
    return np.zeros(0, np.float32)


def _results(
    window: list[tuple[float, np.ndarray]], output: dict, first: int
) -> Iterator[FrameResult]:
    maps = output["label_map"].cpu().numpy()
    for i, (time, image) in enumerate(window):
        yield FrameResult(
            index=first + i,
            time=time,
            image=image,
            names=tuple(output["names"]),
            label_map=maps[i],
            segments=_visible_segments(output["segments"], i, maps[i]),
        )


def _visible_segments(
    segments: list[dict], frame: int, label_map: np.ndarray
) -> tuple[Segment, ...]:
    """Split a frame's label map among the painted pairs; a pixel belongs to the best one."""
    found = []
    free = label_map > 0
    for segment in segments:
        first, last = segment["window"]
        if not first <= frame < last:
            continue
        mask = (
            segment["masks"][frame - first].cpu().numpy() & free & (label_map == segment["label"])
        )
        if mask.any():
            free &= ~mask
            found.append(Segment(segment["name"], float(segment["score"]), mask))
    return tuple(found)
