"""What a program reads: label maps as indexed PNG, and masks, scores and times as JSON in the form
of YouTube-VIS. Both grow on disk, not in memory.

Shape letters: L segmented frames, H W pixels.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.data.masks import encode_mask
from ovavss_d2.inference.painter import colors_of
from ovavss_d2.inference.results import FrameResult, Timeline
from ovavss_d2.vocabulary import display_name, synonyms_of

LABEL_NAME = "{:06d}.png"  # of a segmented frame, by its place from 0


class LabelMaps:
    """Writes `000000.png`, ... into a folder: 0 is background, k the k-th name of the vocabulary.

    They are indexed, in the colours of the painted video; with more than 255 names 16-bit grey.
    """

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder = folder
        self.indexed = len(names) <= 255
        colors = list(colors_of(map(display_name, names)).values()) if self.indexed else []
        self._palette = [channel for color in [(0, 0, 0), *colors] for channel in color]
        folder.mkdir()

    def add(self, result: FrameResult) -> None:
        """Write the next one."""
        path = self.folder / LABEL_NAME.format(result.index)
        if not self.indexed:
            Image.fromarray(result.label_map.astype(np.uint16)).save(path)
            return
        image = Image.fromarray(result.label_map.astype(np.uint8))
        image.putpalette(self._palette)
        image.save(path)

    def finish(self) -> None:
        """Nothing is left to do."""


class VisJson:
    """Writes results in the form of YouTube-VIS, with one annotation a name that sounds.

    Besides its keys there are `times` of the frames, `scores` of a name in each of them (null where
    it does not sound), and `sounding`: from when to when each name sounds.
    """

    def __init__(self, path: Path, *, video: str, names: Sequence[str], fps: float):
        """
        Args:
            path: the file.
            video: what it is about.
            names: the vocabulary; categories are numbered from 1.
            fps: segmented frames a second.
        """
        self.path = path
        self.video = video
        self.names = tuple(names)
        self.fps = fps
        self.timeline = Timeline(1 / fps)
        self._size = (0, 0)
        self._times: list[float] = []
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115 - a line of JSON per name and frame
        self._starts: dict[str, list[int]] = {}  # of each name's lines

    def add(self, result: FrameResult) -> None:
        """Note the next result."""
        self.timeline.add(result)
        self._size = result.label_map.shape
        self._times.append(round(result.time, 4))
        for name, score in result.scores().items():
            mask = result.label_map == result.names.index(name) + 1
            line = [result.index, encode_mask(mask), round(score, 4)]
            self._starts.setdefault(name, []).append(self._notes.tell())
            self._notes.write(json.dumps(line).encode() + b"\n")

    def finish(self) -> None:
        """Write the file."""
        head = json.dumps(self._head())
        with self._notes, open(self.path, "w", encoding="ascii") as file:
            file.write(head[:-1] + ', "annotations": [')
            for i, name in enumerate(self._starts):
                file.write((", " if i else "") + "\n")
                self._write_annotation(file, i + 1, name)
            file.write("\n]}\n")

    def _head(self) -> dict:
        height, width = self._size
        length = len(self._times)
        video = {
            "id": 1,
            "file_names": [LABEL_NAME.format(i) for i in range(length)],
            "height": height,
            "width": width,
            "length": length,
            "times": self._times,
        }
        words = [display_name(name) for name in self.names]
        return {
            "info": {"video": self.video, "fps": self.fps},
            "videos": [video],
            "categories": [
                {"id": i, "name": word, "synonyms": list(synonyms_of(name)[1:])}
                for i, (word, name) in enumerate(zip(words, self.names, strict=True), start=1)
            ],
            "sounding": [
                {
                    "category_id": words.index(span.name) + 1,
                    "name": span.name,
                    "start": round(span.start, 4),
                    "end": round(span.end, 4),
                    "score": round(span.score, 4),
                }
                for span in self.timeline.spans
            ],
        }

    def _write_annotation(self, file: IO[str], number: int, name: str) -> None:
        height, width = self._size
        words = [display_name(each) for each in self.names]
        annotation = {
            "id": number,
            "video_id": 1,
            "category_id": words.index(name) + 1,
            "iscrowd": 0,
            "height": height,
            "width": width,
            "length": len(self._times),
            "score": round(max(score for _, _, score in self._read(name)), 4),
        }
        file.write(json.dumps(annotation)[:-1])
        for key, value in (
            ("segmentations", lambda mask, score: mask),
            ("bboxes", lambda mask, score: [float(side) for side in rle.toBbox(mask)]),
            ("areas", lambda mask, score: int(rle.area(mask))),
            ("scores", lambda mask, score: score),
        ):
            file.write(f', "{key}": [')
            place = 0
            for index, mask, score in self._read(name):
                file.write("null, " * (index - place) + json.dumps(value(mask, score)))
                place = index + 1
                file.write(", " if place < len(self._times) else "")
            file.write(", ".join(["null"] * (len(self._times) - place)) + "]")
        file.write("}")

    def _read(self, name: str) -> Iterator[tuple[int, dict, float]]:
        """What was noted of a name: frame, mask and score."""
        for start in self._starts[name]:
            self._notes.seek(start)
            yield tuple(json.loads(self._notes.readline()))
