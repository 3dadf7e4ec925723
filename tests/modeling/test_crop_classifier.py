"""CLIP on crops: what a crop shows, and which crops can stand for others."""

import pytest
import torch
from torchvision.ops import masks_to_boxes

from ovavss_d2.modeling.crop_classifier import (
    CropClassifier,
    CropSavings,
    boxes_around,
    squared,
)
from tests.helpers.tiny_clip import random_window, tiny_clip

NAMES = ("cat", "dog", "emergency-car")
QUERIES, FRAMES = 4, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def window():
    return random_window(QUERIES, FRAMES)


def test_boxes_hold_the_pixels_and_end_behind_the_last_one():
    masks = torch.rand(20, 9, 13) > 0.97
    masks[0] = False
    masks[1] = False
    masks[1, 8, 12] = True
    boxes, valid = boxes_around(masks)
    assert torch.equal(valid, masks.flatten(1).any(1)) and not valid[0]
    expected = masks_to_boxes(masks[valid]) + torch.tensor([0, 0, 1, 1])
    assert torch.equal(boxes[valid], expected)
    assert boxes[1].tolist() == [12, 8, 13, 9]


def test_squares_keep_the_left_top_corner_and_take_the_longer_side():
    boxes = torch.tensor([[2.0, 3, 7, 4], [0, 0, 1, 6]])
    assert squared(boxes).tolist() == [[2, 3, 7, 8], [0, 0, 6, 6]]


def test_a_crop_is_frame_times_mask_at_clips_size(clip, monkeypatch):
    classifier = CropClassifier(clip=clip, batch_size=4)
    seen = []
    monkeypatch.setattr(clip, "encode_images", lambda x: seen.append(x) or torch.zeros(len(x), 16))
    logits = torch.full((1, 1, 64, 64), -30.0)
    logits[..., 8:40, 16:48] = 2.0  # a square of CLIP's 32 pixels: one sample per pixel
    frames = torch.full((1, 3, 64, 64), 51, dtype=torch.uint8)
    classifier.similarities(logits, frames, torch.zeros(2, 16))
    inside = seen[0][0, :, :-1, :-1]  # samples of the last row and column lie half outside
    assert torch.allclose(inside, torch.tensor(0.2 * torch.sigmoid(torch.tensor(2.0)).item()))


def test_crops_in_passes_of_any_size_give_the_same_logits(clip, window):
    text = clip.encode_text(NAMES)
    inputs = window["mask_logits"], window["frames"], text
    valid, logits = CropClassifier(clip=clip, batch_size=1).similarities(*inputs)
    assert valid.shape == (FRAMES, QUERIES) and logits.shape == (valid.sum(), len(NAMES))
    for batch_size in (3, 100):
        _, other = CropClassifier(clip=clip, batch_size=batch_size).similarities(*inputs)
        assert torch.allclose(logits, other, atol=1e-3)


def test_a_querys_logits_are_the_mean_over_the_frames_where_it_is_visible(clip, window):
    window["mask_logits"][0, 1] = -9
    window["mask_logits"][2] = -9
    inputs = window["mask_logits"], window["frames"], clip.encode_text(NAMES)
    classifier = CropClassifier(clip=clip, batch_size=8)
    valid, each = classifier.similarities(*inputs)
    logits, visible = classifier(*inputs)
    assert visible.tolist() == [True, True, False, True]
    of_query = torch.tensor([q for t in range(FRAMES) for q in range(QUERIES) if valid[t, q]])
    for query in (0, 1, 3):
        assert torch.allclose(logits[query], each[of_query == query].mean(0), atol=1e-4)
    assert not logits[2].any()


def squares(*places, size=64, side=16):
    """Mask logits (1, T, 64, 64) of one square that lies at these (x, y), None: absent."""
    logits = torch.full((1, len(places), size, size), -9.0)
    for frame, place in enumerate(places):
        if place:
            x, y = place
            logits[0, frame, y : y + side, x : x + side] = 9
    return logits


