"""Pictures of the toy world: coloured shapes that drift over a grey, textured background.

Lengths are in units of the frame's height, times in seconds, so that one scene can be drawn at any
size and frame rate. L frames, H W pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ovavss_d2.vocabulary import TOY_COLORS, TOY_SHAPES

TOY_SIZE = 64, 96  # (H, W) of the data set's frames: multiples of the toy model's strides
RADIUS = {
    2: (13 / 72, 21 / 72),
    3: (12 / 72, 18 / 72),
    4: (12 / 72, 15 / 72),
}  # by number of objects
SWING = 10 / 72  # largest amplitude of a centre's motion
CANDIDATES = (
    32  # ways tried for each object; the one that overlaps least with earlier objects is taken
)
ATTEMPTS = 4  # whole scenes tried; the one with the least overlap is taken
SUPERSAMPLING = 4  # for smooth outlines
SENSOR_NOISE = 3.5  # standard deviation per pixel and frame, of 255

_RGB = {
    "red": (225, 35, 35), "green": (40, 185, 50), "blue": (45, 70, 235),
    "yellow": (235, 215, 35), "magenta": (220, 50, 215), "cyan": (40, 205, 220),
}  # fmt: skip


def shape_of(class_id: int) -> str:
    """Return the shape of a class (ids from 1 in the order of `TOY_NAMES`)."""
    return TOY_SHAPES[(class_id - 1) % len(TOY_SHAPES)]


def color_of(class_id: int) -> str:
    """Return the colour of a class (ids from 1 in the order of `TOY_NAMES`)."""
    return TOY_COLORS[(class_id - 1) // len(TOY_SHAPES)]


@dataclass(frozen=True)
class Thing:
    """One object: its looks and its way. Pairs are (x, y)."""

    class_id: int
    radius: float
    center: np.ndarray
    swing: np.ndarray  # amplitude of the motion around `center`
    period: np.ndarray  # seconds
    phase: np.ndarray  # radians
    angle: tuple[float, float, float]  # mean, amplitude (radians), phase of a slow rotation
    rgb: np.ndarray  # 0..255
    shade: np.ndarray  # relative change of brightness per radius along x and y

    def position(self, times: np.ndarray) -> np.ndarray:
        """Return the centres (L, 2) at `times` (L,)."""
        return _positions(self.center, self.swing, self.period, self.phase, times)

    def outline(self, time: float) -> np.ndarray:
        """Return the corners (n, 2) at one time."""
        mean, amplitude, phase = self.angle
        angle = mean + amplitude * np.sin(2 * np.pi * time / self.period[0] + phase)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = _UNIT_SHAPES[shape_of(self.class_id)] @ turn
        return corners * self.radius + self.position(np.array([time]))[0]


@dataclass(frozen=True)
class Scene:
    """What can be seen in one clip."""

    things: tuple[Thing, ...]
    background: np.ndarray  # (H, W, 3) float32, 0..255
    noise_seed: int


def draw_scene(
    rng: np.random.Generator, class_ids: list[int], size: tuple[int, int], seconds: int
) -> Scene:
    """Invent looks and ways for objects of the given classes.

    Args:
        rng: source of everything random.
        class_ids: 2 to 4 classes, one object each.
        size: (H, W) in pixels.
        seconds: how long the objects should keep out of each other's way.
    """
    times = np.arange(0, seconds, 0.5)
    attempts = [_draw_things(rng, class_ids, size[1] / size[0], times) for _ in range(ATTEMPTS)]
    _, things = min(attempts, key=lambda attempt: attempt[0])
    background = _draw_background(rng, size)
    return Scene(things, background, int(rng.integers(2**31)))


def render(scene: Scene, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene.

    Args:
        scene: from `draw_scene`.
        times: (L,) seconds.

    Returns:
        frames (L, H, W, 3) uint8 RGB, and the class ids (L, H, W) uint8 of the foremost object at
        each pixel, sounding or not, 0 where there is none.
    """
    height, width = scene.background.shape[:2]
    rng = np.random.default_rng(scene.noise_seed)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    ids = np.zeros((len(times), height, width), np.uint8)
    for i, time in enumerate(times):
        canvas = scene.background.copy()
        for thing in scene.things:
            cover = _coverage(thing.outline(time), (height, width))
            looks = thing.rgb * _shading(thing, time, (height, width))[..., None]
            canvas += cover[..., None] * (looks - canvas)
            ids[i][cover >= 0.5] = thing.class_id
        canvas += SENSOR_NOISE * rng.standard_normal(canvas.shape, dtype=np.float32)
        frames[i] = np.clip(canvas + 0.5, 0, 255)
    return frames, ids


