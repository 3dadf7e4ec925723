"""Photographs that move, turn and change their size over a background.

Shapes: H W pixels of a frame, h w of a picture.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ovavss_d2.toy.shapes import draw_texture
from ovavss_d2.toy.source import Trajectory

LONGEST = 400  # pixels of a picture's longer side
STRETCH = 1.5  # upper bound of the factor by which long, thin objects are larger than others
TURN = 0.5  # radians: upper bound of the mean and the amplitude of an object's rotation
ZOOM = 0.18  # upper bound of the relative change of size in both directions
LIGHT = (0.75, 1.15)  # factor of an object's brightness
TINT = 0.06  # relative change of each color
PHOTOGRAPHIC = 0.6  # share of backgrounds that are made from a picture
MIN_PATCH = 24  # pixels: side of the smallest part of a picture that becomes a background


@dataclass(frozen=True)
class Stamp:
    """A picture with alpha: a `SceneObject`."""

    class_id: int
    radius: float
    trajectory: Trajectory
    picture: np.ndarray  # (h, w, 4) float32: RGB times alpha, 0..255, and alpha, 0..1
    turn: tuple[float, float, float]  # mean, amplitude (radians), phase
    zoom: tuple[float, float]  # amplitude, phase

    def paint(self, canvas: np.ndarray, time: float) -> np.ndarray:
        """See `SceneObject`."""
        height, width = canvas.shape[:2]
        rows, columns = self.picture.shape[:2]
        turns = 2 * np.pi * time / self.trajectory.period[0]
        mean, amplitude, phase = self.turn
        angle = mean + amplitude * np.sin(turns + phase)
        longer, shorter = max(rows, columns), min(rows, columns)
        length = 2 * self.radius * height * min(STRETCH, (longer / shorter) ** 0.4)
        scale = length / longer * (1 + self.zoom[0] * np.sin(2 * turns + self.zoom[1]))
        x, y = self.trajectory.position(np.array([time]))[0] * height
        layer = _warp(self.picture, scale, angle, (x, y), (height, width))
        cover = layer[..., 3]
        canvas *= 1 - cover[..., None]
        canvas += layer[..., :3]
        return cover


def draw_stamp(
    rng: np.random.Generator, class_id: int, path: Path, radius: float, trajectory: Trajectory
) -> Stamp:
    """Draw the random appearance of a picture."""
    picture = read_picture(path)
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    colors = rng.uniform(*LIGHT) * rng.uniform(1 - TINT, 1 + TINT, 3)
    picture = picture * np.append(colors, 1).astype(np.float32)
    np.minimum(picture[..., :3], 255 * picture[..., 3:], out=picture[..., :3])
    return Stamp(
        class_id,
        radius,
        trajectory,
        picture,
        turn=(rng.uniform(-TURN, TURN), rng.uniform(0, TURN), rng.uniform(0, 2 * np.pi)),
        zoom=(rng.uniform(0, ZOOM), rng.uniform(0, 2 * np.pi)),
    )


def draw_photographic_background(
    rng: np.random.Generator, path: Path, size: tuple[int, int]
) -> np.ndarray:
    """Draw a background (H, W, 3) from an enlarged, softened part of a picture.

    A texture is used for a part of the backgrounds, and if the picture has no opaque square.
    """
    texture = draw_texture(rng, size)
    part = _opaque_square(rng, read_picture(path))
    if part is None or rng.random() >= PHOTOGRAPHIC:
        return texture
    height, width = size
    side = max(size)
    image = cv2.resize(part, (side, side), interpolation=cv2.INTER_CUBIC)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.005, 0.02) * height)
    image = image[(side - height) // 2 :][:height, (side - width) // 2 :][:, :width]
    gray = image.mean(2, keepdims=True)
    image = gray + rng.uniform(0.2, 0.6) * (image - gray)
    image = rng.uniform(0.5, 0.9) * (image - image.mean((0, 1))) + image.mean((0, 1))
    return np.clip(image + 0.3 * (texture - texture.mean((0, 1))), 0, 255).astype(np.float32)


@lru_cache(maxsize=300)
def read_picture(path: Path) -> np.ndarray:
    """Read a picture's visible part: (h, w, 4) float32, RGB times alpha, 0..255, and alpha, 0..1.

    Raises:
        ValueError: it is not a picture with alpha, or nothing of it is opaque.
    """
    data = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if data is None or data.ndim != 3 or data.shape[2] != 4 or data.dtype != np.uint8:
        raise ValueError(f"'{path}': not a PNG picture with alpha; unpack the package again")
    rows, columns = (np.flatnonzero((data[..., 3] >= 128).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError(f"'{path}': nothing is opaque; unpack the package again")
    data = data[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = data[..., 3:].astype(np.float32) / 255
    picture = np.concatenate([data[..., 2::-1] * alpha, alpha], axis=2)
    return _shrink(picture, LONGEST / max(picture.shape[:2]))


def _shrink(picture: np.ndarray, scale: float) -> np.ndarray:
    """Scale a picture down, or return it unchanged if `scale` is 1 or more."""
    if scale >= 1:
        return picture
    height, width = (max(1, round(scale * n)) for n in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _warp(
    picture: np.ndarray,
    scale: float,
    angle: float,
    center: tuple[float, float],
    size: tuple[int, int],
) -> np.ndarray:
    """Scale a picture, turn it around its center, and move that to `center` of a frame."""
    small = _shrink(picture, scale)
    height, width = small.shape[:2]
    factor = scale * picture.shape[1] / width
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix[:, 2] = center - matrix[:, :2] @ ((width - 1) / 2, (height - 1) / 2)
    return cv2.warpAffine(small, matrix, size[::-1], flags=cv2.INTER_LINEAR)


def _opaque_square(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray | None:
    """A random square (side, side, 3) without transparent pixels."""
    opaque = np.pad((picture[..., 3] > 0.99).astype(np.uint8), 1)
    reach = cv2.distanceTransform(opaque, cv2.DIST_C, 3)[1:-1, 1:-1]
    centers = np.argwhere(reach > max(MIN_PATCH / 2, 0.6 * reach.max()))
    if not len(centers):
        return None
    y, x = centers[rng.integers(len(centers))]
    half = int(reach[y, x]) - 1
    return picture[y - half : y + half + 1, x - half : x + half + 1, :3]
