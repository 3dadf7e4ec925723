"""User inputs: a video, a folder of frames, or an image, each with audio; and glob patterns."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ovavss_d2.media.audio import AudioTrack, open_audio
from ovavss_d2.media.images import open_image, read_image
from ovavss_d2.media.video import TIME_TOLERANCE, Source, open_video

IMAGE_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
)
AUDIO_ENDINGS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
_ANIMATED_FORMATS = ("AVIF", "PNG")  # whose animations FFmpeg decodes
STILL_RATE = 10.0  # frames per second of the video that is made of one image
STILL_SECONDS = 1.0  # duration of an image without audio
FRAME_RATES = (0.001, 1000.0)  # frames per second that can be asked for


def check_frame_rate(rate: float, name: str) -> float:
    """Return a rate in frames per second, or raise a ValueError if it is not in `FRAME_RATES`."""
    low, high = FRAME_RATES
    if not low <= rate <= high:
        raise ValueError(f"{name} is {rate}, expected {low:g} to {high:g} frames per second")
    return rate


@dataclass(frozen=True, kw_only=True)
class ImageFiles(Source):
    """Image files displayed one after the other, all resized to the size of the first."""

    files: tuple[str, ...]
    display_seconds: float  # image i is displayed from i * display_seconds on

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Read the images that are displayed at the times k / fps (None: k / rate)."""
        rate = self.rate if fps is None else fps
        current, image = -1, np.zeros(0)
        for k in range(max(1, round(self.duration * rate))):
            index = int((k / rate + TIME_TOLERANCE) / self.display_seconds)
            index = min(index, len(self.files) - 1)
            if index != current:
                current, image = index, read_image(self.files[index], (self.height, self.width))
            yield k / rate, image


@dataclass(frozen=True, kw_only=True)
class StillImage(Source):
    """One image, displayed for as long as its audio."""

    image: np.ndarray  # uint8 (H, W, 3) RGB

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Repeat the image at the times k / fps (None: k / rate)."""
        rate = self.rate if fps is None else fps
        for k in range(max(1, round(self.duration * rate))):
            yield k / rate, self.image


def open_source(
    path: str | os.PathLike,
    *,
    audio: str | os.PathLike | None = None,
    audio_index: int | None = None,
    image_rate: float = 1.0,
) -> Source:
    """Open a video, a folder of frames, or an image.

    Args:
        path: a video; a folder of images (or with a subfolder `frames` of them, as in AVSBench),
            in the order of the numbers in their names; an image; or audio with a cover image.
        audio: a file whose audio is used instead of the input's own. By default a folder's audio is
            the one audio file in it, an image's the one of the same name in the same folder.
        audio_index: which audio track of a video, from 0; None: the file's default.
        image_rate: images per second in a folder.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, or has no images.
    """
    path = Path(path)
    track = None if audio is None else open_audio(audio)
    if path.is_dir():
        return _open_folder(path, track, image_rate)
    if _is_image(path):
        return _open_image(path, track)
    video = open_video(path, audio_index=audio_index)
    if track is not None:
        video = replace(video, audio_track=track)
    if video.is_cover:
        _, image = next(video.frames())
        return _still_image(path, image, video.audio_track)
    return video


def _is_image(path: Path) -> bool:
    """Whether a file is a still image, by its content: FFmpeg opens those as videos."""
    try:
        with open_image(path) as image:
            return image.format not in _ANIMATED_FORMATS or getattr(image, "n_frames", 1) == 1
    except (FileNotFoundError, ValueError):
        return path.suffix.lower() in IMAGE_ENDINGS  # a missing or damaged one


def _open_folder(folder: Path, track: AudioTrack | None, rate: float) -> ImageFiles:
    check_frame_rate(rate, "the image rate")
    files = _files_with_ending(folder, IMAGE_ENDINGS)
    if not files and (folder / "frames").is_dir():
        files = _files_with_ending(folder / "frames", IMAGE_ENDINGS)
    if not files:
        raise ValueError(f"'{folder}': contains no images ({', '.join(IMAGE_ENDINGS)})")
    if track is None:
        audio_files = _files_with_ending(folder, AUDIO_ENDINGS)
        if len(audio_files) > 1:
            raise ValueError(
                f"'{folder}': contains {len(audio_files)} audio files; name one with --sound"
            )
        track = open_audio(audio_files[0]) if audio_files else None
    height, width = read_image(files[0]).shape[:2]
    return ImageFiles(
        path=str(folder),
        files=tuple(files),
        display_seconds=1 / rate,
        height=height,
        width=width,
        rate=rate,
        duration=len(files) / rate,
        audio_track=track,
    )


def _open_image(path: Path, track: AudioTrack | None) -> StillImage:
    if track is None:
        candidates = [path.with_suffix(ending) for ending in AUDIO_ENDINGS]
        track = next((open_audio(file) for file in candidates if file.is_file()), None)
    return _still_image(path, read_image(path), track)


def _still_image(path: Path, image: np.ndarray, track: AudioTrack | None) -> StillImage:
    height, width = image.shape[:2]
    return StillImage(
        path=str(path),
        image=image,
        height=height,
        width=width,
        rate=STILL_RATE,
        duration=STILL_SECONDS if track is None else max(track.duration(), 1 / STILL_RATE),
        audio_track=track,
    )


def _files_with_ending(folder: Path, endings: tuple[str, ...]) -> list[str]:
    found = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".")
    ]
    for file in found:
        if not file.is_file():
            raise ValueError(f"'{file}': not a regular file; remove it from the folder")
    return [str(file) for file in sorted(found, key=_by_numbers)]


def _by_numbers(file: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts "2.jpg" before "10.jpg"."""
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def expand_inputs(patterns: Iterable[str]) -> list[str]:
    """Expand glob patterns, for shells that do not; other paths are returned as they are.

    Raises:
        FileNotFoundError: a pattern matches no file.
    """
    paths = []
    for pattern in patterns:
        if os.path.exists(pattern) or not glob.has_magic(pattern):
            paths.append(pattern)
            continue
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise FileNotFoundError(f"'{pattern}': matches no file")
        paths += found
    return list(dict.fromkeys(paths))