def _draw_things(rng, class_ids, aspect, times) -> tuple[float, tuple[Thing, ...]]:
    """Objects placed one after the other, and by how much they overlap."""
    things: list[Thing] = []
    total = 0.0
    for class_id in class_ids:
        radius = rng.uniform(*RADIUS[len(class_ids)])
        ways = _draw_ways(rng, radius, aspect)
        center, swing, period, phase = (way[:, None] for way in ways)
        positions = _positions(center, swing, period, phase, times)
        overlap = _overlaps(positions, radius, things, times)
        best = int(overlap.argmin())
        total += float(overlap[best])
        things.append(_draw_looks(rng, class_id, radius, [way[best] for way in ways]))
    return total, tuple(things)


def _draw_looks(rng, class_id, radius, way) -> Thing:
    center, swing, period, phase = way
    return Thing(
        class_id,
        radius,
        center,
        swing,
        period,
        phase,
        angle=(rng.uniform(-0.4, 0.4), rng.uniform(0, 0.25), rng.uniform(0, 2 * np.pi)),
        rgb=_draw_color(rng, color_of(class_id)),
        shade=rng.uniform(-0.1, 0.1, 2).astype(np.float32),
    )


def _draw_ways(rng, radius, aspect):
    """Centre, swing, period and phase, each (CANDIDATES, 2), of ways that stay inside the frame."""
    shape = (CANDIDATES, 2)
    frame = np.array([aspect, 1.0])
    room = np.maximum(frame - 2 * radius, 0)
    swing = np.minimum(rng.uniform(0, SWING, shape), room / 2)
    center = radius + swing + rng.uniform(0, 1, shape) * (room - 2 * swing)
    return center, swing, rng.uniform(8, 16, shape), rng.uniform(0, 2 * np.pi, shape)


def _positions(center, swing, period, phase, times):
    return center + swing * np.sin(2 * np.pi * times[:, None] / period + phase)


def _overlaps(ways, radius, others, times) -> np.ndarray:
    """How far each way (of (CANDIDATES, L, 2)) comes too near to the other objects."""
    overlap = np.zeros(len(ways))
    for other in others:
        distance = np.linalg.norm(ways - other.position(times), axis=-1)
        overlap += (np.maximum(1.15 * (radius + other.radius) - distance, 0) ** 2).mean(axis=-1)
    return overlap


def _draw_color(rng, color) -> np.ndarray:
    rgb = np.array(_RGB[color], np.float32) * rng.uniform(0.85, 1.08) + rng.uniform(-14, 14, 3)
    return np.clip(rgb, 0, 255).astype(np.float32)


def _draw_background(rng, size) -> np.ndarray:
    """Grey noise of three coarsenesses, stripes half of the time, a slight tint."""
    height, width = size
    texture = np.zeros(size, np.float32)
    for cells, strength in ((3, 1.0), (8, 0.7), (24, 0.5)):
        grid = rng.standard_normal((cells, cells * width // height), dtype=np.float32)
        texture += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    texture *= rng.uniform(8, 22)
    if rng.random() < 0.5:
        y, x = np.mgrid[:height, :width].astype(np.float32) / height
        turn = rng.uniform(0, np.pi)
        wave = np.sin(2 * np.pi * rng.uniform(3, 9) * (x * np.cos(turn) + y * np.sin(turn)))
        texture += rng.uniform(6, 18) * np.sign(wave)
    tint = rng.uniform(60, 190) + rng.uniform(-10, 10, 3)
    return np.clip(texture[..., None] + tint, 0, 255).astype(np.float32)


def _coverage(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Share (H, W) of each pixel that lies inside `outline`, float32 0..1."""
    height, width = size
    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    corners = np.round(outline * height * SUPERSAMPLING * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) * np.float32(1 / 255)


def _shading(thing: Thing, time: float, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    x, y = thing.position(np.array([time]))[0]
    columns = (np.arange(width, dtype=np.float32) / height - x) * (thing.shade[0] / thing.radius)
    rows = (np.arange(height, dtype=np.float32) / height - y) * (thing.shade[1] / thing.radius)
    return np.clip(1 + rows[:, None] + columns, 0.8, 1.2).astype(np.float32)


def _unit_shapes() -> dict[str, np.ndarray]:
    """Corners (n, 2) of the shapes, of about equal area, for radius 1."""
    arm, half = 1.12, 0.39
    quarter = np.array([[half, half], [half, arm], [-half, arm]])
    turn = np.array([[0, 1], [-1, 0]])
    star = np.where(np.arange(10) % 2, 0.56, 1.3)[:, None]
    return {
        "circle": 0.95 * _ring(48),
        "square": 1.18 * _ring(4, 0.5),
        "triangle": 1.28 * _ring(3),
        "star": star * _ring(10),
        "cross": np.concatenate([quarter @ np.linalg.matrix_power(turn, i) for i in range(4)]),
    }


def _ring(corners: int, offset: float = 0.0) -> np.ndarray:
    angle = 2 * np.pi * (np.arange(corners) + offset) / corners - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


_UNIT_SHAPES = _unit_shapes()
