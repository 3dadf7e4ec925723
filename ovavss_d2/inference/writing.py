"""Writes the results of a video to disk: all of them at the end, or none.

The outputs are written to a hidden folder and moved together when they are complete. Decoding, the
model, painting and encoding run in separate threads.

Shape letters: H W pixels of a frame.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ovavss_d2.files import hidden_folder
from ovavss_d2.inference.contact_sheet import ContactSheet
from ovavss_d2.inference.mask_propagation import MaskPropagator, assign_results
from ovavss_d2.inference.outputs import LabelMapWriter, YouTubeVISWriter
from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.prefetch import background_calls, prefetch
from ovavss_d2.inference.replacing import (
    MARK,
    check_folder,
    check_not_inputs,
    check_replaceable,
    move_all,
)
from ovavss_d2.inference.results import FrameResult, Segment, Span, Timeline
from ovavss_d2.inference.timeline_strip import TimelineStrip
from ovavss_d2.media.source import ImageFiles, Source
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.vocabulary import display_name

logger = logging.getLogger(__name__)

_ENDINGS = {"video": ".mp4", "sheet": ".jpg", "labels": "_labels", "json": ".json"}
OUTPUTS = tuple(_ENDINGS)
_QUEUE_SIZE = 4  # frames between two threads

ProgressCallback = Callable[[float, float], None]  # seconds done, total seconds (0: not known)


@dataclass(frozen=True)
class WrittenResults:
    """The paths of the requested outputs, and when each name is painted and heard."""

    paths: dict[str, Path]
    spans: tuple[Span, ...]
    heard: tuple[Span, ...] = ()  # by an audio classifier


def output_paths(
    source: Source,
    folder: str | os.PathLike,
    outputs: Sequence[str] = OUTPUTS,
    *,
    keep_partial: bool = False,
    inputs: Sequence[Source] = (),
) -> dict[str, Path]:
    """The paths of a source's outputs, after a check that they can be written.

    Args:
        source, folder, outputs, keep_partial: see `Segmenter.write`.
        inputs: further sources whose files must not be overwritten.

    Raises:
        ValueError: an output is unknown, or would replace an input or what this program did not
            write; or the folder cannot be written to.
    """
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or not outputs:
        raise ValueError(f"outputs are {', '.join(outputs)}: expected some of {', '.join(OUTPUTS)}")
    name = _name_of(source)
    paths = {output: Path(folder) / f"{name}{_ENDINGS[output]}" for output in outputs}
    replaced = [*paths.values(), *(partial_paths(paths).values() if keep_partial else ())]
    check_folder(Path(folder))
    check_not_inputs(replaced, [file for each in (source, *inputs) for file in _files_of(each)])
    for path in replaced:
        check_replaceable(path)
    return paths


def partial_paths(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Where incomplete outputs are kept: `<name>.partial.*`."""
    return {
        output: path.with_name(f"{path.name.removesuffix(ending)}.partial{ending}")
        for output, path in paths.items()
        for ending in [_ENDINGS[output]]
    }


def check_names_differ(sources: Iterable[Source], *, with_partial: bool) -> None:
    """Check that the outputs of sources, which go to one folder, have different names.

    Raises:
        ValueError: two sources have the same.
    """
    names: dict[str, Source] = {}
    for source in sources:
        own = _name_of(source)
        for name in (own, f"{own}.partial") if with_partial else (own,):
            other = names.setdefault(name, source)
            if other is not source:
                raise ValueError(f"'{source.path}' and '{other.path}' would both become '{name}.*'")


def _name_of(source: Source) -> str:
    return Path(source.path).resolve().stem


def _files_of(source: Source) -> list[str]:
    audio = [source.audio_track.path] if source.audio_track is not None else []
    images = source.files if isinstance(source, ImageFiles) else ()
    return [source.path, *audio, *images]


