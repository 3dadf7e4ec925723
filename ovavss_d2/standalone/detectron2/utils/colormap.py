"""A palette of 74 colors that are easy to distinguish, and random picks from it."""

import random
from itertools import product

import numpy as np

__all__ = ["colormap", "random_color", "random_colors"]

# MATLAB's line colors.
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
    """RGB (74, 3) in [0, 1]: lines, vivid colors, a grid of mixtures, ramps and grays."""
    grid = list(product(_THIRDS, _THIRDS))  # red and green
    colors = [
        *_LINES,
        *[(gray, gray, gray) for gray in (0.3, 0.6)],
        *_VIVID,
        *[(red, green, 0.0) for red, green in grid if red > 0 and green > 0],
        *[(red, green, 0.5) for red, green in grid[1:]],
        *[(red, green, 1.0) for red, green in grid[1:-1]],
        *[(level, 0.0, 0.0) for level in _SIXTHS[1:]],
        *[(0.0, level, 0.0) for level in _SIXTHS],
        *[(0.0, 0.0, level) for level in _SIXTHS],
        *[(gray, gray, gray) for gray in (0.0, 0.143, 0.857, 1.0)],
    ]
    return np.array(colors, dtype=np.float32)


_COLORS = _palette()


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """Return the palette.

    Args:
        rgb: RGB order, else BGR.
        maximum: the value of full intensity, 255 or 1.

    Returns:
        (74, 3) float32.
    """
    assert maximum in (1, 255), f"maximum is {maximum}, expected 1 or 255"
    colors = _COLORS * maximum
    return colors if rgb else colors[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """Draw a color of the palette, float32 (3,); arguments as in `colormap`."""
    return colormap(rgb, maximum)[np.random.randint(len(_COLORS))]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:
    """Draw `N` different colors of the palette (at most 74); arguments as in `colormap`."""
    colors = colormap(rgb, maximum)
    return [colors[index] for index in random.sample(range(len(_COLORS)), N)]
