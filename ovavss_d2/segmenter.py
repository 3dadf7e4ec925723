"""The segmenter: sounding objects of each frame of a video, or of frames and audio in memory.

    segmenter = Segmenter.from_config_file("configs/ovavss_toy.yaml", weights="model_final.pth")
    for frame in segmenter("video.mp4"):
        print(frame.time, [(segment.name, segment.score) for segment in frame.segments])
    segmenter.write("video.mp4", "output/demo")  # painted video, contact sheet, label maps, JSON

Shapes: T frames, S audio samples, H W pixels of a frame.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T

from ovavss_d2.data.augmentation import build_augmentation, transform_frames
from ovavss_d2.data.mapper import audio_context
from ovavss_d2.inference.prefetch import prefetch
from ovavss_d2.inference.results import FrameResult, Segment
from ovavss_d2.inference.writing import OUTPUTS, ProgressCallback, WrittenResults, write_results
from ovavss_d2.media.audio import finite
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.audio_pairing import (
    AudioContext,
    FrameAudio,
    FrameWithAudio,
    check_pairing,
    pair_frames,
)
from ovavss_d2.media.resampling import check_rate, resample
from ovavss_d2.media.source import Source, check_frame_rate, open_source
from ovavss_d2.modeling import build_model
from ovavss_d2.modeling.meta_arch import OVAVSS
from ovavss_d2.modeling.windows import split_windows
from ovavss_d2.vocabulary import display_name, parse_vocabulary
from ovavss_d2.weights.checkpoint import check_weight_files, load_inference_config, load_weights
from ovavss_d2.weights.pretrained import model_folder

__all__ = ["FrameResult", "Segment", "Segmenter"]

logger = logging.getLogger(__name__)


class Segmenter:
    """A model with its vocabulary, applied to videos window by window in bounded memory."""

    def __init__(
        self,
        *,
        model: OVAVSS,
        resize: T.Augmentation,
        window: int,
        pairing: str = "time",
        context: AudioContext | None = None,
    ):
        """
        Args:
            model: maps clips to label maps, as the meta-architecture `OVAVSS` does.
            resize: resizes frames for the model.
            window: frames that the model processes together.
            pairing: "time" or "released", see MODEL.AUDIO.PAIRING.
            context: audio around the frames that the model's audio classifier takes.
        """
        self.model = model.eval()
        self.resize = resize
        self.window = window
        self.pairing = check_pairing(pairing)
        self.context = context

    @classmethod
    def from_config_file(
        cls,
        config_file: str | os.PathLike,
        *,
        weights: str | os.PathLike | None = None,
        vocabulary: str | Iterable[str] | None = None,
        background: str | Iterable[str] | None = None,
        threshold: float | None = None,
        opts: Sequence[str] = (),
    ) -> "Segmenter":
        """Build the model of a config file and load its weights.

        Args:
            config_file: path of a YAML file, the name of a shipped one ("ovavss_R50.yaml"), or the
                folder of an exported model.
            weights: a checkpoint; None: the config's MODEL.WEIGHTS.
            vocabulary: names to recognize (see `parse_vocabulary`); None: the config's, or else
                those of its test data set.
            background: names that are recognized but never painted, in addition to the config's.
            threshold: objects with higher scores are painted, 0 to 1; None: the config's.
            opts: pairs `KEY, VALUE, ...` that override the config.

        Raises:
            FileNotFoundError: the config or a weight file is missing.
            ValueError: there are no weights, or an option is invalid.
        """
        if weights is not None:
            opts = [*opts, "MODEL.WEIGHTS", os.fspath(weights)]
        cfg = load_inference_config(os.fspath(config_file), opts)
        if threshold is not None:
            cfg.TEST.SCORE_THRESHOLD = float(threshold)
        _checked_threshold(cfg.TEST.SCORE_THRESHOLD)
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("no weights: set MODEL.WEIGHTS to a checkpoint")
        if vocabulary is not None:
            cfg.MODEL.CLASSIFIER.VOCABULARY = list(parse_vocabulary(vocabulary))
        if background is not None:
            known = cfg.MODEL.CLASSIFIER.BACKGROUND_NAMES
            cfg.MODEL.CLASSIFIER.BACKGROUND_NAMES = [*known, *parse_vocabulary(background)]
        check_weight_files(cfg)
        model = build_model(cfg)
        load_weights(model, cfg)
        return cls(
            model=model,
            resize=build_augmentation(cfg, is_train=False),
            window=cfg.INPUT.SAMPLING_FRAME_NUM,
            pairing=cfg.MODEL.AUDIO.PAIRING,
            context=audio_context(cfg),
        )

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, **options: Any) -> "Segmenter":
        """Build an exported model; it needs neither the configs nor the data it was trained with.

        Args:
            source: a folder or an archive of `tools/export_model.py`, the address of an archive, or
                "user/name" on the model hub.
            options: `vocabulary`, `background`, `threshold` and `opts`, as in `from_config_file`.

        Raises:
            FileNotFoundError: there is no such model.
            ValueError: it is damaged or of a newer version, or an option is invalid.
            OSError: a download failed.
        """
        with model_folder(source) as folder:
            return cls.from_config_file(folder, **options)

    @property
    def names(self) -> tuple[str, ...]:
        """The vocabulary; synonyms of a class are joined by "|"."""
        return tuple(self.model.vocabulary)

    @property
    def has_audio_classifier(self) -> bool:
        """Whether the model also takes names from sound."""
        return self.context is not None

    @property
    def threshold(self) -> float:
        """Objects with higher scores are painted."""
        return self.model.postprocessor.threshold

    def set_vocabulary(self, vocabulary: str | Iterable[str]) -> None:
        """Set the names to recognize; see `parse_vocabulary`."""
        self.model.set_vocabulary(parse_vocabulary(vocabulary))

    def set_threshold(self, threshold: float) -> None:
        """Set the score, 0 to 1, above which objects are painted."""
        self.model.postprocessor.threshold = _checked_threshold(threshold)

    def __call__(
        self,
        video: str | os.PathLike | Source | np.ndarray,
        *,
        fps: float = 1.0,
        times: Sequence[float] | None = None,
        audio: np.ndarray | None = None,
        sample_rate: int | None = None,
    ) -> Iterator[FrameResult]:
        """Segment a video, a folder of frames, an image, or frames in memory.

        Args:
            video: a path (see `open_source`), an opened source, or frames, uint8 (T, H, W, 3) RGB.
            fps: frames per second to segment, of a path or a source; at most its own rate.
            times: of frames in memory: T ascending seconds; None: 0, 1, 2, ...
            audio: of frames in memory: (S,) or (S, channels), int16 or float in [-1, 1], from time
                0 on; None: silence.
            sample_rate: of `audio`, in Hz.

        Returns:
            A lazy iterator; it keeps one window in memory, however long the video is.

        Raises:
            FileNotFoundError: the video does not exist.
            ValueError: it cannot be read, or the arguments are inconsistent.
        """
        if isinstance(video, np.ndarray):
            frames = _timed_frames(video, times)
            mono, rate = _mono(audio, sample_rate)
            return self._segment(self._pair(frames, lambda to: [resample(mono, rate, to)]))
        source = open_source(video) if isinstance(video, str | os.PathLike) else video
        return self._segment_source(source, _sampled_frames(source, fps)[0])

    def write(
        self,
        video: str | os.PathLike | Source,
        folder: str | os.PathLike,
        *,
        fps: float = 1.0,
        outputs: Sequence[str] = OUTPUTS,
        keep_partial: bool = False,
        progress: ProgressCallback = lambda done, total: None,
    ) -> WrittenResults:
        """Paint a video and write the results to a folder, as `demo/demo.py` does.

        Args:
            video: a path (see `open_source`), or an opened source.
            folder: for `<name>.mp4`, `<name>.jpg` (contact sheet), `<name>_labels/` (one PNG per
                segmented frame) and `<name>.json`; created if missing.
            fps: frames per second to segment, at most the video's own rate; masks are propagated to
                the frames between.
            outputs: some of "video", "sheet", "labels" and "json".
            keep_partial: after an error or an interruption, keep the partial results under
                `<name>.partial.*`; otherwise nothing is left.
            progress: called with the seconds of video done and in total (0: unknown).

        Returns:
            The paths written, and when each name is painted and heard.

        Raises:
            FileNotFoundError: the video does not exist.
            ValueError: it cannot be read or written.
        """
        source = open_source(video) if isinstance(video, str | os.PathLike) else video
        frames, fps = _sampled_frames(source, fps)
        return write_results(
            source,
            self._segment_source(source, frames),
            folder,
            names=self.names,
            fps=fps,
            outputs=outputs,
            keep_partial=keep_partial,
            progress=progress,
        )

    def _segment_source(
        self, source: Source, frames: Iterator[tuple[float, np.ndarray]]
    ) -> Iterator[FrameResult]:
        track = source.audio_track
        if track is None:
            logger.warning("'%s' has no sound: it is treated as silence.", source.path)
        paired = self._pair(frames, lambda rate: track.seconds(rate) if track else ())
        return self._segment(prefetch(paired, self.window))

    def _pair(
        self,
        frames: Iterator[tuple[float, np.ndarray]],
        audio_at: Callable[[int], Iterable[np.ndarray]],
    ) -> Iterator[FrameWithAudio]:
        """Pair frames with audio; `audio_at` gives the pieces of the audio at a rate."""
        context = self.context and FrameAudio(audio_at(self.context.rate), "time", self.context)
        return pair_frames(frames, FrameAudio(audio_at(SAMPLE_RATE), self.pairing), context)

    def _segment(self, frames: Iterator[FrameWithAudio]) -> Iterator[FrameResult]:
        done = 0
        for new, window in split_windows(frames, self.window):
            yield from _frame_results(window[-new:], self._run_model(window), done)
            done += new

    @torch.no_grad()
    def _run_model(self, window: list[FrameWithAudio]) -> dict:
        times, images, audio, valid, around = zip(*window, strict=True)
        clip = {
            "image": torch.from_numpy(transform_frames(self.resize(T.AugInput(images[0])), images)),
            "audio": torch.from_numpy(np.stack(audio)),
            "audio_valid": torch.tensor(valid),
            "times": list(times),
            "height": images[0].shape[0],
            "width": images[0].shape[1],
        }
        if self.context is not None:
            clip["audio_context"] = torch.from_numpy(np.stack(around))
        return self.model([clip])[0]


def _frame_results(
    frames: list[FrameWithAudio], output: dict, first_index: int
) -> Iterator[FrameResult]:
    """The model's output for the last frames of a window, frame by frame."""
    count = len(frames)
    label_maps = output["label_map"][-count:].cpu().numpy()
    segments = [
        (display_name(segment["name"]), segment["score"], segment["masks"][-count:].cpu().numpy())
        for segment in output["segments"]
    ]
    names = tuple(map(display_name, output["names"]))
    heard = output["heard"][-count:].tolist() if "heard" in output else [[]] * count
    for i, frame in enumerate(frames):
        yield FrameResult(
            index=first_index + i,
            time=frame.time,
            image=frame.image,
            names=names,
            label_map=label_maps[i],
            segments=tuple(
                Segment(name, score, masks[i]) for name, score, masks in segments if masks[i].any()
            ),
            heard=_probable(dict(zip(names, heard[i], strict=False))),
        )


