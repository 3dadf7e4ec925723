"""Data sets in AVSBench-semantic's format that are made from a source and a seed.

`<root>/<folder of the source>/` has
  AVSBench-semantic/{v1s,v1m,v2}/<uid>/{frames/%d.jpg,labels_rgb/%d.png,audio.wav}
  AVSBench-semantic/{metadata.csv,label2idx.json}
  visible/<uid>.npz   "ids": uint8 (L, H, W), class ids of all visible objects, sounding or not
  views.json          {uid of a test video: one of `schedule.VIEWS`}
  <folder>.json       seed, size and version, so that two worlds are never mixed
A clip depends on (seed, split, index) alone. Its folder is renamed when it is complete.
"""

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.io import wavfile

from ovavss_d2.data.avsbench import FRAMES_OF_SUBSET, SPLITS
from ovavss_d2.data.parallel import map_in_processes
from ovavss_d2.files import atomic_folder, atomic_path, read_json, write_json
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.scene import TOY_SIZE, draw_scene, render
from ovavss_d2.toy.schedule import VIEWS, Schedule, draw_schedule
from ovavss_d2.toy.source import Source
from ovavss_d2.vocabulary import voc_palette

JPEG_QUALITY = 92

_SUBSETS = ("v2", "v1m", "v2", "v1m", "v1s", "v1m", "v2", "v1m", "v2", "v1m")  # of every ten clips
_METADATA_FIELDS = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")


@dataclass(frozen=True)
class Clip:
    """The properties of a clip that do not have to be drawn."""

    source: Source
    seed: int
    split: str
    index: int

    @property
    def uid(self) -> str:
        return f"{self.split}-{self.index:05d}_0_{1000 * self.seconds}"

    @property
    def subset(self) -> str:
        return _SUBSETS[self.index % len(_SUBSETS)]

    @property
    def view(self) -> str:
        return VIEWS[self.index % len(VIEWS)] if self.split == "test" else "base"

    @property
    def seconds(self) -> int:
        """Length, also in frames: there is one per second."""
        return FRAMES_OF_SUBSET[self.subset]

    @property
    def labeled(self) -> int:
        """Number of labeled frames, from the first one."""
        return 1 if self.split == "train" and self.subset == "v1s" else self.seconds

    def rng(self, purpose: int) -> np.random.Generator:
        """The clip's random numbers for one purpose (0 schedule, 1 frames, 2 audio)."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), self.index, purpose])

    def schedule(self) -> Schedule:
        """The clip's schedule; if only one frame is labeled, an object sounds in it."""
        schedule = draw_schedule(
            self.source, self.rng(0), self.view, self.seconds, solo=self.subset == "v1s"
        )
        if self.labeled == self.seconds:
            return schedule
        start = next(i for i, now in enumerate(schedule.sounding) if now)
        sounding, off_screen = (
            (*seconds[start:], *seconds[:start])
            for seconds in (schedule.sounding, schedule.off_screen)
        )
        return Schedule(schedule.visible, sounding, off_screen)

    def metadata(self) -> dict[str, str | int]:
        """The clip's row of `metadata.csv`."""
        ids = sorted({i for now in self.schedule().sounding for i in now})
        names = "_".join(self.source.names[i - 1] for i in ids)
        vid = f"{self.split}-{self.index:05d}"
        values = (vid, self.uid, 0, 0, names, self.split, self.subset)
        return dict(zip(_METADATA_FIELDS, values, strict=True))


def write_dataset(
    source: Source,
    root: str | Path,
    counts: dict[str, int],
    *,
    seed: int = 0,
    size: tuple[int, int] = TOY_SIZE,
    workers: int = 2,
) -> Path:
    """Write a data set; clips that exist are kept, so an interrupted run resumes.

    Args:
        source: of its objects and sounds; it can be pickled.
        root: folder of the data sets; the source's folder is made in it.
        counts: number of clips of each of `SPLITS`.
        seed: other seeds give other worlds.
        size: (H, W) of the frames.
        workers: processes.

    Returns:
        The folder in AVSBench-semantic's format.

    Raises:
        ValueError: the folder has a data set of another seed or size.
    """
    folder = Path(root) / source.folder
    _check_same(source, folder, seed, size)
    clips = [Clip(source, seed, split, i) for split in SPLITS for i in range(counts[split])]
    write = partial(write_clip, folder=folder, size=size)
    rows = list(map_in_processes(write, clips, workers, f"{source.folder} clips", "clip"))
    semantic = folder / "AVSBench-semantic"
    with atomic_path(semantic / "metadata.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, _METADATA_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    ids = {"background": 0} | {name: i for i, name in enumerate(source.names, start=1)}
    write_json(semantic / "label2idx.json", ids)
    write_json(folder / "views.json", {c.uid: c.view for c in clips if c.split == "test"})
    return semantic


def write_clip(clip: Clip, *, folder: Path, size: tuple[int, int]) -> dict[str, str | int]:
    """Write a clip to a data set unless it exists, and return its row of `metadata.csv`."""
    row = clip.metadata()
    target = folder / "AVSBench-semantic" / clip.subset / clip.uid
    if target.exists():
        return row
    source, schedule = clip.source, clip.schedule()
    scene = draw_scene(source, clip.rng(1), schedule.visible, size, clip.seconds)
    frames, ids = render(scene, np.arange(clip.seconds, dtype=float))
    truth = [np.where(np.isin(i, now), i, 0) for i, now in zip(ids, schedule.sounding, strict=True)]
    palette = voc_palette(len(source.names) + 1)
    with atomic_folder(target) as draft:
        (draft / "frames").mkdir()
        (draft / "labels_rgb").mkdir()
        for i, frame in enumerate(frames):
            _write_image(draft / "frames" / f"{i}.jpg", frame)
        for i, label in enumerate(truth[: clip.labeled]):
            _write_image(draft / "labels_rgb" / f"{i}.png", palette[label])
        audio = source.draw_audio(clip.rng(2), schedule.audible())
        wavfile.write(draft / "audio.wav", SAMPLE_RATE, audio)
        visible = folder / "visible" / f"{clip.uid}.npz"
        visible.parent.mkdir(exist_ok=True)
        np.savez_compressed(visible, ids=ids)
    return row


def _write_image(path: Path, rgb: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), rgb[..., ::-1], options):
        raise OSError(f"could not write '{path}'; is the disk full?")


def _check_same(source: Source, folder: Path, seed: int, size: tuple[int, int]) -> None:
    """Write `<folder>.json`, or raise an error if it describes another data set."""
    requested = {"version": source.version, "seed": seed, "height": size[0], "width": size[1]}
    path = folder / f"{source.folder}.json"
    if not path.exists():
        write_json(path, requested)
    existing = read_json(path, "remove the folder or give another --root")
    if existing != requested:
        versions = f"the data set {existing}, not {requested}"
        raise ValueError(f"'{folder}' has {versions}; remove it or give another --root")
