"""`ResizeTransform`. Images are (H, W) or (H, W, C) arrays, coordinates (N, 2) of x and y."""

import numpy as np
import torch
from fvcore.transforms.transform import Transform
from PIL import Image
from torch.nn import functional as F

__all__ = ["ResizeTransform"]

_TORCH_MODES = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


class ResizeTransform(Transform):
    """Resizes images: uint8 with PIL (antialiased), all others with torch (not antialiased)."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None):
        """
        Args:
            h, w: size of the image in pixels.
            new_h, new_w: size of the result.
            interp: PIL's interpolation, bilinear by default.
        """
        super().__init__()
        interp = Image.Resampling.BILINEAR if interp is None else interp
        self._set_attributes(
            {"h": h, "w": w, "new_h": new_h, "new_w": new_w, "interp": int(interp)}
        )

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image of the size given at construction."""
        if img.shape[:2] != (self.h, self.w):
            raise AssertionError(f"expected an image of {(self.h, self.w)}, got {img.shape[:2]}")
        if img.ndim > 4:
            raise AssertionError(f"expected at most 4 dimensions, got {img.ndim}")
        interp = self.interp if interp is None else interp
        resize = self._resize_with_pil if img.dtype == np.uint8 else self._resize_with_torch
        return resize(img, interp)

    def _resize_with_pil(self, img: np.ndarray, interp: int) -> np.ndarray:
        is_gray = img.ndim == 3 and img.shape[2] == 1  # PIL expects two dimensions then
        image = Image.fromarray(img[:, :, 0] if is_gray else img)
        resized = np.asarray(image.resize((self.new_w, self.new_h), interp))
        return resized[:, :, None] if is_gray else resized

    def _resize_with_torch(self, img: np.ndarray, interp: int) -> np.ndarray:
        mode = _TORCH_MODES[Image.Resampling(interp)]
        # torch does not take negative strides, which flipped arrays have.
        tensor = torch.from_numpy(np.ascontiguousarray(img))
        planes = tensor.reshape(self.h, self.w, -1).permute(2, 0, 1)[None]
        align = None if mode == "nearest" else False
        planes = F.interpolate(planes, (self.new_h, self.new_w), mode=mode, align_corners=align)
        return planes[0].permute(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale coordinates (N, 2), in place."""
        coords[:, 0] = coords[:, 0] * (self.new_w * 1.0 / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h * 1.0 / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize labels by nearest neighbors."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> "ResizeTransform":
        """Return the transform back to the original size."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)
