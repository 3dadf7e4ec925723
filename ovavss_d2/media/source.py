"""What a user may hand in: a video, a folder of frames, a still picture, each with a sound of its
own or beside it; and patterns for several of them."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ovavss_d2.media.audio_stream import Sound, open_sound
from ovavss_d2.media.video import Source, open_video

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SOUND_ENDINGS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
STILL_RATE = 10.0  # frames a second of the video that a still becomes
STILL_SECONDS = 1.0  # of a still without sound


@dataclass(frozen=True)
class Pictures:
    """Picture files shown one after the other, or one for as long as its sound; a `Source`.

    Attributes:
        path: the folder or the file.
        files: the pictures; number i is shown from i * shown on.
        shown: seconds for which each is shown.
        height, width: of the first one; others are brought to its size.
        rate: frames per second when every frame is wanted.
        duration: seconds.
        sound_source: its sound, None if it has none.
    """

    path: str
    files: tuple[str, ...]
    shown: float
    height: int
    width: int
    rate: float
    duration: float
    sound_source: Sound | None = None

    def frames(self, fps: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Read the pictures at the times k / fps (None: k / rate); see `Video.frames`."""
        rate = self.rate if fps is None else fps
        if not rate > 0:
            raise ValueError(f"fps must be positive, {fps} was given")
        place, image = -1, None  # image is read before it is first shown
        for k in range(max(1, round(self.duration * rate))):
            # A picture that is due within half a millisecond is meant.
            due = min(int((k / rate + 0.0005) / self.shown), len(self.files) - 1)
            if image is None or due != place:
                place, image = due, self._read(due)
            yield k / rate, image

    def _read(self, place: int) -> np.ndarray:
        image = read_picture(self.files[place])
        if image.shape[:2] != (self.height, self.width):
            image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return image


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Read a picture upright: uint8 (H, W, 3) RGB.

    Raises:
        ValueError: it is broken, or no picture.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"'{path}': not a readable picture") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"'{path}': no such picture") from error
    except OSError as error:
        raise ValueError(f"'{path}': broken picture ({error})") from error


def open_source(
    path: str | os.PathLike,
    *,
    sound: str | os.PathLike | None = None,
    track: int | None = None,
    picture_rate: float = 1.0,
) -> Source:
    """Look into a video, a folder of frames, or a still.

    Args:
        path: a video; a folder of pictures (or with a folder `frames` of them, as in AVSBench), in
            the order of the numbers in their names; or a picture.
        sound: a file that is heard instead of its own. Else a folder's sound is the one sound file
            in it, a picture's the one beside it with the same name.
        track: which sound track of a video, from 0; None: its default.
        picture_rate: pictures a second in a folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no picture.
    """
    path = Path(path)
    heard = None if sound is None else open_sound(sound)
    if path.is_dir():
        return _open_folder(path, heard, picture_rate)
    if path.suffix.lower() in PICTURE_ENDINGS:
        return _open_still(path, heard)
    video = open_video(path, track=track)
    return video if heard is None else replace(video, other_sound=heard)


def _open_folder(folder: Path, sound: Sound | None, picture_rate: float) -> Pictures:
    if not picture_rate > 0:
        raise ValueError(f"the rate of pictures is {picture_rate}, expected a positive number")
    files = _with_ending(folder, PICTURE_ENDINGS)
    if not files and (folder / "frames").is_dir():
        files = _with_ending(folder / "frames", PICTURE_ENDINGS)
    if not files:
        raise ValueError(f"'{folder}': holds no pictures ({', '.join(PICTURE_ENDINGS)})")
    if sound is None:
        sounds = _with_ending(folder, SOUND_ENDINGS)
        if len(sounds) > 1:
            raise ValueError(f"'{folder}': holds {len(sounds)} sound files; name one with --sound")
        sound = open_sound(sounds[0]) if sounds else None
    height, width = read_picture(files[0]).shape[:2]
    return Pictures(
        path=str(folder),
        files=tuple(files),
        shown=1 / picture_rate,
        height=height,
        width=width,
        rate=picture_rate,
        duration=len(files) / picture_rate,
        sound_source=sound,
    )


def _open_still(path: Path, sound: Sound | None) -> Pictures:
    height, width = read_picture(path).shape[:2]
    if sound is None:
        beside = [path.with_suffix(ending) for ending in SOUND_ENDINGS]
        sound = next((open_sound(file) for file in beside if file.is_file()), None)
    duration = STILL_SECONDS if sound is None else max(sound.duration(), 1 / STILL_RATE)
    return Pictures(
        path=str(path),
        files=(str(path),),
        shown=duration,
        height=height,
        width=width,
        rate=STILL_RATE,
        duration=duration,
        sound_source=sound,
    )


def _with_ending(folder: Path, endings: tuple[str, ...]) -> list[str]:
    found = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".")
    ]
    return [str(file) for file in sorted(found, key=_by_numbers)]


def _by_numbers(file: Path) -> list[tuple[int, int, str]]:
    """Order "2.jpg" before "10.jpg"."""
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def expand_inputs(patterns: Iterable[str]) -> list[str]:
    """Resolve globs, for shells that leave them alone; other paths stay as they are.

    Raises:
        FileNotFoundError: a pattern fits nothing.
    """
    paths = []
    for pattern in patterns:
        if os.path.exists(pattern) or not glob.has_magic(pattern):
            paths.append(pattern)
            continue
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise FileNotFoundError(f"'{pattern}': fits no file")
        paths += found
    return list(dict.fromkeys(paths))
