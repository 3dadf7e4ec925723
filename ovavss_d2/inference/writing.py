"""One video's results on disk: all of them at the end, or none.

Everything grows in a hidden folder beside its place and is moved there when it is whole. Decoding,
the model, painting and encoding run in threads of their own.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ovavss_d2.inference.contact_sheet import ContactSheet
from ovavss_d2.inference.mask_propagation import Follower, hold_results
from ovavss_d2.inference.outputs import LabelMaps, VisJson
from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.prefetch import Worker, ahead
from ovavss_d2.inference.results import FrameResult, Segment, Span, Timeline
from ovavss_d2.inference.timeline_strip import Strip
from ovavss_d2.media.source import Source
from ovavss_d2.media.video import VideoWriter
from ovavss_d2.vocabulary import display_name

logger = logging.getLogger(__name__)

OUTPUTS = ("video", "sheet", "labels", "json")
_ENDINGS = {"video": ".mp4", "sheet": ".jpg", "labels": "_labels", "json": ".json"}
_FRAMES_AHEAD = 4  # that wait between two threads

Report = Callable[[float, float], None]  # seconds done, seconds in all (0: not known)


@dataclass(frozen=True)
class Written:
    """What `write_results` left.

    Attributes:
        paths: of the outputs that were asked for.
        spans: what sounded from when to when.
    """

    paths: dict[str, Path]
    spans: tuple[Span, ...]


def output_paths(
    source: Source,
    folder: str | os.PathLike,
    outputs: Sequence[str] = OUTPUTS,
    partial: bool = False,
) -> dict[str, Path]:
    """Where the results of a source go.

    Raises:
        ValueError: no such output, or it would overwrite its input.
    """
    wrong = [output for output in outputs if output not in OUTPUTS]
    if wrong or not outputs:
        raise ValueError(f"outputs are {', '.join(outputs)}: expected some of {', '.join(OUTPUTS)}")
    stem = Path(source.path).resolve().stem + (".partial" if partial else "")
    paths = {output: Path(folder) / f"{stem}{_ENDINGS[output]}" for output in outputs}
    read = {Path(source.path).resolve()}
    if source.sound_source is not None:
        read.add(Path(source.sound_source.path).resolve())
    if any(path.resolve() in read for path in paths.values()):
        raise ValueError(f"'{source.path}' would be overwritten; choose another output folder")
    return paths


def write_results(
    source: Source,
    results: Iterator[FrameResult],
    folder: str | os.PathLike,
    *,
    names: Sequence[str],
    fps: float,
    outputs: Sequence[str] = OUTPUTS,
    keep_partial: bool = False,
    progress: Report | None = None,
) -> Written:
    """Write what `Segmenter.write` describes.

    Args:
        source: the video.
        results: of its segmented frames.
        folder: for the outputs.
        names: the vocabulary.
        fps: segmented frames a second.
        outputs: which of `OUTPUTS`.
        keep_partial: leave what is done when it fails or is interrupted.
        progress: called with the seconds done and in all.
    """
    paths = output_paths(source, folder, outputs)
    partial = output_paths(source, folder, outputs, partial=True)
    Path(folder).mkdir(parents=True, exist_ok=True)
    hidden = Path(folder) / f".{Path(source.path).resolve().stem}.{os.getpid()}.partial"
    hidden.mkdir()
    try:
        growing = _Growing(source, {o: hidden / path.name for o, path in paths.items()}, names, fps)
        try:
            _fill(growing, source, results, progress)
        except BaseException:
            if keep_partial:
                growing.rescue(partial)
            raise
        growing.finish()
        for output, path in paths.items():
            _move(growing.paths[output], path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Written(paths, tuple(growing.timeline.spans))


class _Growing:
    """The outputs of a video while they are made."""

    def __init__(self, source: Source, paths: dict[str, Path], names: Sequence[str], fps: float):
        self.paths = paths
        self.timeline = Timeline(1 / fps)
        self.painter = Painter(tuple(map(display_name, names)))
        self.labels = LabelMaps(paths["labels"], names) if "labels" in paths else None
        self.json, self.sheet = None, None
        if "json" in paths:
            self.json = VisJson(paths["json"], video=source.path, names=names, fps=fps)
        if "sheet" in paths:
            self.sheet = ContactSheet(paths["sheet"], colors=self.painter.colors)

    def add(self, result: FrameResult) -> None:
        self.timeline.add(result)
        if self.labels:
            self.labels.add(result)
        if self.json:
            self.json.add(result)
        if self.sheet:
            self.sheet.end = result.time + self.timeline.step
            self.sheet.add(result.time, self.painter.paint(result.image, result.segments))

    def finish(self) -> None:
        if self.json:
            self.json.finish()
        if self.sheet:
            self.sheet.write(self.timeline.spans)

    def rescue(self, partial: dict[str, Path]) -> None:
        """Leave what there is under names that say so."""
        try:
            self.finish()
        except (OSError, IndexError) as error:  # a full disk, or not one frame
            logger.warning("Not all of the partial results could be kept (%s).", error)
        for output, path in partial.items():
            if self.paths[output].exists():
                _move(self.paths[output], path)


def _fill(
    growing: _Growing, source: Source, results: Iterator[FrameResult], progress: Report | None
) -> None:
    with closing(ahead(results, 2)) as results:
        if "video" in growing.paths:
            _paint_video(growing, source, results, progress)
            return
        for result in results:
            growing.add(result)
            if progress is not None:
                progress(result.time + growing.timeline.step, source.duration)


def _paint_video(
    growing: _Growing, source: Source, results: Iterator[FrameResult], progress: Report | None
) -> None:
    painter, follower = growing.painter, Follower()
    sound = source.sound_source.seconds() if source.sound_source else ()
    path = growing.paths["video"]
    with ExitStack() as stack:
        strip = Strip(sound=sound, duration=source.duration, colors=painter.colors)
        writer = stack.enter_context(
            VideoWriter(
                path,
                rate=source.rate,
                sound_of=source,
                aspect=getattr(source, "aspect", Fraction(1)),
                keep_partial_as=path,
            )
        )
        encoder = stack.enter_context(Worker(writer.write, size=_FRAMES_AHEAD))
        frames = stack.enter_context(closing(ahead(source.frames(), _FRAMES_AHEAD)))
        current = None
        for time, image, fresh in hold_results(frames, results):
            for result in fresh:
                growing.add(result)
                current = result
                follower.start(result.image, _pieces(result))
            if image is None:
                break
            segments = [] if current is None else _carried(follower.carry(image), current.segments)
            painted = painter.paint(image, segments)
            strip.draw(painted, time, [segment.name for segment in segments])
            encoder.put(painted, time)
            if progress is not None:
                progress(time + 1 / source.rate, source.duration)


def _pieces(result: FrameResult) -> np.ndarray:
    """Each segment's number, from 1, on its pixels: int32 (H, W)."""
    pieces = np.zeros(result.label_map.shape, np.int32)
    for number, segment in enumerate(result.segments, start=1):
        pieces[segment.mask] = number
    return pieces


def _carried(pieces: np.ndarray, segments: Sequence[Segment]) -> list[Segment]:
    """Segments whose pixels are where their numbers are now; those out of sight are left out."""
    moved = [
        Segment(segment.name, segment.score, pieces == number)
        for number, segment in enumerate(segments, start=1)
    ]
    return [segment for segment in moved if segment.mask.any()]


def _move(path: Path, target: Path) -> None:
    """Give a file or folder its final name; a folder that was there before goes."""
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(path, target)
