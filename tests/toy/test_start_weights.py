"""Start weights of the toy model: base classes alone, reproducible from the seed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy import shapes_and_tones, start_weights
from ovavss_d2.toy.audio import PITCHES
from ovavss_d2.toy.clip_model import Captions, draw_scenes
from ovavss_d2.toy.shapes import color_of, shape_of
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.toy.start_weights import TOY_START, Features
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_COLORS, TOY_SHAPES


class Encoder(nn.Module):
    """Maps loudness to three numbers."""

    output_dim = 3

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 3)

    def log_mel(self, sounds):
        return sounds.square().mean(1, keepdim=True)

    def encode(self, log_mel):
        return self.linear(log_mel)


class Backbone(nn.Module):
    """One convolution with a map at stride 8."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, stride=8)

    def output_shape(self):
        return {"res2": ShapeSpec(channels=4, stride=8)}

    def forward(self, images):
        return {"res2": self.stem(images)}


class Model(nn.Module):
    """Records its clips and returns losses."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.audio_encoder = Encoder()
        self.pixel_mean, self.pixel_std = torch.tensor(120.0), torch.tensor(60.0)
        self.sem_seg_head = nn.ModuleDict({"mask_embed": nn.Linear(1, 1)})
        self.sem_seg_head["class_embed"] = nn.Linear(1, 1)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)
        self.clips = []

    def forward(self, clips):
        self.clips += clips
        brightness = torch.stack([clip["image"].float().mean() for clip in clips]) / 255
        outputs = [layer(brightness[:, None]) for layer in self.sem_seg_head.values()]
        return {"loss": sum(outputs).square().mean()}


def train(path):
    torch.manual_seed(0)
    model = Model()
    start_weights.train_start_weights(path, TOY, model, replace(TOY_START, steps=2))
    return model


def load(path):
    return torch.load(path, weights_only=True)["model"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "start.pth"
    return path, train(path)


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    train(tmp_path / "start.pth")
    first, again = load(trained[0]), load(tmp_path / "start.pth")
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_frozen_parts_are_not_saved(trained):
    parts = {key.rsplit(".", 1)[0] for key in load(trained[0])}
    segmenter = {"backbone.stem", "sem_seg_head.mask_embed", "sem_seg_head.class_embed"}
    assert parts == segmenter | {"audio_encoder.linear"}


def test_existing_weights_are_kept(trained):
    before = trained[0].stat().st_mtime_ns
    assert not train(trained[0]).clips
    assert trained[0].stat().st_mtime_ns == before


def test_no_novel_class_is_visible_and_masks_are_disjoint(trained):
    for clip in trained[1].clips:
        assert set((clip["instances"][0].gt_classes + 1).tolist()) <= set(TOY_BASE_IDS)
        masks = clip["instances"][0].gt_masks.tensor
        assert masks.any((1, 2)).all()
        assert masks.sum(0).max() == 1
        assert masks.shape[1:] == clip["image"].shape[2:]


def test_only_base_classes_and_silence_are_audible():
    sounds, truths = start_weights._draw_sounds(
        TOY, Captions(TOY), np.random.default_rng(0), clips=5
    )
    shapes, colors = truths.split([len(TOY_SHAPES), len(TOY_COLORS)], 1)
    silent = truths.sum(1) == 0
    base = {(shape_of(i), color_of(i)) for i in TOY_BASE_IDS}
    alone = (shapes.sum(1) == 1) & (colors.sum(1) == 1)
    audible = {
        (TOY_SHAPES[s], TOY_COLORS[c])
        for s, c in zip(shapes[alone].argmax(1), colors[alone].argmax(1), strict=True)
    }
    assert sounds.shape == (len(truths), SAMPLE_RATE)
    assert 0 < silent.float().mean() < 0.5
    assert sounds[silent].square().mean() < 0.02 * sounds[~silent].square().mean()
    assert audible <= base


def test_cell_losses_are_zero_for_the_correct_shape_and_color():
    ids = torch.tensor([[[0, 1], [7, 30]]])  # background, red circle, green square, cyan cross
    logits = torch.full((1, 13, 2, 2), -20.0)
    for (y, x), shape, color in (((0, 0), 0, 0), ((0, 1), 1, 1), ((1, 0), 2, 2), ((1, 1), 5, 6)):
        logits[0, shape, y, x] = logits[0, 6 + color, y, x] = 20.0
    assert start_weights.cell_losses(logits, ids, Features(TOY)) == pytest.approx([0, 0], abs=1e-6)
    logits[:, 6:] = torch.randn(1, 7, 2, 2)
    shape_loss, color_loss = start_weights.cell_losses(logits, ids, Features(TOY))
    assert shape_loss == pytest.approx(0, abs=1e-6) and color_loss > 0.1


def test_shifted_hues_are_halfway_between_those_of_the_classes():
    scenes = draw_scenes(TOY, np.random.default_rng(0), 24, TOY_BASE_IDS)
    shifted = start_weights._shift_hues(scenes.frames, np.random.default_rng(0))
    found = set()
    for frame, ids in zip(shifted, scenes.ids, strict=True):
        for class_id in ids.unique()[1:]:
            inside = cv2.erode((ids == class_id).numpy().astype(np.uint8), np.ones((5, 5))) > 0
            hues = cv2.cvtColor(frame.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2HSV)[..., 0][inside]
            if len(hues):
                steps = np.median(hues) / start_weights.HUE_STEP
                assert abs(steps % 1 - 0.5) < 0.25
                found.add((shape_of(int(class_id)), int(steps)))
    assert len(found) > len(TOY_BASE_IDS)  # including shapes of novel classes


def test_shifted_pitches_are_halfway_between_those_of_the_classes(monkeypatch):
    factors = set()
    draw = shapes_and_tones.draw_audio
    monkeypatch.setattr(
        shapes_and_tones,
        "draw_audio",
        lambda rng, audible, f: factors.add(f) or draw(rng, audible, f),
    )
    sounds, truths = start_weights._draw_sounds(
        TOY, Captions(TOY), np.random.default_rng(0), clips=8, shift_pitch=True
    )
    steps = np.log(PITCHES["green"] / PITCHES["red"])
    assert sorted(np.log(list(factors)) / steps) == pytest.approx([-1.5, -0.5])
    assert sounds.isfinite().all() and len(sounds) == len(truths)


def test_stored_maps_are_those_of_the_frozen_backbone(monkeypatch):
    monkeypatch.setattr(start_weights, "MAPS_BATCH", 2)
    model = Model()
    frames = torch.randint(0, 256, (5, 3, 16, 24), dtype=torch.uint8)
    stored = start_weights.StoredMaps(model, frames)
    stored.chosen = np.array([4, 0, 4])
    expected = model.backbone((frames[[4, 0, 4]] - model.pixel_mean) / model.pixel_std)["res2"]
    found = stored(torch.zeros(3, 3, 16, 24))["res2"]
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_a_frozen_backbone_is_not_changed(tmp_path):
    torch.manual_seed(0)
    model = Model()
    model.backbone.requires_grad_(False)
    before = model.backbone.stem.weight.clone()
    settings = replace(TOY_START, steps=2, backbone_steps=0)
    start_weights.train_start_weights(tmp_path / "start.pth", TOY, model, settings)
    assert torch.equal(model.backbone.stem.weight, before)
    assert torch.equal(load(tmp_path / "start.pth")["backbone.stem.weight"], before)