def _probable(heard: dict[str, float]) -> dict[str, float]:
    """The names that are rather heard than not, best first."""
    names = sorted(heard, key=heard.__getitem__, reverse=True)
    return {name: heard[name] for name in names if heard[name] >= 0.5}


def _checked_threshold(threshold: float) -> float:
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is {threshold}, expected 0 to 1")
    return float(threshold)


def _sampled_frames(source: Source, fps: float) -> tuple[Iterator[tuple[float, np.ndarray]], float]:
    """The frames of a source to segment, and how many per second.

    No frame is segmented twice, except that one which is displayed for several seconds is segmented
    once a second, each time with the audio of that second.
    """
    highest = max(source.rate, 1.0)
    if check_frame_rate(fps, "fps") <= highest:
        return source.frames(fps), fps
    logger.warning(
        "'%s' has %.4g frames per second: %.4g are segmented, not %.4g.",
        *(source.path, source.rate, highest, fps),
    )
    return source.frames(None if source.rate >= 1 else highest), highest


def _timed_frames(
    frames: np.ndarray, times: Sequence[float] | None
) -> Iterator[tuple[float, np.ndarray]]:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3)")
    times = range(len(frames)) if times is None else times
    if len(times) != len(frames):
        raise ValueError(f"{len(times)} times for {len(frames)} frames, expected one per frame")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("the times of the frames are not ascending seconds; sort the frames")
    return zip(map(float, times), frames, strict=True)


def _mono(audio: np.ndarray | None, sample_rate: int | None) -> tuple[np.ndarray, int]:
    """Audio as float32 (S,), and its rate in Hz."""
    if audio is None:
        return np.zeros(0, np.float32), SAMPLE_RATE
    rate = check_rate(sample_rate, "sample_rate")
    if audio.dtype == np.int16:
        audio = audio / np.float32(32768)
    if audio.dtype.kind != "f" or audio.ndim not in (1, 2):
        raise ValueError(
            f"audio is {audio.dtype} {audio.shape}, expected int16 or float, (S,) or (S, channels)"
        )
    audio = finite(audio)
    mono = audio if audio.ndim == 1 else audio.mean(axis=1)
    return np.ascontiguousarray(mono, np.float32), rate
