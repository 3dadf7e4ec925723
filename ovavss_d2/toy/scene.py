"""Scenes of generated data sets: objects of a source that move over a background.

Lengths are in units of the frame's height and times in seconds, so that a scene can be drawn at any
size and frame rate. Shapes: L frames, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovavss_d2.toy.source import SceneObject, Source, Trajectory

TOY_SIZE = 64, 96  # (H, W) of the data set's frames: multiples of the toy model's strides
SENSOR_NOISE = 3.5  # standard deviation per pixel and frame, of 255


@dataclass(frozen=True)
class Scene:
    """Everything that is visible in a clip."""

    objects: tuple[SceneObject, ...]
    background: np.ndarray  # (H, W, 3) float32, 0..255
    noise_seed: int


def draw_scene(
    source: Source,
    rng: np.random.Generator,
    class_ids: Sequence[int],
    size: tuple[int, int],
    seconds: int,
) -> Scene:
    """Draw random appearances and trajectories for objects.

    Args:
        source: of the objects and the background.
        rng: random numbers.
        class_ids: 2 to 4 classes, one object each.
        size: (H, W) in pixels.
        seconds: time for which overlaps are avoided.
    """
    times = np.arange(0, seconds, 0.5)
    aspect = size[1] / size[0]
    attempts = [
        _draw_objects(source, rng, class_ids, aspect, times) for _ in range(source.layout.attempts)
    ]
    _, objects = min(attempts, key=lambda attempt: attempt[0])
    background = source.draw_background(rng, size)
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
            ids[i][item.paint(canvas, time) >= 0.5] = item.class_id
        canvas += SENSOR_NOISE * rng.standard_normal(canvas.shape, dtype=np.float32)
        frames[i] = np.clip(canvas + 0.5, 0, 255)
    return frames, ids


def _draw_objects(
    source: Source,
    rng: np.random.Generator,
    class_ids: Sequence[int],
    aspect: float,
    times: np.ndarray,
) -> tuple[float, tuple[SceneObject, ...]]:
    """Draw objects one after the other; also return their total overlap."""
    objects: list[SceneObject] = []
    total = 0.0
    for class_id in class_ids:
        radius = rng.uniform(*source.layout.radius[len(class_ids)])
        candidates = _draw_trajectories(source, rng, radius, aspect)
        overlap = _overlaps(candidates[:, None].position(times), radius, objects, times)
        best = int(overlap.argmin())
        total += float(overlap[best])
        objects.append(source.draw_object(rng, class_id, radius, candidates[best]))
    return total, tuple(objects)


def _draw_trajectories(
    source: Source, rng: np.random.Generator, radius: float, aspect: float
) -> Trajectory:
    """Draw trajectories that stay inside the frame."""
    shape = (source.layout.candidates, 2)
    free = np.maximum(np.array([aspect, 1.0]) - 2 * radius, 0)
    amplitude = np.minimum(rng.uniform(0, source.layout.amplitude, shape), free / 2)
    center = radius + amplitude + rng.uniform(0, 1, shape) * (free - 2 * amplitude)
    return Trajectory(
        center, amplitude, rng.uniform(8, 16, shape), rng.uniform(0, 2 * np.pi, shape)
    )


def _overlaps(
    positions: np.ndarray, radius: float, others: Sequence[SceneObject], times: np.ndarray
) -> np.ndarray:
    """Overlap with other objects of each candidate's positions (candidates, L, 2)."""
    overlap = np.zeros(len(positions))
    for other in others:
        distance = np.linalg.norm(positions - other.trajectory.position(times), axis=-1)
        overlap += (np.maximum(1.15 * (radius + other.radius) - distance, 0) ** 2).mean(axis=-1)
    return overlap
