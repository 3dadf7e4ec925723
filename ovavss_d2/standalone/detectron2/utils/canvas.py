"""`VisImage`: a matplotlib figure with exactly the size of an image."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class VisImage:
    """An image to draw on; the axes `ax` use its pixel coordinates."""

    def __init__(self, img: np.ndarray, scale: float = 1.0):
        """
        Args:
            img: RGB (H, W, 3) in [0, 255].
            scale: factor of the size; coordinates do not change.
        """
        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.fig = Figure(frameon=False)
        self.dpi = self.fig.get_dpi()
        # Add a hundredth of a pixel so that rounding down does not lose a row.
        self.fig.set_size_inches(
            (self.width * scale + 1e-2) / self.dpi, (self.height * scale + 1e-2) / self.dpi
        )
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes((0.0, 0.0, 1.0, 1.0))
        self.ax.axis("off")
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Draw `img` (as in the constructor) over everything drawn so far."""
        extent = (0, self.width, self.height, 0)
        self.ax.imshow(img.astype("uint8"), extent=extent, interpolation="nearest")

    def save(self, filepath: str) -> None:
        """Write the picture to a file in the format of its extension."""
        self.fig.savefig(filepath)

    def get_image(self) -> np.ndarray:
        """Return the picture as RGB (H x scale, W x scale, 3) uint8."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
