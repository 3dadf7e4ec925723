"""A handful of MP4 videos of the toy world with sound, each with a small story, for the demo."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ovavss_d2.files import write_json
from ovavss_d2.media.audio import AudioTrack
from ovavss_d2.media.video_writer import VideoWriter
from ovavss_d2.toy.audio import draw_soundtrack
from ovavss_d2.toy.dataset import toy_root, write_wav
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.vocabulary import TOY_NAMES

SIZE = (192, 256)
FRAME_RATE = 12
_STREAM = 98  # of random numbers, apart from the data set's


@dataclass(frozen=True)
class Story:
    """What is to be seen, and what is to be heard: names for so many seconds, one after the other.

    A name that is not among the visible ones sounds outside the frame.
    """

    visible: tuple[str, ...]
    heard: tuple[tuple[int, tuple[str, ...]], ...]

    def sounding(self) -> list[tuple[str, ...]]:
        """Return the names for each second."""
        return [names for seconds, names in self.heard for _ in range(seconds)]


STORIES = {
    "look_alikes": Story(
        ("blue circle", "blue square", "green circle"),
        ((3, ("blue circle",)), (2, ()), (3, ("green circle",)), (2, ("blue square",))),
    ),
    "duet": Story(
        ("red square", "cyan star", "red triangle"),
        ((2, ("red square",)), (3, ("red square", "cyan star")), (2, ()), (3, ("red triangle",))),
    ),
    "off_screen": Story(
        ("green triangle", "green star"),
        ((3, ("green triangle",)), (2, ("green circle",)), (2, ()), (3, ("green star",))),
    ),
    # yellow star and magenta cross are novel
    "novel": Story(
        ("yellow star", "yellow square", "blue star"),
        ((3, ("yellow star",)), (2, ()), (2, ("blue star",)), (3, ("yellow star",))),
    ),
    "novel_duet": Story(
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
    """Write `<root>/toy/videos/*.mp4`, where they are not there yet, and `truth.json` beside them.

    It holds for each file `visible`, a list of names, and `sounding`, for each second the list of
    the names that are heard.
    """
    folder = toy_root(root) / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, story) in enumerate(tqdm(STORIES.items(), desc="toy videos", unit="video")):
        path = folder / f"{name}.mp4"
        if not path.exists():
            _write_video(path, story, np.random.default_rng([seed, _STREAM, number]))
    truth = {
        f"{name}.mp4": {"visible": story.visible, "sounding": story.sounding()}
        for name, story in STORIES.items()
    }
    write_json(folder / "truth.json", truth)


def _write_video(path: Path, story: Story, rng: np.random.Generator) -> None:
    sounding = [_ids(names) for names in story.sounding()]
    seconds = len(sounding)
    scene = draw_scene(rng, list(_ids(story.visible)), SIZE, seconds)
    frames, _ = render(scene, np.arange(seconds * FRAME_RATE) / FRAME_RATE)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        write_wav(wav, draw_soundtrack(rng, sounding))
        with VideoWriter(path, rate=FRAME_RATE, audio_track=AudioTrack(str(wav))) as writer:
            for frame in frames:
                writer.write(frame)


def _ids(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(TOY_NAMES.index(name) + 1 for name in names)
