"""A stub for the model that paints the left half of loud frames, and small videos for it."""

from types import SimpleNamespace

import av
import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

VOCABULARY = ("red circle", "blue square")
RATE = 16000


@META_ARCH_REGISTRY.register()
class StubModel(nn.Module):
    """Paints loud frames: the first name on the left half, the second one on the upper quarter.

    With an audio classifier it hears the first name in loud frames.
    """

    def __init__(self, cfg):
        super().__init__()
        self.vocabulary = tuple(cfg.MODEL.CLASSIFIER.VOCABULARY) or VOCABULARY
        self.postprocessor = SimpleNamespace(threshold=cfg.TEST.SCORE_THRESHOLD)
        self.clips = []

    def set_vocabulary(self, names):
        self.vocabulary = tuple(names)

    def forward(self, clips):
        self.clips += clips
        return [self._segment(clip) for clip in clips]

    def _segment(self, clip):
        length, size = len(clip["image"]), (clip["height"], clip["width"])
        loud = clip["audio"].pow(2).mean(dim=1).sqrt() > 0.01
        left, top = torch.zeros(2, length, *size, dtype=torch.bool)
        left[loud, :, : size[1] // 2] = True
        top[loud, : size[0] // 4] = True
        label_map = torch.zeros(length, *size, dtype=torch.int32)
        segments = []
        for k, (score, mask) in enumerate(
            [(0.9, left), (0.6, top)][: len(self.vocabulary)], start=1
        ):
            if score > self.postprocessor.threshold:
                mask &= label_map == 0
                label_map[mask] = k
                found = {"name": self.vocabulary[k - 1], "label": k, "score": score, "masks": mask}
                segments.append({"window": (0, length), **found})
        output = {"label_map": label_map, "names": self.vocabulary, "segments": segments}
        if "audio_context" in clip:
            output["heard"] = torch.zeros(length, len(self.vocabulary))
            output["heard"][:, 0] = 0.4 + 0.4 * loud
        return output


def write_config(folder):
    """A config file that builds the stub."""
    path = folder / "stub.yaml"
    path.write_text(
        "MODEL: {META_ARCHITECTURE: StubModel, DEVICE: cpu, WEIGHTS: stub.pth}\n"
        "INPUT: {MIN_SIZE_TEST: 48, SAMPLING_FRAME_NUM: 3}\n"
        "VERSION: 2\n"
    )
    return path


def make_audio(loud):
    """int16 mono at 16 kHz: a tone in the seconds that are `loud`, silence in the others."""
    tone = 8000 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE)
    return np.concatenate([tone * second for second in loud]).astype(np.int16)


def make_frames(seconds, rate, size=(64, 96)):
    """uint8 (T, H, W, 3): gray, getting brighter."""
    shades = np.linspace(60, 180, seconds * rate).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (len(shades), *size, 3))


def write_video(path, loud, rate=10, size=(64, 96), has_audio=True):
    """Write an MP4 file of one second per entry of `loud`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=RATE) if has_audio else None
        for image in make_frames(len(loud), rate, size):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image))))
        container.mux(video.encode(None))
        if has_audio:
            frame = av.AudioFrame.from_ndarray(make_audio(loud)[None], format="s16", layout="mono")
            frame.rate, frame.pts = RATE, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path
