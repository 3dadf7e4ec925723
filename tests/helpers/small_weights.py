"""A small model under the released names, for tests of weight files."""

import re

import torch
from torch import nn

from ovavss_d2.modeling.backbone import TimmBackbone
from ovavss_d2.modeling.mask_decoder import AudioVisualHead
from tests.helpers.small import small_config

INVERSE = [  # our names to the released ones, for a plain ResNet
    (r"backbone\.net\.bn1\.", r"backbone.stem.conv1.norm."),
    (r"backbone\.net\.conv1\.", r"backbone.stem.conv1."),
    *((rf"backbone\.net\.layer{i}\.", rf"backbone.res{i + 1}.") for i in range(1, 5)),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", r".shortcut."),
    (r"\.downsample\.1\.", r".shortcut.norm."),
    (r"\.fusion\.(gamma|layer_norm)", r".encoder.vl_layer.b_attn.\1"),
    (r"\.fusion\.", r".encoder.vl_layer.b_attn.attn."),
    (r"decoder\.transformer\.layers\.", r"decoder.transformer.encoder.layers."),
    (r"audio_encoder\.", r"audio_encoder.audio_backbone."),
    (r"classifier\.clip\.model\.", r"clip_adapter.clip_model."),
]


class Embedder(nn.Module):
    """An audio encoder whose parameters are called as VGGish's."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3))
        self.embeddings = nn.Sequential(nn.Linear(4, 3))


class Classifier(nn.Module):
    """The attributes for CLIP and the text head, without their function."""

    def __init__(self, head):
        super().__init__()
        self.clip = nn.Module()
        self.clip.model = nn.Linear(3, 2)
        self.clip.model.text_projection = nn.Parameter(torch.randn(2, 2))
        self.text_head = nn.Linear(3, 3) if head else None
        self.choice = "ensemble"

    def use(self, choice):
        self.choice = choice


def make_model(head=True, **changes):
    cfg = small_config(**changes)
    model = nn.Module()
    model.backbone = TimmBackbone(cfg, None)
    model.sem_seg_head = AudioVisualHead(cfg, model.backbone.output_shape())
    model.audio_encoder = Embedder()
    model.classifier = Classifier(head)
    return model


def to_release(state):
    released = {}
    for name, x in state.items():
        for pattern, replacement in INVERSE:
            name = re.sub(pattern, replacement, name)
        released[name] = x
    return released


def released_state(source):
    state = {k: v for k, v in source.state_dict().items() if "text_head" not in k}
    return to_release(state) | {"criterion.empty_weight": torch.ones(2)}


def differing(model, source, prefix=""):
    ours, theirs = model.state_dict(), source.state_dict()
    return [k for k in ours if k.startswith(prefix) and not torch.equal(ours[k], theirs[k])]


def config_with(model="", audio="", clip=""):
    cfg = small_config()
    cfg.MODEL.WEIGHTS = str(model)
    cfg.MODEL.AUDIO.WEIGHTS, cfg.MODEL.CLIP.WEIGHTS = str(audio), str(clip)
    return cfg
