"""A CLIP that is built in a moment: an open_clip architecture of one small layer per tower."""

import json

import torch
import torch.nn.functional as F

from ovavss_d2.modeling.clip import FrozenClip, build_clip

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def write_architecture(folder, **changes):
    """Path of the JSON file, with top-level keys changed."""
    path = folder / "tiny.json"
    path.write_text(json.dumps({**ARCHITECTURE, **changes}))
    return str(path)


def tiny_clip(folder, **changes):
    """A `FrozenClip` with random weights, with top-level keys of its architecture changed."""
    torch.manual_seed(0)
    model, tokenizer = build_clip(write_architecture(folder, **changes))
    return FrozenClip(model=model, tokenizer=tokenizer)


def random_window(queries, frames):
    """Mask logits (Q, T, 64, 64) of blobs, frames 60 x 50."""
    logits = F.interpolate(torch.randn(queries, frames, 4, 4), (64, 64), mode="bilinear")
    pictures = torch.randint(0, 256, (frames, 3, 60, 50), dtype=torch.uint8)
    return {"mask_logits": 4 * logits, "frames": pictures}
