"""What a generated data set shows and plays: the interface between generator and objects.

The toy world's source draws shapes and tones (`shapes_and_tones.py`), the stamps data set's one
photographs and recorded sounds (`stamps/source.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


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
class Layout:
    """How objects are placed; lengths are in units of the frame's height.

    Attributes:
        radius: lower and upper bound of an object's radius, by the number of objects.
        amplitude: upper bound of the motion's amplitude.
        candidates: trajectories per object; the one that overlaps earlier objects least is used.
        attempts: scenes; the one with the least overlap is used.
    """

    radius: Mapping[int, tuple[float, float]]
    amplitude: float
    candidates: int
    attempts: int


class SceneObject(Protocol):
    """One object of a scene: its appearance and motion."""

    @property
    def class_id(self) -> int:
        """Its class."""

    @property
    def radius(self) -> float:
        """Its size, which sets how much space it needs."""

    @property
    def trajectory(self) -> Trajectory:
        """The motion of its center."""

    def paint(self, canvas: np.ndarray, time: float) -> np.ndarray:
        """Draw it on a canvas (H, W, 3) float32; return the share (H, W) it has of each pixel."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Objects and sounds. Class ids count from 1; the first ones have names and sounds.

    Attributes:
        folder: of its data set.
        version: of the drawing code.
        names: of the classes that can sound, with synonyms as in `parse_vocabulary`.
        base_ids: those for training; the others of `names` are novel.
        silent_ids: of objects that never sound, after those of `names`.
        features: of each class, the same number for all; two classes are alike if they share one.
        captions: of each of `names`: it and its other descriptions, the same number for all.
        layout: how objects are placed.
    """

    folder: str
    version: int
    names: tuple[str, ...]
    base_ids: tuple[int, ...]
    silent_ids: tuple[int, ...]
    features: tuple[tuple[str, ...], ...]
    captions: tuple[tuple[str, ...], ...]
    layout: Layout

    @abstractmethod
    def id_of(self, name: str) -> int:
        """The class of a name, or of a silent object's description."""

    @abstractmethod
    def draw_object(
        self, rng: np.random.Generator, class_id: int, radius: float, trajectory: Trajectory
    ) -> SceneObject:
        """Draw an object's random appearance."""

    @abstractmethod
    def draw_background(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """Draw a background (H, W, 3) float32, 0..255."""

    @abstractmethod
    def draw_audio(
        self,
        rng: np.random.Generator,
        audible: Sequence[tuple[int, ...]],
        pitch_factor: float = 1.0,
    ) -> np.ndarray:
        """Draw the int16 samples of a clip from the class ids of each second's sounds.

        `pitch_factor` is a factor of all pitches.
        """
