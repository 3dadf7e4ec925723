"""A few MP4 videos with audio for the demo, from a source; and the plans of the toy world's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from tqdm import tqdm

from ovavss_d2.files import hidden_folder, write_json
from ovavss_d2.media.audio import AudioTrack
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.toy.source import Source

TOY_VIDEO_SIZE = (192, 256)
FRAME_RATE = 12
_STREAM = 98  # of random numbers, separate from the data set's


@dataclass(frozen=True)
class VideoPlan:
    """The visible names, and the sounding names of successive periods (seconds, names).

    A sounding name that is not visible sounds outside the frame.
    """

    visible: tuple[str, ...]
    periods: tuple[tuple[int, tuple[str, ...]], ...]

    def sounding(self) -> list[tuple[str, ...]]:
        """The sounding names of each second."""
        return [names for seconds, names in self.periods for _ in range(seconds)]


TOY_VIDEOS = {
    "look_alikes": VideoPlan(
        ("blue circle", "blue square", "green circle"),
        ((3, ("blue circle",)), (2, ()), (3, ("green circle",)), (2, ("blue square",))),
    ),
    "duet": VideoPlan(
        ("red square", "cyan star", "red triangle"),
        ((2, ("red square",)), (3, ("red square", "cyan star")), (2, ()), (3, ("red triangle",))),
    ),
    "off_screen": VideoPlan(
        ("green triangle", "green star"),
        ((3, ("green triangle",)), (2, ("green circle",)), (2, ()), (3, ("green star",))),
    ),
    # yellow star and magenta cross are novel
    "novel": VideoPlan(
        ("yellow star", "yellow square", "blue star"),
        ((3, ("yellow star",)), (2, ()), (2, ("blue star",)), (3, ("yellow star",))),
    ),
    "novel_duet": VideoPlan(
        ("magenta cross", "cyan circle", "yellow cross", "magenta star"),
        (
            (3, ("magenta cross",)),
            (2, ()),
            (3, ("magenta cross", "cyan circle")),
            (2, ("yellow cross",)),
        ),
    ),
}


def write_videos(
    source: Source,
    root: str | Path,
    plans: Mapping[str, VideoPlan],
    size: tuple[int, int],
    *,
    seed: int = 0,
) -> None:
    """Write `<root>/<folder of the source>/videos/*.mp4`, unless they exist, and `truth.json`.

    `truth.json` has for each file `visible`, a list of names, and `sounding`, a list of names for
    each second.
    """
    folder = Path(root) / source.folder / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    title = f"{source.folder} videos"
    for number, (name, plan) in enumerate(tqdm(plans.items(), desc=title, unit="video")):
        path = folder / f"{name}.mp4"
        if not path.exists():
            _write_video(source, path, plan, size, np.random.default_rng([seed, _STREAM, number]))
        truth[path.name] = {"visible": plan.visible, "sounding": plan.sounding()}
    write_json(folder / "truth.json", truth)


def _write_video(
    source: Source, path: Path, plan: VideoPlan, size: tuple[int, int], rng: np.random.Generator
) -> None:
    sounding = [tuple(map(source.id_of, names)) for names in plan.sounding()]
    seconds = len(sounding)
    scene = draw_scene(source, rng, list(map(source.id_of, plan.visible)), size, seconds)
    frames, _ = render(scene, np.arange(seconds * FRAME_RATE) / FRAME_RATE)
    with hidden_folder(path.parent) as folder:
        wav = folder / "audio.wav"
        wavfile.write(wav, SAMPLE_RATE, source.draw_audio(rng, sounding))
        with VideoWriter(
            folder / path.name, rate=FRAME_RATE, audio_track=AudioTrack(str(wav))
        ) as writer:
            for frame in frames:
                writer.write(frame)
        os.replace(folder / path.name, path)
