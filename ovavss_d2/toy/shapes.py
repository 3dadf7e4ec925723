"""Shapes of the toy world, and its gray, textured background."""

from dataclasses import dataclass

import cv2
import numpy as np

from ovavss_d2.toy.source import Trajectory
from ovavss_d2.vocabulary import TOY_COLORS, TOY_SHAPES

SUPERSAMPLING = 4  # for smooth outlines

_RGB = {
    "red": (225, 35, 35), "green": (40, 185, 50), "blue": (45, 70, 235),
    "yellow": (235, 215, 35), "magenta": (220, 50, 215), "cyan": (40, 205, 220),
}  # fmt: skip


def shape_of(class_id: int) -> str:
    """Shape of a class (ids from 1 in the order of `TOY_NAMES`)."""
    return TOY_SHAPES[(class_id - 1) % len(TOY_SHAPES)]


def color_of(class_id: int) -> str:
    """Color of a class (ids from 1 in the order of `TOY_NAMES`)."""
    return TOY_COLORS[(class_id - 1) // len(TOY_SHAPES)]


@dataclass(frozen=True)
class Shape:
    """A colored shape: a `SceneObject`."""

    class_id: int
    radius: float
    trajectory: Trajectory
    angle: tuple[float, float, float]  # mean, amplitude (radians), phase of a slow rotation
    rgb: np.ndarray  # 0..255
    shade: np.ndarray  # relative change of brightness per radius along x and y

    def outline(self, time: float) -> np.ndarray:
        """Corners (n, 2) at one time."""
        mean, amplitude, phase = self.angle
        period = self.trajectory.period[0]
        angle = mean + amplitude * np.sin(2 * np.pi * time / period + phase)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = _UNIT_SHAPES[shape_of(self.class_id)] @ rotation
        return corners * self.radius + self.trajectory.position(np.array([time]))[0]

    def paint(self, canvas: np.ndarray, time: float) -> np.ndarray:
        """See `SceneObject`."""
        size = canvas.shape[:2]
        cover = _coverage(self.outline(time), size)
        color = self.rgb * _shading(self, time, size)[..., None]
        canvas += cover[..., None] * (color - canvas)
        return cover


def draw_shape(
    rng: np.random.Generator, class_id: int, radius: float, trajectory: Trajectory
) -> Shape:
    """Draw the random appearance of a class."""
    return Shape(
        class_id,
        radius,
        trajectory,
        angle=(rng.uniform(-0.4, 0.4), rng.uniform(0, 0.25), rng.uniform(0, 2 * np.pi)),
        rgb=_draw_color(rng, color_of(class_id)),
        shade=rng.uniform(-0.1, 0.1, 2).astype(np.float32),
    )


def draw_texture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Gray noise at three scales, stripes in half of the scenes, a slight tint."""
    height, width = size
    texture = np.zeros(size, np.float32)
    for cells, strength in ((3, 1.0), (8, 0.7), (24, 0.5)):
        grid = rng.standard_normal((cells, cells * width // height), dtype=np.float32)
        texture += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    texture *= rng.uniform(8, 22)
    if rng.random() < 0.5:
        y, x = np.mgrid[:height, :width].astype(np.float32) / height
        angle = rng.uniform(0, np.pi)
        wave = np.sin(2 * np.pi * rng.uniform(3, 9) * (x * np.cos(angle) + y * np.sin(angle)))
        texture += rng.uniform(6, 18) * np.sign(wave)
    tint = rng.uniform(60, 190) + rng.uniform(-10, 10, 3)
    return np.clip(texture[..., None] + tint, 0, 255).astype(np.float32)


def _draw_color(rng: np.random.Generator, color: str) -> np.ndarray:
    rgb = np.array(_RGB[color], np.float32) * rng.uniform(0.85, 1.08) + rng.uniform(-14, 14, 3)
    return np.clip(rgb, 0, 255).astype(np.float32)


def _coverage(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Share (H, W) of each pixel inside `outline`, float32 0..1."""
    height, width = size
    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    corners = np.round(outline * height * SUPERSAMPLING * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) * np.float32(1 / 255)


def _shading(item: Shape, time: float, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    x, y = item.trajectory.position(np.array([time]))[0]
    columns = (np.arange(width, dtype=np.float32) / height - x) * (item.shade[0] / item.radius)
    rows = (np.arange(height, dtype=np.float32) / height - y) * (item.shade[1] / item.radius)
    return np.clip(1 + rows[:, None] + columns, 0.8, 1.2).astype(np.float32)


def _unit_shapes() -> dict[str, np.ndarray]:
    """Corners (n, 2) of the shapes, of about equal area, for radius 1."""
    arm, half = 1.12, 0.39
    quarter = np.array([[half, half], [half, arm], [-half, arm]])
    rotation = np.array([[0, 1], [-1, 0]])
    quarters = [quarter @ np.linalg.matrix_power(rotation, i) for i in range(4)]
    star = np.where(np.arange(10) % 2, 0.56, 1.3)[:, None]
    return {
        "circle": 0.95 * _ring(48),
        "square": 1.18 * _ring(4, 0.5),
        "triangle": 1.28 * _ring(3),
        "star": star * _ring(10),
        "cross": np.concatenate(quarters),
    }


def _ring(corners: int, offset: float = 0.0) -> np.ndarray:
    angle = 2 * np.pi * (np.arange(corners) + offset) / corners - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


_UNIT_SHAPES = _unit_shapes()
