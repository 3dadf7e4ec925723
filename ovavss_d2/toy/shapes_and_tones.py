"""The toy world's source: colored shapes, and tones that belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovavss_d2.toy.audio import draw_audio
from ovavss_d2.toy.shapes import Shape, color_of, draw_shape, draw_texture, shape_of
from ovavss_d2.toy.source import Layout, Source, Trajectory
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES


@dataclass(frozen=True, kw_only=True)
class ShapesAndTones(Source):
    """See `Source`. Two classes are alike if they share the shape or the color."""

    folder: str = "toy"
    version: int = 2
    names: tuple[str, ...] = TOY_NAMES
    base_ids: tuple[int, ...] = TOY_BASE_IDS
    silent_ids: tuple[int, ...] = ()
    features: tuple[tuple[str, ...], ...] = tuple(
        (shape_of(i), color_of(i)) for i in range(1, len(TOY_NAMES) + 1)
    )
    captions: tuple[tuple[str, ...], ...] = tuple(
        (name, shape_of(i), color_of(i)) for i, name in enumerate(TOY_NAMES, start=1)
    )
    layout: Layout = Layout(
        radius={2: (13 / 72, 21 / 72), 3: (12 / 72, 18 / 72), 4: (12 / 72, 15 / 72)},
        amplitude=10 / 72,
        candidates=32,
        attempts=4,
    )

    def id_of(self, name: str) -> int:
        """See `Source`."""
        return self.names.index(name) + 1

    def draw_object(
        self, rng: np.random.Generator, class_id: int, radius: float, trajectory: Trajectory
    ) -> Shape:
        """See `Source`."""
        return draw_shape(rng, class_id, radius, trajectory)

    def draw_background(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """See `Source`."""
        return draw_texture(rng, size)

    def draw_audio(
        self,
        rng: np.random.Generator,
        audible: Sequence[tuple[int, ...]],
        pitch_factor: float = 1.0,
    ) -> np.ndarray:
        """See `Source`."""
        return draw_audio(rng, audible, pitch_factor)


TOY = ShapesAndTones()
