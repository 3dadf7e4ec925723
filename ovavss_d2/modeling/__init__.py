"""The model; importing it registers its parts with Detectron2."""

from detectron2.modeling import build_model

from ovavss_d2.modeling import (  # noqa: F401  (each registers its parts)
    audio_encoder,
    backbone,
    mask_decoder,
    meta_arch,
    pixel_decoder,
    text_classifier,
)

__all__ = ["build_model"]
