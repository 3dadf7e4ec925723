"""From a config to predictions on single images."""

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.modeling import build_model


class DefaultPredictor:
    """A model with the weights `MODEL.WEIGHTS`, for one image at a time on `MODEL.DEVICE`.

    Args:
        cfg: `INPUT.FORMAT` ("RGB" or "BGR") and `INPUT.{MIN,MAX}_SIZE_TEST` say how an image is
            prepared.

    Attributes:
        metadata: that of the first data set in `DATASETS.TEST`, if there is one.
    """

    def __init__(self, cfg):
        self.cfg = cfg.clone()
        self.model = build_model(self.cfg)
        self.model.eval()
        if len(cfg.DATASETS.TEST):
            self.metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        size = cfg.INPUT.MIN_SIZE_TEST
        self.aug = T.ResizeShortestEdge([size, size], cfg.INPUT.MAX_SIZE_TEST)
        self.input_format = cfg.INPUT.FORMAT
        assert self.input_format in ("RGB", "BGR"), (
            f"INPUT.FORMAT is '{self.input_format}': expected RGB or BGR"
        )

    def __call__(self, original_image: np.ndarray) -> dict:
        """The model's output for one image.

        Args:
            original_image: (H, W, 3) in BGR order.
        """
        image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
        height, width = image.shape[:2]
        resized = self.aug.get_transform(image).apply_image(image)
        pixels = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        inputs = {"image": pixels.to(self.cfg.MODEL.DEVICE), "height": height, "width": width}
        with torch.no_grad():
            return self.model([inputs])[0]
