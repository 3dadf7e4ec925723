"""Fonts for names in any script: DejaVu Sans, which is part of matplotlib, or an installed font."""

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

DEFAULT_FONT = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
_NO_GLYPHS = ("lastresort", "adobeblank", "coloremoji")  # fonts without outlines of characters
_REGULAR = ("Regular", "Book", "Normal")


def split_runs(text: str) -> list[tuple[str, str | None]]:
    """Split a text into runs of characters that are drawn with one font.

    Returns:
        Runs, and the path of their font: `DEFAULT_FONT` wherever it has the characters, otherwise
        an installed one; None if no font has them.
    """
    runs: list[tuple[str, bool]] = []
    for char in text:
        in_default = ord(char) in _default_characters()
        if runs and (in_default == runs[-1][1] or _joins(char)):
            runs[-1] = runs[-1][0] + char, runs[-1][1]
        else:
            runs.append((char, in_default))
    runs = runs or [("", True)]
    return [(run, DEFAULT_FONT if is_default else _find_font(run)) for run, is_default in runs]


def drawable_names(names: Sequence[str]) -> dict[str, str]:
    """What to draw for each name of a vocabulary: itself, or "class 3" for the third one if no
    font has its characters (with a warning)."""
    return _drawable_names(tuple(names))


@lru_cache
def _drawable_names(names: tuple[str, ...]) -> dict[str, str]:
    drawn = {
        name: name if all(font for _, font in split_runs(name)) else f"class {number}"
        for number, name in enumerate(names, start=1)
    }
    missing = [f"'{name}' is drawn as '{label}'" for name, label in drawn.items() if label != name]
    if missing:
        logger.warning(
            "No installed font can draw %d names: %s; install one, for example of Noto Sans.",
            len(missing),
            ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else ""),
        )
    return drawn


def font_families(texts: Iterable[str]) -> list[str]:
    """Names of the fonts of texts for matplotlib's "font.family"."""
    fonts = {font for text in texts for _, font in split_runs(text) if font}
    for font in fonts:
        font_manager.fontManager.addfont(font)
    families = [font_manager.FontProperties(fname=font).get_name() for font in sorted(fonts)]
    return list(dict.fromkeys(["DejaVu Sans", *families]))


def _joins(char: str) -> bool:
    """Whether a character changes the one before it, such as an accent."""
    return unicodedata.category(char) in ("Mn", "Mc", "Cf")


@lru_cache(maxsize=512)
def _find_font(run: str) -> str | None:
    needed = [ord(char) for char in run if not _joins(char)]
    for font in _installed_fonts():
        if np.isin(needed, _characters(font)).all():
            return font
    return None


@lru_cache(maxsize=1)
def _installed_fonts() -> list[str]:
    """Paths of installed fonts, regular ones first."""
    fonts = [
        path
        for path in sorted(font_manager.findSystemFonts())
        if not any(name in Path(path).name.lower() for name in _NO_GLYPHS)
    ]
    return sorted(fonts, key=lambda path: not any(style in path for style in _REGULAR))


@cache
def _characters(font: str) -> np.ndarray:
    """The characters that a font has; none if it cannot be scaled or read."""
    try:
        face = FT2Font(font)
    except (OSError, RuntimeError):
        return np.zeros(0, np.int64)
    return np.array(list(face.get_charmap()) if face.scalable else [], np.int64)


@lru_cache(maxsize=1)
def _default_characters() -> frozenset[int]:
    return frozenset(_characters(DEFAULT_FONT).tolist())
