"""A few MP4 videos of the toy world with audio, for the demo."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from tqdm import tqdm

from ovavss_d2.files import hidden_folder, write_json
from ovavss_d2.media.audio import AudioTrack
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.toy.audio import draw_audio
from ovavss_d2.toy.dataset import toy_root
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.vocabulary import TOY_NAMES

SIZE = (192, 256)
FRAME_RATE = 12
_STREAM = 98  # of random numbers, separate from the data set's


@dataclass(frozen=True)
class ToyVideo:
    """The visible names, and the sounding names of successive periods (seconds, names).

    A sounding name that is not visible sounds outside the frame.
    """

    visible: tuple[str, ...]
    periods: tuple[tuple[int, tuple[str, ...]], ...]

    def sounding(self) -> list[tuple[str, ...]]:
        """The sounding names of each second."""
        return [names for seconds, names in self.periods for _ in range(seconds)]


VIDEOS = {
    "look_alikes": ToyVideo(
        ("blue circle", "blue square", "green circle"),
        ((3, ("blue circle",)), (2, ()), (3, ("green circle",)), (2, ("blue square",))),
    ),
    "duet": ToyVideo(
        ("red square", "cyan star", "red triangle"),
        ((2, ("red square",)), (3, ("red square", "cyan star")), (2, ()), (3, ("red triangle",))),
    ),
    "off_screen": ToyVideo(
        ("green triangle", "green star"),
        ((3, ("green triangle",)), (2, ("green circle",)), (2, ()), (3, ("green star",))),
    ),
    # yellow star and magenta cross are novel
    "novel": ToyVideo(
        ("yellow star", "yellow square", "blue star"),
        ((3, ("yellow star",)), (2, ()), (2, ("blue star",)), (3, ("yellow star",))),
    ),
    "novel_duet": ToyVideo(
        ("magenta cross", "cyan circle", "yellow cross", "magenta star"),
        (
            (3, ("magenta cross",)),
            (2, ()),
            (3, ("magenta cross", "cyan circle")),
            (2, ("yellow cross",)),
        ),
    ),
}


def write_toy_videos(root: str | Path, *, seed: int = 0) -> None:
    """Write `<root>/toy/videos/*.mp4`, unless they exist, and `truth.json`.

    `truth.json` has for each file `visible`, a list of names, and `sounding`, a list of names for
    each second.
    """
    folder = toy_root(root) / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for number, (name, video) in enumerate(tqdm(VIDEOS.items(), desc="toy videos", unit="video")):
        path = folder / f"{name}.mp4"
        if not path.exists():
            _write_video(path, video, np.random.default_rng([seed, _STREAM, number]))
        truth[path.name] = {"visible": video.visible, "sounding": video.sounding()}
    write_json(folder / "truth.json", truth)


def _write_video(path: Path, video: ToyVideo, rng: np.random.Generator) -> None:
    sounding = [_ids(names) for names in video.sounding()]
    seconds = len(sounding)
    scene = draw_scene(rng, _ids(video.visible), SIZE, seconds)
    frames, _ = render(scene, np.arange(seconds * FRAME_RATE) / FRAME_RATE)
    with hidden_folder(path.parent) as folder:
        wav = folder / "audio.wav"
        wavfile.write(wav, SAMPLE_RATE, draw_audio(rng, sounding))
        with VideoWriter(
            folder / path.name, rate=FRAME_RATE, audio_track=AudioTrack(str(wav))
        ) as writer:
            for frame in frames:
                writer.write(frame)
        os.replace(folder / path.name, path)


def _ids(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(TOY_NAMES.index(name) + 1 for name in names)