def write_results(
    source: Source,
    results: Iterator[FrameResult],
    folder: str | os.PathLike,
    *,
    names: Sequence[str],
    fps: float,
    outputs: Sequence[str] = OUTPUTS,
    keep_partial: bool = False,
    progress: ProgressCallback = lambda done, total: None,
) -> WrittenResults:
    """Write the outputs of a video from the results of its segmented frames.

    See `Segmenter.write` for the arguments; `names` is the vocabulary.
    """
    paths = output_paths(source, folder, outputs, keep_partial=keep_partial)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with hidden_folder(folder) as hidden:
        new = {output: hidden / path.name for output, path in paths.items()}
        old = hidden / "old"
        old.mkdir()
        partial = PartialOutputs(source, new, names, fps)
        try:
            partial.write(results, progress)
        except BaseException:
            if keep_partial:
                partial.finish_early()
                kept = partial_paths(paths)
                move_all({new[o]: path for o, path in kept.items() if new[o].exists()}, old)
            raise
        move_all({new[output]: paths[output] for output in paths}, old)
    return WrittenResults(paths, tuple(partial.timeline.spans), tuple(partial.heard.spans))


class PartialOutputs:
    """The outputs of a video while they are being written."""

    def __init__(self, source: Source, paths: dict[str, Path], names: Sequence[str], fps: float):
        self.timeline, self.heard = Timeline(1 / fps), Timeline(1 / fps)
        self._source = source
        self._paths = paths
        self._painter = Painter(tuple(map(display_name, names)))
        self._writers: list[LabelMapWriter | YouTubeVISWriter | ContactSheet] = []
        if "labels" in paths:
            self._writers += [LabelMapWriter(paths["labels"], names)]
        if "json" in paths:
            missing = source.missing_seconds
            self._writers += [YouTubeVISWriter(paths["json"], source.path, names, fps, missing)]
        if "sheet" in paths:
            self._writers += [ContactSheet(paths["sheet"], self._painter)]

    def write(self, results: Iterator[FrameResult], progress: ProgressCallback) -> None:
        """Write all results."""
        with closing(prefetch(results, 2)) as results:
            if "video" in self._paths:
                self._write_video(results, progress)
            else:
                for result in results:
                    self._add(result)
                    progress(self.timeline.end, self._source.duration)
        self._finish()

    def finish_early(self) -> None:
        """Make the incomplete outputs readable."""
        try:
            self._finish()
        except (OSError, IndexError) as error:  # a full disk, or no frame at all
            logger.warning("Not all of the partial results could be kept (%s).", error)

    def _add(self, result: FrameResult) -> None:
        self.timeline.add(result.time, result.scores())
        self.heard.add(result.time, result.heard)
        for writer in self._writers:
            writer.add(result)

    def _finish(self) -> None:
        for writer in self._writers:
            writer.finish(self.timeline)

    def _write_video(self, results: Iterator[FrameResult], progress: ProgressCallback) -> None:
        source, path, propagator = self._source, self._paths["video"], MaskPropagator()
        audio = source.audio_track.seconds() if source.audio_track else ()
        strip = TimelineStrip(audio=audio, duration=source.duration, colors=self._painter.colors)
        video_writer = VideoWriter(
            path,
            rate=source.rate,
            audio_track=source.audio_track,
            aspect=source.aspect,
            keep_partial_as=path,
            comment=MARK,
        )
        with (
            video_writer as writer,
            background_calls(writer.write, size=_QUEUE_SIZE) as write,
            closing(prefetch(source.frames(), _QUEUE_SIZE)) as frames,
        ):
            current: tuple[Segment, ...] = ()
            for time, image, new_results in assign_results(frames, results):
                for result in new_results:
                    self._add(result)
                    current = result.segments
                    propagator.start(result.image, _segment_numbers(result))
                if image is None:
                    break
                segments = _moved(current, propagator.propagate(image)) if current else []
                painted = self._painter.paint(image, segments)
                strip.draw(painted, time, [segment.name for segment in segments])
                write(painted, time)
                progress(time + 1 / source.rate, source.duration)


def _segment_numbers(result: FrameResult) -> np.ndarray:
    """The number of the segment of each pixel, from 1; 0 is background: int32 (H, W)."""
    numbers = np.zeros(result.label_map.shape, np.int32)
    for number, segment in enumerate(result.segments, start=1):
        numbers[segment.mask] = number
    return numbers


def _moved(segments: Sequence[Segment], numbers: np.ndarray) -> list[Segment]:
    """Segments with the masks that the numbers of another frame give; empty ones are left out."""
    moved = [replace(segment, mask=numbers == i) for i, segment in enumerate(segments, start=1)]
    return [segment for segment in moved if segment.mask.any()]
