"""The model; importing it registers its parts with Detectron2.

Shape letters, the same in all of `modeling/`:

    B  clips of a batch                       H W  pixels of a frame
    T  frames of a clip, window or video      h w  size of a feature map
    N  frames of a batch (B * T)              L    positions of a flattened map, or of several maps
    Q  queries                                V    levels of a feature pyramid
    K  names of a vocabulary                  P    sampling points
    G  ground-truth objects                   J    attention heads
    M  matches of queries and objects         R    rows of a table
    C  channels                               A    audio channels
    D  size of a CLIP embedding               E    width of an attention
    S  audio samples
"""

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
