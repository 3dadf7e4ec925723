"""Machine-readable results: label maps as indexed PNG, and JSON in the YouTube-VIS format.

Shape letters: L segmented frames, H W pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pycocotools import mask as rle

from ovavss_d2.data.masks import encode_mask
from ovavss_d2.inference.replacing import MARK
from ovavss_d2.inference.results import FrameResult, Timeline
from ovavss_d2.media.drawing import BLACK, name_colors
from ovavss_d2.vocabulary import display_name, synonyms_of

LABEL_NAME = "{:06d}.png"  # of a segmented frame, by its index


class LabelMapWriter:
    """Writes `000000.png`, ...: 0 is background, k the k-th name of the vocabulary.

    The files are indexed, in the colors of the painted video; with more than 255 names they are
    16-bit grayscale.
    """

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder = folder
        self._palette = np.array([BLACK, *name_colors(map(display_name, names)).values()], np.uint8)
        folder.mkdir()

    def add(self, result: FrameResult) -> None:
        """Write the next label map."""
        is_indexed = len(self._palette) <= 256
        image = Image.fromarray(result.label_map.astype(np.uint8 if is_indexed else np.uint16))
        if is_indexed:
            image.putpalette(self._palette.tobytes())
        comment = PngInfo()
        comment.add_text("Comment", MARK)
        image.save(self.folder / LABEL_NAME.format(result.index), pnginfo=comment)

    def finish(self, timeline: Timeline) -> None:
        """Do nothing: all files are written."""


class YouTubeVISWriter:
    """Writes one JSON file in the YouTube-VIS format, with one annotation per sounding name.

    Additional keys: `times` of the frames, `scores` of a name in each frame (null where it does not
    sound), and `sounding`, the time spans of each name. Encoded masks stay in memory: 18 MB for an
    hour of 640 x 360 pixels with two ragged masks per second.
    """

    def __init__(
        self, path: Path, video: str, names: Sequence[str], fps: float, missing_seconds: float = 0.0
    ):
        """Category i is the i-th name of the vocabulary, from 1; `fps` counts segmented frames;
        `missing_seconds` are those of a video that was cut off."""
        self.path = path
        missing = round(missing_seconds, 4)
        self._info = {"comment": MARK, "video": video, "fps": fps, "missing_seconds": missing}
        self._categories = [
            {"id": i, "name": display_name(name), "synonyms": list(synonyms_of(name)[1:])}
            for i, name in enumerate(names, start=1)
        ]
        self._ids = {display_name(name): i for i, name in enumerate(names, start=1)}
        self._size = (0, 0)
        self._times: list[float] = []
        self._masks: dict[str, dict[int, tuple[dict, float]]] = {}  # name, frame: mask, score

    def add(self, result: FrameResult) -> None:
        """Encode the masks of the next result."""
        self._size = result.label_map.shape
        for name, score in result.scores().items():
            mask = encode_mask(result.label_map == self._ids[name])
            assert mask is not None  # a name with a score has pixels
            self._masks.setdefault(name, {})[len(self._times)] = (mask, round(score, 4))
        self._times.append(round(result.time, 4))

    def finish(self, timeline: Timeline) -> None:
        """Write the file."""
        files = [LABEL_NAME.format(i) for i in range(len(self._times))]
        content = {
            "info": self._info,
            "videos": [{"id": 1, "file_names": files, **self._shape(), "times": self._times}],
            "categories": self._categories,
            "sounding": [
                {
                    "category_id": self._ids[span.name],
                    "name": span.name,
                    "start": round(span.start, 4),
                    "end": round(span.end, 4),
                    "score": round(span.score, 4),
                }
                for span in timeline.spans
            ],
            "annotations": [self._annotation(i, n) for i, n in enumerate(self._masks, start=1)],
        }
        with open(self.path, "w", encoding="ascii") as file:
            json.dump(content, file)

    def _shape(self) -> dict[str, int]:
        return {"height": self._size[0], "width": self._size[1], "length": len(self._times)}

    def _annotation(self, number: int, name: str) -> dict[str, Any]:
        masks = [self._masks[name].get(i) for i in range(len(self._times))]
        return {
            "id": number,
            "video_id": 1,
            "category_id": self._ids[name],
            "iscrowd": 0,
            **self._shape(),
            "score": max(found[1] for found in masks if found),
            "segmentations": [found and found[0] for found in masks],
            "bboxes": [found and rle.toBbox(found[0]).tolist() for found in masks],
            "areas": [found and int(rle.area(found[0])) for found in masks],
            "scores": [found and found[1] for found in masks],
        }
