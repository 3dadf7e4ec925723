"""Images of the toy world: colored shapes that drift over a gray, textured background.

Lengths are in units of the frame's height and times in seconds, so that a scene can be drawn at any
size and frame rate. Shapes: L frames, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ovavss_d2.vocabulary import TOY_COLORS, TOY_SHAPES

TOY_SIZE = 64, 96  # (H, W) of the data set's frames: multiples of the toy model's strides
RADIUS = {2: (13 / 72, 21 / 72), 3: (12 / 72, 18 / 72), 4: (12 / 72, 15 / 72)}  # by object count
MAX_AMPLITUDE = 10 / 72  # of an object's motion
CANDIDATES = 32  # trajectories per object; the one that overlaps earlier objects least is used
ATTEMPTS = 4  # scenes; the one with the least overlap is used
SUPERSAMPLING = 4  # for smooth outlines
SENSOR_NOISE = 3.5  # standard deviation per pixel and frame, of 255

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
class Trajectory:
    """Sinusoidal motion; each array is (..., 2), in x and y."""

    center: np.ndarray
    amplitude: np.ndarray
    period: np.ndarray  # seconds
    phase: np.ndarray  # radians

    def __getitem__(self, index: int | tuple) -> "Trajectory":
        return Trajectory(
            self.center[index], self.amplitude[index], self.period[index], self.phase[index]
        )

    def position(self, times: np.ndarray) -> np.ndarray:
        """Centers (L, 2) at `times` (L,)."""
        turns = 2 * np.pi * times[:, None] / self.period + self.phase
        return self.center + self.amplitude * np.sin(turns)


@dataclass(frozen=True)
class SceneObject:
    """One object: its appearance and motion."""

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


@dataclass(frozen=True)
class Scene:
    """Everything that is visible in a clip."""

    objects: tuple[SceneObject, ...]
    background: np.ndarray  # (H, W, 3) float32, 0..255
    noise_seed: int


def draw_scene(
    rng: np.random.Generator, class_ids: Sequence[int], size: tuple[int, int], seconds: int
) -> Scene:
    """Draw random appearances and trajectories for objects.

    Args:
        rng: random numbers.
        class_ids: 2 to 4 classes, one object each.
        size: (H, W) in pixels.
        seconds: time for which overlaps are avoided.
    """
    times = np.arange(0, seconds, 0.5)
    attempts = [_draw_objects(rng, class_ids, size[1] / size[0], times) for _ in range(ATTEMPTS)]
    _, objects = min(attempts, key=lambda attempt: attempt[0])
    background = _draw_background(rng, size)
    return Scene(objects, background, int(rng.integers(2**31)))


def render(scene: Scene, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene's frames.

    Args:
        scene: from `draw_scene`.
        times: (L,) seconds.

    Returns:
        frames (L, H, W, 3) uint8 RGB, and class ids (L, H, W) uint8 of the foremost object at each
        pixel, sounding or not, 0 where there is none.
    """
    height, width = scene.background.shape[:2]
    rng = np.random.default_rng(scene.noise_seed)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    ids = np.zeros((len(times), height, width), np.uint8)
    for i, time in enumerate(times):
        canvas = scene.background.copy()
        for item in scene.objects:
            cover = _coverage(item.outline(time), (height, width))
            color = item.rgb * _shading(item, time, (height, width))[..., None]
            canvas += cover[..., None] * (color - canvas)
            ids[i][cover >= 0.5] = item.class_id
        canvas += SENSOR_NOISE * rng.standard_normal(canvas.shape, dtype=np.float32)
        frames[i] = np.clip(canvas + 0.5, 0, 255)
    return frames, ids


def _draw_objects(
    rng: np.random.Generator, class_ids: Sequence[int], aspect: float, times: np.ndarray
) -> tuple[float, tuple[SceneObject, ...]]:
    """Draw objects one after the other; also return their total overlap."""
    objects: list[SceneObject] = []
    total = 0.0
    for class_id in class_ids:
        radius = rng.uniform(*RADIUS[len(class_ids)])
        candidates = _draw_trajectories(rng, radius, aspect)
        overlap = _overlaps(candidates[:, None].position(times), radius, objects, times)
        best = int(overlap.argmin())
        total += float(overlap[best])
        objects.append(_draw_appearance(rng, class_id, radius, candidates[best]))
    return total, tuple(objects)


def _draw_appearance(
    rng: np.random.Generator, class_id: int, radius: float, trajectory: Trajectory
) -> SceneObject:
    return SceneObject(
        class_id,
        radius,
        trajectory,
        angle=(rng.uniform(-0.4, 0.4), rng.uniform(0, 0.25), rng.uniform(0, 2 * np.pi)),
        rgb=_draw_color(rng, color_of(class_id)),
        shade=rng.uniform(-0.1, 0.1, 2).astype(np.float32),
    )


def _draw_trajectories(rng: np.random.Generator, radius: float, aspect: float) -> Trajectory:
    """Draw `CANDIDATES` trajectories that stay inside the frame."""
    shape = (CANDIDATES, 2)
    free = np.maximum(np.array([aspect, 1.0]) - 2 * radius, 0)
    amplitude = np.minimum(rng.uniform(0, MAX_AMPLITUDE, shape), free / 2)
    center = radius + amplitude + rng.uniform(0, 1, shape) * (free - 2 * amplitude)
    return Trajectory(
        center, amplitude, rng.uniform(8, 16, shape), rng.uniform(0, 2 * np.pi, shape)
    )


def _overlaps(
    positions: np.ndarray, radius: float, others: Sequence[SceneObject], times: np.ndarray
) -> np.ndarray:
    """Overlap with other objects of each candidate's positions (CANDIDATES, L, 2)."""
    overlap = np.zeros(len(positions))
    for other in others:
        distance = np.linalg.norm(positions - other.trajectory.position(times), axis=-1)
        overlap += (np.maximum(1.15 * (radius + other.radius) - distance, 0) ** 2).mean(axis=-1)
    return overlap


def _draw_color(rng: np.random.Generator, color: str) -> np.ndarray:
    rgb = np.array(_RGB[color], np.float32) * rng.uniform(0.85, 1.08) + rng.uniform(-14, 14, 3)
    return np.clip(rgb, 0, 255).astype(np.float32)


def _draw_background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _coverage(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Share (H, W) of each pixel inside `outline`, float32 0..1."""
    height, width = size
    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    corners = np.round(outline * height * SUPERSAMPLING * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) * np.float32(1 / 255)


def _shading(item: SceneObject, time: float, size: tuple[int, int]) -> np.ndarray:
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
