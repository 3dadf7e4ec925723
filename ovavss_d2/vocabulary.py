"""Names, base and novel ids, prompts and the palette, defined once.

The id of a name is its index in its list plus 1; 0 is the background. Other modules read these
lists from `MetadataCatalog`.
"""

import os
from collections.abc import Iterable, Iterator
from importlib import resources

import numpy as np

_AVSBENCH_TEXT = """
accordion airplane axe baby bassoon bell bird boat boy bus car cat cello clarinet clipper clock
dog donkey drum duck elephant emergency-car erhu flute frying-food girl goose guitar gun guzheng
hair-dryer handpan harmonica harp helicopter hen horse keyboard leopard lion man marimba
missile-rocket motorcycle mower parrot piano pig pipa saw saxophone sheep sitar sorna squirrel
tabla tank tiger tractor train trombone truck trumpet tuba ukulele utv vacuum-cleaner violin
wolf woman
"""
AVSBENCH_NAMES = tuple(_AVSBENCH_TEXT.split())
# The 40 base classes of AVSBench-OV; the other 30 are novel.
AVSBENCH_BASE_IDS = (
    2, 4, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 21, 26, 27, 28, 29, 31,
    35, 36, 37, 38, 40, 41, 43, 44, 46, 47, 48, 52, 55, 58, 59, 60, 62, 63, 67, 70,
)  # fmt: skip

TOY_SHAPES = ("circle", "square", "triangle", "star", "cross")
TOY_COLORS = ("red", "green", "blue", "yellow", "magenta", "cyan")
TOY_NAMES = tuple(f"{color} {shape}" for color in TOY_COLORS for shape in TOY_SHAPES)
# The novel classes are two diagonals of the (shape, color) table: shape s in colors s and s + 3.
# So each shape is novel in two colors, each color in one or two shapes, and every shape and color
# occurs in base classes.
_TOY_NOVEL_IDS = tuple(
    1 + color * len(TOY_SHAPES) + shape
    for color in range(len(TOY_COLORS))
    for shape in range(len(TOY_SHAPES))
    if (color - shape) % 3 == 0
)
TOY_BASE_IDS = tuple(i for i in range(1, len(TOY_NAMES) + 1) if i not in _TOY_NOVEL_IDS)

# The prompts of ViLD (arXiv 2104.13921), single-template and scene forms.
PROMPTS = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)

# Names that compete in the classifier and are never in the results.
BACKGROUND_NAMES = (
    "background", "wall", "floor", "ceiling", "sky", "ground", "grass", "road", "water",
    "furniture",
)  # fmt: skip

PRESETS = ("avsbench", "toy", "everyday")
SYNONYM_SEPARATOR = "|"


def novel_ids(names: Iterable[str], base_ids: Iterable[int]) -> tuple[int, ...]:
    """Return the ids (from 1) of `names` that are not among `base_ids`, ascending."""
    base = set(base_ids)
    return tuple(i for i, _ in enumerate(names, start=1) if i not in base)


def voc_palette(n: int) -> np.ndarray:
    """Return the first `n` colors of the Pascal VOC palette.

    Bits 0, 3, 6, ... of an index become red's bits from the highest down, bits 1, 4, 7, ...
    green's, bits 2, 5, 8, ... blue's.

    Args:
        n: 1 to 256 colors; the first one is black.

    Returns:
        uint8 array (n, 3), RGB.
    """
    if not 1 <= n <= 256:
        raise ValueError(f"{n} colors requested, expected 1 to 256")
    index = np.arange(n)
    palette = np.zeros((n, 3), np.uint8)
    for bit in range(8):
        channel, level = bit % 3, 7 - bit // 3
        palette[:, channel] |= (((index >> bit) & 1) << level).astype(np.uint8)
    return palette


def synonyms_of(name: str) -> tuple[str, ...]:
    """The synonyms of a class: two for "car|automobile"."""
    return tuple(name.split(SYNONYM_SEPARATOR))


def display_name(name: str) -> str:
    """The name of a class in results: the first of its synonyms."""
    return synonyms_of(name)[0]


def parse_vocabulary(source: str | Iterable[str]) -> tuple[str, ...]:
    """Read names from a preset, a text file or the text itself.

    Args:
        source: "avsbench", "toy" or "everyday" (objects that make sounds); the path of a file; text
            with names separated by commas or lines, where "#" starts a comment; or the names
            themselves. "car|automobile" is one class with two synonyms, called "car" in results.

    Returns:
        The names, at least one, in their order and without duplicates; synonyms are joined by "|".

    Raises:
        ValueError: there is no name, a word belongs to two classes, the file is not text, or what
            looks like a path is not a file.
    """
    if not isinstance(source, str):
        return _unique(source, origin="the list")
    origin = f"'{source.strip()}'"
    if source.strip() in PRESETS:
        return _preset(source.strip())
    text = source
    if "\n" not in source and os.path.isfile(source):
        text = _read_text(source, origin)
    elif _looks_like_a_path(source):
        raise ValueError(
            f"the vocabulary {origin} looks like a path, but there is no such file; give the path "
            "of a file, or names separated by commas"
        )
    return _unique(_split(text), origin=origin)


def _preset(name: str) -> tuple[str, ...]:
    if name == "everyday":
        text = resources.files("ovavss_d2").joinpath("everyday_sounds.txt").read_text("utf-8")
        return _unique(_split(text), origin=name)
    return {"avsbench": AVSBENCH_NAMES, "toy": TOY_NAMES}[name]


def _read_text(path: str, origin: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{origin}: not a UTF-8 text file of names ({error.reason})") from error


def _looks_like_a_path(text: str) -> bool:
    return text.strip().endswith(".txt") or (os.sep in text and "," not in text)


def _split(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from line.split("#", 1)[0].split(",")


def _unique(names: Iterable[str], origin: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, map(_normalized, names))))
    if not names:
        raise ValueError(
            f"the vocabulary {origin} has no names; give names separated by commas, "
            f"a file with one name per line, or one of {', '.join(PRESETS)}"
        )
    words = [word for name in names for word in synonyms_of(name)]
    repeated = next((word for word in words if words.count(word) > 1), None)
    if repeated:
        raise ValueError(f"the vocabulary {origin} has '{repeated}' in two classes; remove one")
    return names


def _normalized(name: str) -> str:
    """A class with single spaces, and without empty and repeated synonyms."""
    words = (" ".join(word.split()) for word in name.split(SYNONYM_SEPARATOR))
    return SYNONYM_SEPARATOR.join(dict.fromkeys(filter(None, words)))
