"""Names, base and novel ids, prompts and the palette, defined once.

The id of a name is its index in its list plus 1; 0 is the background. Other modules read these
lists from `MetadataCatalog`.
"""

import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from importlib import resources
from itertools import chain

import numpy as np

from ovavss_d2.stamps.objects import OBJECTS, ids_of

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

# The first ids of the stamps data set's objects: those with a sound.
STAMPS_NAMES = tuple(OBJECTS[i - 1].name for i in ids_of("base", "novel"))
STAMPS_BASE_IDS = ids_of("base")

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

# The prompt of CLAP (arXiv 2211.06687) for names of sounds.
SOUND_PROMPTS = ("This is a sound of {}.",)

# Sounds that compete in the audio classifier and are never in the results.
BACKGROUND_SOUNDS = (
    "silence", "noise", "wind", "hum", "static", "footsteps", "room tone", "traffic", "crowd",
    "music in the background",
)  # fmt: skip

PRESETS = ("avsbench", "toy", "stamps", "everyday")
SYNONYM_SEPARATOR = "|"
MAX_NAME_LENGTH = 500  # characters; CLIP reads fewer
_MAX_FILE_BYTES = 2**24


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


def name_key(name: str) -> str:
    """The same for names that differ only in case, spaces, Unicode form or invisible characters."""
    visible = "".join(c for c in name if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def check_names(names: Iterable[str], origin: str) -> None:
    """Check names whose positions are their ids, so that none can be left out.

    Raises:
        ValueError: there is no name; one is empty, too long or not text; or two are equal (see
            `name_key`).
    """
    known: dict[str, str] = {}
    for name in names:
        _check_name(name, origin)
        key = name_key(name)
        if not key:
            raise ValueError(f"{origin} has an empty name; each class needs one")
        if key in known:
            raise ValueError(f"{origin} has '{known[key]}' and '{name}'; rename one of them")
        known[key] = name
    if not known:
        raise ValueError(f"{origin} has no names; give at least one")


def parse_vocabulary(source: str | Iterable[str]) -> tuple[str, ...]:
    """Read names from a preset, a file or the text itself.

    Args:
        source: one of `PRESETS` ("everyday" has objects that make sounds); the path of a file;
            text, see `parse_names`; or the names themselves. In a file, lines that start with "#"
            are comments. "car|automobile" is one class with two synonyms, called "car" in results.

    Returns:
        See `unique_names`.

    Raises:
        ValueError: see `unique_names`; or the file is not text, or what looks like a path is not a
            file.
    """
    if not isinstance(source, str):
        return unique_names(source, origin="the list")
    if source.strip() in PRESETS or "\n" in source:
        return parse_names(source)
    origin = _quoted(source)
    if os.path.isfile(source):
        return unique_names(_split(_read_text(source, origin), origin), origin)
    if _looks_like_a_path(source):
        raise ValueError(
            f"the vocabulary {origin} looks like a path, but there is no such file; give the path "
            "of a file, or names separated by commas"
        )
    return parse_names(source)


def parse_names(text: str) -> tuple[str, ...]:
    """Read names from a preset or text; the text is never taken for a path.

    Args:
        text: a preset; names separated by commas or lines, in double quotes as in CSV if they
            contain commas; or a JSON list of names.

    Returns, Raises:
        See `unique_names`.
    """
    if text.strip() in PRESETS:
        return _preset(text.strip())
    return unique_names(_split(text, _quoted(text)), _quoted(text))


def format_names(names: Iterable[str]) -> str:
    """Write names as the text from which `parse_names` reads them."""

    def is_ambiguous(name: str) -> bool:
        return name in PRESETS or name.startswith(("[", "{")) or not {",", '"'}.isdisjoint(name)

    quoted = (name.replace('"', '""') for name in names)
    return ", ".join(f'"{name}"' if is_ambiguous(name) else name for name in quoted)


def unique_names(names: Iterable[str], origin: str) -> tuple[str, ...]:
    """Keep the first of equal names (see `name_key`), and the same for synonyms.

    Returns:
        The names, at least one, in their order, with single spaces; synonyms are joined by "|".

    Raises:
        ValueError: there is no name, one is too long or not text, or a word is in two classes.
    """
    classes: dict[tuple[str, ...], str] = {}
    words: set[str] = set()
    for name in names:
        _check_name(name, f"the vocabulary {origin}")
        synonyms: dict[str, str] = {}
        for word in synonyms_of(name):
            synonyms.setdefault(name_key(word), " ".join(word.split()))
        synonyms.pop("", None)
        if not synonyms or tuple(synonyms) in classes:
            continue
        repeated = next((synonyms[key] for key in synonyms if key in words), None)
        if repeated:
            raise ValueError(f"the vocabulary {origin} has '{repeated}' in two classes; remove one")
        words.update(synonyms)
        classes[tuple(synonyms)] = SYNONYM_SEPARATOR.join(synonyms.values())
    if not classes:
        raise ValueError(
            f"the vocabulary {origin} has no names; give names separated by commas, "
            f"a file with one name per line, or one of {', '.join(PRESETS)}"
        )
    return tuple(classes.values())


def _check_name(name: object, origin: str) -> None:
    if not isinstance(name, str):
        raise ValueError(f"{origin} has {_quoted(str(name))} among its names, expected text")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{origin} has a name of {len(name)} characters ({_quoted(name)}), the limit is "
            f"{MAX_NAME_LENGTH}; separate names by commas or lines"
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") and not c.isspace() for c in name):
        raise ValueError(f"{origin} has control characters in {ascii(name)}; remove them")


def _quoted(text: str) -> str:
    """Text for a message: on one line, and not too long."""
    text = " ".join(text.split())
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"


def _preset(name: str) -> tuple[str, ...]:
    if name == "everyday":
        text = resources.files("ovavss_d2").joinpath("everyday_sounds.txt").read_text("utf-8")
        return unique_names(_split(_without_comments(text), name), name)
    return {"avsbench": AVSBENCH_NAMES, "toy": TOY_NAMES, "stamps": STAMPS_NAMES}[name]


def _read_text(path: str, origin: str) -> str:
    if os.path.getsize(path) > _MAX_FILE_BYTES:
        raise ValueError(
            f"{origin}: too large for a list of names, {_MAX_FILE_BYTES} bytes at most"
        )
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _without_comments(file.read())
    except UnicodeDecodeError as error:
        raise ValueError(f"{origin}: not a UTF-8 text file of names ({error.reason})") from error


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _looks_like_a_path(text: str) -> bool:
    return text.strip().endswith((".txt", ".csv", ".json")) or (os.sep in text and "," not in text)


def _split(text: str, origin: str) -> list[str]:
    """Split a JSON list, or lines of CSV."""
    try:
        if not re.match(r"""\s*[\[{]\s*["'\[{\]}]""", text):
            text = re.sub(r'"[ \t]+(?=,|$)', '"', text, flags=re.MULTILINE)
            lines = (line + "\n" for line in text.splitlines())
            return list(chain.from_iterable(csv.reader(lines, skipinitialspace=True, strict=True)))
        names = json.loads(text)
    except (csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"the vocabulary {origin} has a wrong quote or bracket ({error}); give names separated "
            'by commas, CSV with double quotes, or a JSON list ["dog", "cat"]'
        ) from error
    if not isinstance(names, list):
        raise ValueError(f"the vocabulary {origin} is JSON, but not a list of names")
    return names
