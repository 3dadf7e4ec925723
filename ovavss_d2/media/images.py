"""Reading image files: upright 8-bit RGB, from any format and mode.

Shape letters: H W pixels.
"""

import importlib.util
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# A file's content selects its decoder. Only these are used: Pillow has others that start programs.
IMAGE_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF")
LABEL_FORMATS = ("PNG",)
if importlib.util.find_spec("pi_heif"):
    import pi_heif

    pi_heif.register_heif_opener()
    IMAGE_FORMATS += ("HEIF",)
_MAX_ASPECT = 1000  # with more, resizing for a model may leave no pixel
# What Pillow raises for damaged images.
_IMAGE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, OverflowError, struct.error)


@contextmanager
def open_image(
    path: str | os.PathLike, kind: str = "image", formats: tuple[str, ...] = IMAGE_FORMATS
) -> Iterator[Image.Image]:
    """Open an image file, and turn Pillow's errors in the block into one line.

    Args:
        path: a regular file.
        kind: what it is called in messages.
        formats: the formats of Pillow that may be read.

    Raises:
        FileNotFoundError: the file does not exist, or is not a regular file.
        ValueError: it is damaged, too large, or of another format.
    """
    if not os.path.isfile(path):  # a FIFO would block
        problem = "not a regular file" if os.path.exists(path) else f"no such {kind}"
        raise FileNotFoundError(f"'{path}': {problem}")
    try:
        with Image.open(path, formats=formats) as image:
            yield image
    except UnidentifiedImageError as error:
        expected = ", ".join(formats)
        if formats is IMAGE_FORMATS and "HEIF" not in formats:
            expected += "; HEIC needs 'pip install pi-heif'"
        raise ValueError(f"'{path}': not a readable {kind} (expected {expected})") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"'{path}': too large {kind} ({error})") from error
    except _IMAGE_ERRORS as error:
        raise ValueError(f"'{path}': damaged {kind} ({error})") from error


def check_shape(path: str | os.PathLike, height: int, width: int) -> None:
    """Raise a ValueError if a frame is too narrow to be resized."""
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise ValueError(
            f"'{path}': {width} x {height} pixels are too narrow, expected at most "
            f"{_MAX_ASPECT} times as many on one side as on the other"
        )


def read_image(path: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image, upright, resized to `size` (H, W) if given: uint8 (H, W, 3) RGB.

    Transparency is ignored.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is damaged, or not an image.
    """
    with open_image(path) as file:
        ImageOps.exif_transpose(file, in_place=True)
        image = _to_rgb(file)
    if size is not None and size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.array(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if "transparency" in image.info:  # Pillow warns if it is dropped from a palette
        image = image.convert("RGBA")
    return image.convert("RGB")


def _to_8_bits(gray: np.ndarray) -> np.ndarray:
    """Convert gray values (H, W) of more than 8 bits, for which Pillow has no conversion, to uint8.

    16-bit integers range up to 65535. The range of 32-bit values is not stated in the file: it is
    the smallest of 0 to 1 (only real numbers), 255, and 65535 that contains them all.
    """
    tops = {"u": (65535,), "i": (255, 65535), "f": (1, 255, 65535)}[gray.dtype.kind]
    low, high = gray.min(), gray.max()
    if not 0 <= low <= high <= 65535:
        raise ValueError(f"its gray values are {low} to {high}, expected 0 to 65535")
    top = next(top for top in tops if high <= top)
    return np.rint(gray * (255 / top)).astype(np.uint8)
