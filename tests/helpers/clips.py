"""Random training clips with two rectangular objects."""

import torch
from detectron2.structures import BitMasks, Instances

NAMES = ["red circle", "blue square", "green star"]
SIZE = (40, 56)


def make_clip(seed, frames=5, objects=2, labeled=None, loudness=0.1, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(objects, frames, *size, dtype=torch.bool)
    for i in range(objects):
        masks[i, :, 4 + 10 * i : 20 + 10 * i, 4 + 16 * i : 24 + 16 * i] = True
    classes = torch.arange(objects)
    return {
        "image": torch.randint(0, 256, (frames, 3, *size), generator=generator).byte(),
        "audio": loudness * torch.randn(frames, 16000, generator=generator),
        "audio_valid": torch.ones(frames, dtype=torch.bool),
        "times": [float(i) for i in range(frames)],
        "height": size[0],
        "width": size[1],
        "clip_seed": seed,
        "labeled": torch.ones(frames, dtype=torch.bool) if labeled is None else labeled,
        "instances": [
            Instances(size, gt_classes=classes, gt_ids=classes, gt_masks=BitMasks(masks[:, t]))
            for t in range(frames)
        ],
    }


def losses_of(model, clips):
    model.train()
    return model(clips)
