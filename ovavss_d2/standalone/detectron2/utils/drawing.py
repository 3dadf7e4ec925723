"""Base class of the visualizer: draws text, boxes, lines, circles, polygons and masks."""

import colorsys
import math

import cv2
import matplotlib.colors as mplc
import numpy as np
import pycocotools.mask as mask_coding
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon, Rectangle

from .canvas import VisImage
from .colormap import random_color
from .generic_mask import GenericMask

# Components of a mask with more pixels than this get their own text.
LARGE_COMPONENT_AREA = 120_000
# Relative change of brightness from a mask or box to its text.
TEXT_BRIGHTNESS = 0.7

# A color of matplotlib: a name, or RGB(A) in [0, 1].
Color = str | tuple[float, ...] | np.ndarray


class Drawing:
    """Draws on an image; all functions return the current picture.

    Sizes of text and lines are multiplied by `scale`, too.
    """

    def __init__(self, img_rgb: np.ndarray, scale: float = 1.0, font_size_scale: float = 1.0):
        """
        Args:
            img_rgb: RGB (H, W, 3) in [0, 255].
            scale: factor of the picture's size.
            font_size_scale: factor of the size of all text.
        """
        self.img = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        self.output = VisImage(self.img, scale=scale)
        side = math.sqrt(self.output.height * self.output.width)
        self._default_font_size = max(side // 90, 10 // scale) * font_size_scale

    def get_output(self) -> VisImage:
        """Return the current picture."""
        return self.output

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write text on a dark background.

        Args:
            text: the text.
            position: x and y of its upper edge.
            font_size: in points; depends on the image size if None.
            color: dark colors become brighter.
            horizontal_alignment: the part of the text at x: "left", "center" or "right".
            rotation: degrees, counterclockwise.
        """
        bright = np.maximum(list(mplc.to_rgb(color)), 0.2)
        bright[np.argmax(bright)] = max(0.8, np.max(bright))
        x, y = position
        self.output.ax.text(
            x,
            y,
            text,
            size=(font_size or self._default_font_size) * self.output.scale,
            family="sans-serif",
            bbox={"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"},
            verticalalignment="top",
            horizontalalignment=horizontal_alignment,
            color=bright,
            zorder=10,
            rotation=rotation,
        )
        return self.output

    def draw_box(
        self,
        box_coord: tuple[float, float, float, float],
        alpha: float = 0.5,
        edge_color: Color = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Draw the outline of a box (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = box_coord
        rectangle = Rectangle(
            (x0, y0),
            x1 - x0,
            y1 - y0,
            fill=False,
            edgecolor=edge_color,
            linewidth=max(self._default_font_size / 4, 1) * self.output.scale,
            alpha=alpha,
            linestyle=line_style,
        )
        self.output.ax.add_patch(rectangle)
        return self.output

    def draw_circle(
        self, circle_coord: tuple[float, float], color: Color, radius: float = 3
    ) -> VisImage:
        """Draw a filled circle around (x, y); the radius is in pixels."""
        self.output.ax.add_patch(Circle(circle_coord, radius=radius, fill=True, color=color))
        return self.output

    def draw_line(
        self,
        x_data: list[float],
        y_data: list[float],
        color: Color,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a line through points, given their x and y coordinates; the width is in points."""
        linewidth = self._default_font_size / 3 if linewidth is None else linewidth
        line = Line2D(
            x_data,
            y_data,
            linewidth=max(linewidth, 1) * self.output.scale,
            color=color,
            linestyle=linestyle,
        )
        self.output.ax.add_line(line)
        return self.output

    def draw_polygon(
        self, segment: np.ndarray, color: Color, edge_color: Color | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Fill a polygon.

        Args:
            segment: corners (N, 2), x and y.
            color: of the inside.
            edge_color: of the edge; if None, that of the inside, or a darker one if `alpha` is
                above 0.8.
            alpha: opacity of the inside.
        """
        if edge_color is None:
            darker = self._change_color_brightness(color, brightness_factor=-0.7)
            edge_color = darker if alpha > 0.8 else color
        polygon = Polygon(
            segment,
            fill=True,
            facecolor=mplc.to_rgb(color) + (alpha,),
            edgecolor=mplc.to_rgb(edge_color) + (1,),
            linewidth=max(self._default_font_size // 15 * self.output.scale, 1),
        )
        self.output.ax.add_patch(polygon)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: Color | None = None,
        *,
        edge_color: Color | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float | None = 10,
    ) -> VisImage:
        """Draw a mask.

        Args:
            binary_mask: (H, W) of 0 and 1.
            color: of the mask; a random one if None.
            edge_color: of the edge, see `draw_polygon`; masks with holes are drawn without edges.
            text: written on the mask.
            alpha: opacity.
            area_threshold: outlines around fewer pixels are not drawn, except in masks with holes.
        """
        color = random_color(rgb=True, maximum=1) if color is None else color
        height, width = binary_mask.shape
        mask = GenericMask(binary_mask.astype("uint8"), height, width)
        if mask.has_holes:
            self._paint(mask.mask * alpha, color)
            visible = True
        else:
            outlines = [o for o in mask.polygons if self._area(o) >= (area_threshold or 0)]
            for outline in outlines:
                self.draw_polygon(outline.reshape(-1, 2), color, edge_color, alpha)
            visible = len(outlines) > 0
        if text is not None and visible:
            lighter = self._change_color_brightness(color, brightness_factor=TEXT_BRIGHTNESS)
            self._draw_text_in_mask(mask.mask, text, lighter)
        return self.output

    def draw_soft_mask(
        self,
        soft_mask: np.ndarray,
        color: Color | None = None,
        *,
        text: str | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw a mask of probabilities (H, W); other arguments as in `draw_binary_mask`."""
        color = random_color(rgb=True, maximum=1) if color is None else color
        self._paint(soft_mask * alpha, color)
        if text is not None:
            lighter = self._change_color_brightness(color, brightness_factor=TEXT_BRIGHTNESS)
            self._draw_text_in_mask((soft_mask > 0.5).astype("uint8"), text, lighter)
        return self.output

    def _paint(self, opacity: np.ndarray, color: Color) -> None:
        """Blend a color into the image with the opacities (H, W)."""
        height, width = opacity.shape
        layer = np.empty((height, width, 4), dtype=np.float32)
        layer[..., :3] = mplc.to_rgb(color)
        layer[..., 3] = opacity
        self.output.ax.imshow(layer, extent=(0, self.output.width, self.output.height, 0))

    def _area(self, outline: np.ndarray) -> int:
        """The number of pixels inside an outline [x0, y0, ...]."""
        size = self.output.height, self.output.width
        return mask_coding.area(mask_coding.frPyObjects([outline.tolist()], *size))[0]

    def _draw_text_in_mask(self, binary_mask: np.ndarray, text: str, color: Color) -> None:
        """Write text on the largest component of a mask and on all that are very large."""
        _, components, stats, _ = cv2.connectedComponentsWithStats(binary_mask, 8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.size == 0:
            return
        for index, area in enumerate(areas):
            if index == np.argmax(areas) or area > LARGE_COMPONENT_AREA:
                # The median is on the object more often than the mean.
                middle = np.median((components == index + 1).nonzero(), axis=1)[::-1]
                self.draw_text(text, tuple(middle), color=color)

    def _jitter(self, color: Color) -> tuple[float, ...]:
        """Draw a random color near the given one, RGB in [0, 1]."""
        offset = np.random.rand(3)
        offset = offset / np.linalg.norm(offset) * 0.5
        return tuple(np.clip(offset + mplc.to_rgb(color), 0, 1))

    def _change_color_brightness(
        self, color: Color, brightness_factor: float
    ) -> tuple[float, float, float]:
        """Make a color lighter (factor up to 1) or darker (down to -1); returns RGB in [0, 1]."""
        hue, lightness, saturation = colorsys.rgb_to_hls(*mplc.to_rgb(color))
        lightness = min(max(lightness * (1 + brightness_factor), 0.0), 1.0)
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
        return tuple(min(max(part, 0.0), 1.0) for part in (red, green, blue))
