"""The toy world: a small data set in exactly AVSBench-semantic's form, made from a seed.

`<root>/toy/` holds
  AVSBench-semantic/{v1s,v1m,v2}/<uid>/{frames/%d.jpg,labels_rgb/%d.png,audio.wav}
  AVSBench-semantic/{metadata.csv,label2idx.json}
  visible/<uid>.npz   "ids": uint8 (L, H, W), class ids of all that is seen, sounding or not
  views.json          {uid of a test video: one of `toy_cast.VIEWS`}
  toy.json            seed, size and version, so that two worlds are never mixed
A clip depends on (seed, split, index) alone. Its folder appears by one rename, complete.
"""

import csv
import json
import shutil
import wave
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ovavss_d2.data.parallel import map_in_processes
from ovavss_d2.files import atomic_path, write_json
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.audio import draw_soundtrack
from ovavss_d2.toy.scene import TOY_SIZE, draw_scene, render
from ovavss_d2.toy.schedule import VIEWS, Cast, draw_cast
from ovavss_d2.vocabulary import TOY_NAMES, voc_palette

SPLITS = ("train", "val", "test")
SECONDS = {"v1s": 5, "v1m": 5, "v2": 10}  # frames too: one a second
JPEG_QUALITY = 92
VERSION = 2  # of what is drawn from a seed

_SUBSETS = ("v2", "v1m", "v2", "v1m", "v1s", "v1m", "v2", "v1m", "v2", "v1m")  # of every ten clips
_METADATA_FIELDS = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")


@dataclass(frozen=True)
class ToyClip:
    """What one clip is, before anything of it is drawn."""

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
        return SECONDS[self.subset]

    @property
    def labeled(self) -> int:
        """How many frames, from the first, have truth."""
        return 1 if self.split == "train" and self.subset == "v1s" else self.seconds

    def rng(self, purpose: int) -> np.random.Generator:
        """Return the clip's own random numbers for one purpose (0 cast, 1 picture, 2 sound)."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), self.index, purpose])

    def cast(self) -> Cast:
        """Return who is seen and heard; a clip's only labeled frame has something to paint."""
        cast = draw_cast(self.rng(0), self.view, self.seconds, solo=self.subset == "v1s")
        if self.labeled < self.seconds:
            start = next(i for i, now in enumerate(cast.sounding) if now)
            order = [(start + i) % self.seconds for i in range(self.seconds)]
            cast = Cast(
                cast.visible,
                tuple(cast.sounding[i] for i in order),
                tuple(cast.off_screen[i] for i in order),
            )
        return cast

    def metadata(self) -> dict[str, str | int]:
        """Return the clip's line of `metadata.csv`."""
        names = [TOY_NAMES[i - 1] for i in sorted({i for now in self.cast().sounding for i in now})]
        vid = f"{self.split}-{self.index:05d}"
        values = (vid, self.uid, 0, 0, "_".join(names), self.split, self.subset)
        return dict(zip(_METADATA_FIELDS, values, strict=True))


def toy_root(root: str | Path) -> Path:
    """Return the folder of the toy world under a data sets' root."""
    return Path(root) / "toy"


def write_toy(
    root: str | Path,
    counts: dict[str, int],
    *,
    seed: int = 0,
    size: tuple[int, int] = TOY_SIZE,
    workers: int = 2,
) -> Path:
    """Write (or go on writing) the toy data set; finished clips are kept.

    Args:
        root: data sets' root; `toy/` is made in it.
        counts: number of clips for each of `SPLITS`.
        seed: other seeds give other worlds.
        size: (H, W) of the frames.
        workers: processes.

    Returns:
        The folder in AVSBench-semantic's form.

    Raises:
        ValueError: the folder holds a toy world of another seed or size.
    """
    home = toy_root(root)
    _claim(home, seed, size)
    clips = [ToyClip(seed, split, i) for split in SPLITS for i in range(counts[split])]
    write = partial(write_clip, home=home, size=size)
    rows = list(map_in_processes(write, clips, workers, "toy clips", "clip"))
    semantic = home / "AVSBench-semantic"
    with atomic_path(semantic / "metadata.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, _METADATA_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    ids = {"background": 0} | {name: i for i, name in enumerate(TOY_NAMES, start=1)}
    write_json(semantic / "label2idx.json", ids)
    views = {clip.uid: clip.view for clip in clips if clip.split == "test"}
    write_json(home / "views.json", views)
    return semantic


def write_clip(clip: ToyClip, *, home: Path, size: tuple[int, int]) -> dict[str, str | int]:
    """Write one clip unless its folder is there, and return its line of `metadata.csv`."""
    row = clip.metadata()
    folder = home / "AVSBench-semantic" / clip.subset / clip.uid
    if folder.exists():
        return row
    cast = clip.cast()
    scene = draw_scene(clip.rng(1), list(cast.visible), size, clip.seconds)
    frames, ids = render(scene, np.arange(clip.seconds, dtype=float))
    truth = [np.where(np.isin(i, now), i, 0) for i, now in zip(ids, cast.sounding, strict=True)]
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "frames").mkdir(parents=True)
    (draft / "labels_rgb").mkdir()
    palette = voc_palette(len(TOY_NAMES) + 1)[:, ::-1]  # OpenCV writes BGR
    for i, frame in enumerate(frames):
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _write_image(draft / "frames" / f"{i}.jpg", frame[..., ::-1], quality)
    for i, label in enumerate(truth[: clip.labeled]):
        _write_image(draft / "labels_rgb" / f"{i}.png", palette[label])
    write_wav(draft / "audio.wav", draw_soundtrack(clip.rng(2), cast.heard()))
    visible = home / "visible" / f"{clip.uid}.npz"
    visible.parent.mkdir(exist_ok=True)
    np.savez_compressed(visible, ids=ids)
    draft.rename(folder)
    return row


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write int16 samples as a mono WAV file at `SAMPLE_RATE`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _write_image(path: Path, bgr: np.ndarray, options: list[int] | None = None) -> None:
    if not cv2.imwrite(str(path), bgr, options or []):
        raise OSError(f"could not write '{path}'; is the disk full?")


def _claim(home: Path, seed: int, size: tuple[int, int]) -> None:
    """Note in `toy.json` which world this is, or make sure that it is the one that is there."""
    asked = {"version": VERSION, "seed": seed, "height": size[0], "width": size[1]}
    note = home / "toy.json"
    if not note.exists():
        write_json(note, asked)
    there = json.loads(note.read_text())
    if there != asked:
        raise ValueError(
            f"'{home}' holds the toy world {there}, not {asked}; remove it or give another --root"
        )
