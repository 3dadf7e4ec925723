"""Start weights of the toy backbone: base classes alone, the same from the same seed."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from ovavss_d2.data import toy_start
from ovavss_d2.vocabulary import TOY_BASE_IDS


class Backbone(nn.Module):
    """One convolution with a map at stride 8."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, stride=8)

    def output_shape(self):
        return {"res2": ShapeSpec(channels=4, stride=8)}

    def forward(self, pictures):
        return {"res2": self.stem(pictures)}


def train(path):
    torch.manual_seed(0)
    toy_start.train_toy_start(
        path, Backbone(), mean=[120.0] * 3, std=[60.0] * 3, steps=2, pictures=4
    )
    return torch.load(path, weights_only=True)["model"]


def test_the_same_seed_gives_the_same_backbone_weights(tmp_path):
    first, again = train(tmp_path / "a" / "start.pth"), train(tmp_path / "b" / "start.pth")
    assert set(first) == {"backbone.stem.weight", "backbone.stem.bias"}
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_weights_that_are_there_are_kept(tmp_path):
    train(tmp_path / "start.pth")
    before = (tmp_path / "start.pth").stat().st_mtime_ns
    train(tmp_path / "start.pth")
    assert (tmp_path / "start.pth").stat().st_mtime_ns == before


def test_no_novel_class_is_ever_drawn(tmp_path, monkeypatch):
    seen = []
    draw = toy_start.draw_pictures

    def spy(*arguments):
        seen.append(draw(*arguments))
        return seen[-1]

    monkeypatch.setattr(toy_start, "draw_pictures", spy)
    train(tmp_path / "start.pth")
    assert set(seen[0].ids.unique().tolist()) - {0} <= set(TOY_BASE_IDS)


def test_cells_are_told_apart_by_shape_and_colour():
    ids = torch.tensor([[[0, 1], [7, 30]]])  # background, red circle, green square, cyan cross
    logits = torch.full((1, 13, 2, 2), -20.0)
    for (y, x), shape, color in (((0, 0), 0, 0), ((0, 1), 1, 1), ((1, 0), 2, 2), ((1, 1), 5, 6)):
        logits[0, shape, y, x] = logits[0, 6 + color, y, x] = 20.0
    assert toy_start._cell_loss(logits, ids, (6, 7)) == pytest.approx(0, abs=1e-6)
