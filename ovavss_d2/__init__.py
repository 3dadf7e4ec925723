"""Open-vocabulary audio-visual semantic segmentation as an extension of Detectron2."""

__version__ = "0.1.0"

from ovavss_d2.standalone import activate as _activate_detectron2

_activate_detectron2()
