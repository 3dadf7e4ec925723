"""The objects of the stamps data set: names, split, and paths in the package (`objects.csv`).

Ids count from 1: base and novel names first, then the silent objects. Silent objects are
visible, but have neither a name in the vocabulary nor a sound.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath


@dataclass(frozen=True)
class StampObject:
    """One object.

    Attributes:
        name: with synonyms, as in `parse_vocabulary`; for silent objects a description.
        kind: "base", "novel" or "silent".
        picture, sound: paths in the package's folder `stamps`; silent objects have no sound.
    """

    name: str
    kind: str
    picture: str
    sound: str

    @property
    def group(self) -> str:
        """The package's folder of the picture: objects of one group are alike."""
        return str(PurePosixPath(self.picture).parent)


def _read() -> tuple[StampObject, ...]:
    text = resources.files("ovavss_d2.stamps").joinpath("objects.csv").read_text("utf-8")
    objects = [StampObject(**row) for row in csv.DictReader(text.splitlines())]
    return tuple(sorted(objects, key=lambda item: item.kind == "silent"))


OBJECTS = _read()


def ids_of(*kinds: str) -> tuple[int, ...]:
    """Ids of all objects of some kinds, ascending."""
    return tuple(i for i, item in enumerate(OBJECTS, start=1) if item.kind in kinds)
