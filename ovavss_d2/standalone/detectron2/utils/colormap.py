"""A palette of 74 colours that are easy to tell apart, and random picks from it."""

import random
from itertools import product

import numpy as np

__all__ = ["colormap", "random_color", "random_colors"]

# MATLAB's line colours.
_LINES = [
    (0.000, 0.447, 0.741),
    (0.850, 0.325, 0.098),
    (0.929, 0.694, 0.125),
    (0.494, 0.184, 0.556),
    (0.466, 0.674, 0.188),
    (0.301, 0.745, 0.933),
    (0.635, 0.078, 0.184),
]
_VIVID = [(1, 0, 0), (1, 0.5, 0), (0.749, 0.749, 0), (0, 1, 0), (0, 0, 1), (0.667, 0, 1)]
_THIRDS = (0.0, 0.333, 0.667, 1.0)
_SIXTHS = (0.167, 0.333, 0.5, 0.667, 0.833, 1.0)


def _palette() -> np.ndarray:
    """(74, 3) RGB in [0, 1]: lines, vivid ones, a grid of mixtures, ramps and greys."""
    grid = list(product(_THIRDS, _THIRDS))  # red and green
    colours = [
        *_LINES,
        *[(grey, grey, grey) for grey in (0.3, 0.6)],
        *_VIVID,
        *[(red, green, 0.0) for red, green in grid if red > 0 and green > 0],
        *[(red, green, 0.5) for red, green in grid[1:]],
        *[(red, green, 1.0) for red, green in grid[1:-1]],
        *[(level, 0.0, 0.0) for level in _SIXTHS[1:]],
        *[(0.0, level, 0.0) for level in _SIXTHS],
        *[(0.0, 0.0, level) for level in _SIXTHS],
        *[(grey, grey, grey) for grey in (0.0, 0.143, 0.857, 1.0)],
    ]
    return np.array(colours, dtype=np.float32)


_COLOURS = _palette()


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """The whole palette.

    Args:
        rgb: RGB, else BGR.
        maximum: the largest value, 255 or 1.

    Returns:
        (74, 3) float32.
    """
    assert maximum in (1, 255), f"maximum is {maximum}, expected 1 or 255"
    colours = _COLOURS * maximum
    return colours if rgb else colours[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """One colour of the palette, (3,) float32; arguments as in `colormap`."""
    return colormap(rgb, maximum)[np.random.randint(len(_COLOURS))]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:
    """`N` different colours of the palette (at most 74); arguments as in `colormap`."""
    colours = colormap(rgb, maximum)
    return [colours[index] for index in random.sample(range(len(_COLOURS)), N)]
