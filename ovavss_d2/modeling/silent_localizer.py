"""A second localizer, without audio: it finds objects whose names the first was not trained on."""

from detectron2.config import CfgNode, configurable
from detectron2.modeling import Backbone, build_backbone, build_sem_seg_head
from torch import Tensor, nn


class SilentLocalizer(nn.Module):
    """Mask2Former's image model: it finds every visible object, whether it sounds or not.

    It has the sizes of the first localizer. It is never trained.
    """

    @configurable
    def __init__(self, *, backbone: Backbone, sem_seg_head: nn.Module, audio_dim: int) -> None:
        super().__init__()
        self.backbone, self.sem_seg_head, self.audio_dim = backbone, sem_seg_head, audio_dim
        self.requires_grad_(False).eval()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read MODEL.SILENT_LOCALIZER.NUM_CLASSES, and the keys of the first localizer."""
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.FUSION.ENABLED = False
        cfg.MODEL.MASK_FORMER.AUDIO_QUERIES = False
        cfg.MODEL.MASK_FORMER.TIME_ENCODING = False
        cfg.MODEL.MASK_FORMER.NUM_CLASSES = cfg.MODEL.SILENT_LOCALIZER.NUM_CLASSES
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "audio_dim": cfg.MODEL.AUDIO.DIM,
        }

    def train(self, mode: bool = True) -> "SilentLocalizer":
        """Stay in evaluation mode, also inside a model in training mode."""
        return super().train(False)

    def forward(self, frame: Tensor) -> dict:
        """Segment a normalized and padded frame (1, 3, H, W): the output of the mask decoder."""
        no_audio = frame.new_zeros(1, self.audio_dim)
        return self.sem_seg_head(self.backbone(frame), no_audio, num_clips=1)