def stand_ins(logits, **savings):
    """Stand-ins (T, Q) for mask logits (Q, T, H, W)."""
    masks = logits.transpose(0, 1) > 0
    return CropSavings(**savings).stand_ins(masks, masks.flatten(2).any(-1))


def test_by_default_every_pair_stands_for_itself(window):
    expected = torch.arange(FRAMES * QUERIES).view(FRAMES, QUERIES)
    assert torch.equal(stand_ins(window["mask_logits"]), expected)


def test_a_mask_that_hardly_moves_takes_the_crop_of_the_last_frame_seen():
    # 2 pixels of 16: IoU 14 / 18 = 0.78; drift adds up, and an absent mask changes nothing
    logits = squares((8, 8), (10, 8), (12, 8), None, (12, 8), (40, 40))
    assert stand_ins(logits, still_mask=0.7)[:, 0].tolist() == [0, 0, 2, 3, 2, 5]
    assert stand_ins(logits, still_mask=0.9)[:, 0].tolist() == [0, 1, 2, 3, 2, 5]


def test_nearly_the_same_masks_share_the_crops_of_the_first():
    a = squares((8, 8), (8, 8), None)
    b = squares((8, 8), (10, 8), (8, 8))  # shares 16 + 14 of 16 + 18 + 16 columns with a: 0.6
    far = squares((40, 40), (40, 40), (40, 40))
    logits = torch.cat([a, far, b])
    # where the first is not visible, the other keeps its own crop
    assert stand_ins(logits, same_mask=0.59).tolist() == [[0, 1, 0], [3, 4, 3], [6, 7, 8]]
    assert stand_ins(logits, same_mask=0.7).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_follower_is_never_followed():
    a, b, c = squares((8, 8)), squares((10, 8)), squares((12, 8))
    assert stand_ins(torch.cat([a, b, c]), same_mask=0.7).tolist() == [[0, 0, 2]]


def test_few_frames_are_spread_and_serve_their_neighbours():
    logits = squares(*[(3 * i, 8) for i in range(6)])
    assert stand_ins(logits, frames=2)[:, 0].tolist() == [1, 1, 1, 4, 4, 4]
    assert stand_ins(logits, frames=1)[:, 0].tolist() == [3] * 6
    assert stand_ins(logits, frames=9)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_saved_crops_are_not_encoded_and_logits_are_those_of_their_stand_ins(clip, monkeypatch):
    logits = torch.cat([squares((8, 8), (8, 8), (30, 30)), squares((8, 8), (8, 8), (30, 30))])
    frames = torch.randint(0, 256, (FRAMES, 3, 60, 50), dtype=torch.uint8)
    text = clip.encode_text(NAMES)
    encode, counts = clip.encode_images, []
    monkeypatch.setattr(clip, "encode_images", lambda x: counts.append(len(x)) or encode(x))
    every = CropClassifier(clip=clip, batch_size=9)
    _, exact = every.similarities(logits, frames, text)
    few = CropClassifier(
        clip=clip, batch_size=9, savings=CropSavings(same_mask=0.9, still_mask=0.9)
    )
    valid, saved = few.similarities(logits, frames, text)
    assert counts == [6, 2] and valid.all()
    assert torch.allclose(saved, exact[[0, 0, 0, 0, 4, 4]], atol=1e-3)


@pytest.mark.parametrize("savings", [{}, {"same_mask": 0.5, "still_mask": 0.5, "frames": 1}])
def test_no_query_and_no_visible_query_work(clip, window, savings):
    classifier = CropClassifier(clip=clip, batch_size=4, savings=CropSavings(**savings))
    text = clip.encode_text(NAMES)
    logits, visible = classifier(window["mask_logits"][:0], window["frames"], text)
    assert logits.shape == (0, 3) and visible.shape == (0,)
    logits, visible = classifier(window["mask_logits"] - 99, window["frames"], text)
    assert not logits.any() and not visible.any()


@pytest.mark.parametrize("wrong", [{"same_mask": 0}, {"still_mask": -1.0}, {"frames": -1}])
def test_impossible_savings_are_refused(wrong):
    with pytest.raises(ValueError, match="expected overlaps above 0"):
        CropSavings(**wrong)
