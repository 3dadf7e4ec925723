"""The source of the stamps data set: photographs and recorded sounds of an unpacked package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovavss_d2.stamps.objects import OBJECTS, ids_of
from ovavss_d2.stamps.pictures import Stamp, draw_photographic_background, draw_stamp
from ovavss_d2.stamps.sounds import mix_audio
from ovavss_d2.toy.audio_classifier import SoundSettings
from ovavss_d2.toy.clip_model import ClipSettings
from ovavss_d2.toy.source import Layout, Source, Trajectory
from ovavss_d2.toy.start_weights import StartSettings
from ovavss_d2.vocabulary import STAMPS_BASE_IDS, STAMPS_NAMES, display_name

STAMPS_SIZE = 128, 192  # (H, W) of the data set's frames
STAMPS_CLIP = ClipSettings(
    steps=400, rate=1e-3, embed_dim=128, trunk="tf_efficientnet_lite0", text_steps=300
)
STAMPS_START = StartSettings(
    scenes=4000, backbone_steps=0, steps=2000, batch=16, audio_clips=600, audio_steps=1500
)
STAMPS_SOUND = SoundSettings(clips=1200, steps=3000, mixed=0.6)


@dataclass(frozen=True, kw_only=True)
class Stamps(Source):
    """See `Source`. Two classes are alike if their pictures are in the same folder.

    Attributes:
        package: folder that `package.unpack` returned.
    """

    package: Path
    folder: str = "stamps"
    version: int = 1
    names: tuple[str, ...] = STAMPS_NAMES
    base_ids: tuple[int, ...] = STAMPS_BASE_IDS
    silent_ids: tuple[int, ...] = ids_of("silent")
    features: tuple[tuple[str, ...], ...] = tuple((item.group, item.picture) for item in OBJECTS)
    captions: tuple[tuple[str, ...], ...] = tuple((name,) for name in STAMPS_NAMES)
    layout: Layout = Layout(
        radius={2: (0.18, 0.36), 3: (0.17, 0.31), 4: (0.16, 0.27)},
        amplitude=0.25,
        candidates=5,
        attempts=1,
    )

    def id_of(self, name: str) -> int:
        """See `Source`."""
        return [display_name(item.name) for item in OBJECTS].index(display_name(name)) + 1

    def draw_object(
        self, rng: np.random.Generator, class_id: int, radius: float, trajectory: Trajectory
    ) -> Stamp:
        """See `Source`."""
        return draw_stamp(rng, class_id, self._picture(class_id), radius, trajectory)

    def draw_background(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """See `Source`."""
        path = self._picture(int(rng.choice(self.silent_ids)))
        return draw_photographic_background(rng, path, size)

    def draw_audio(
        self,
        rng: np.random.Generator,
        audible: Sequence[tuple[int, ...]],
        pitch_factor: float = 1.0,
    ) -> np.ndarray:
        """See `Source`."""
        return mix_audio(rng, audible, lambda i: self.package / OBJECTS[i - 1].sound, pitch_factor)

    def _picture(self, class_id: int) -> Path:
        return self.package / OBJECTS[class_id - 1].picture
