"""CLIP on crops: the content of a crop, mean logits, and the limit on crops."""

import pytest
import torch
from torchvision.ops import masks_to_boxes

from ovavss_d2.modeling.crop_classifier import CropClassifier, boxes_around, source_frames, squared
from tests.helpers.tiny_clip import random_window, tiny_clip

NAMES = ("cat", "dog", "emergency-car")
QUERIES, FRAMES = 4, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def window():
    return random_window(QUERIES, FRAMES)


def test_boxes_contain_the_pixels_and_end_after_the_last_one():
    masks = torch.rand(20, 9, 13) > 0.97
    masks[0] = False
    masks[1] = False
    masks[1, 8, 12] = True
    boxes, valid = boxes_around(masks)
    assert torch.equal(valid, masks.flatten(1).any(1)) and not valid[0]
    expected = masks_to_boxes(masks[valid]) + torch.tensor([0, 0, 1, 1])
    assert torch.equal(boxes[valid], expected)
    assert boxes[1].tolist() == [12, 8, 13, 9]


def test_squares_keep_the_top_left_corner_and_take_the_longer_side():
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


def test_logits_of_a_query_are_the_mean_over_the_frames_where_it_is_visible(clip, window):
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


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, "012345"), (1, "333333"), (2, "111444"), (9, "012345")]
)
def test_limited_crops_are_spread_evenly_and_used_for_neighboring_frames(limit, expected):
    sources = source_frames(torch.ones(6, 1, dtype=torch.bool), limit)
    assert "".join(map(str, sources[:, 0].tolist())) == expected


def test_frames_where_a_query_is_not_visible_are_not_counted():
    visible = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]).bool().t()
    sources = source_frames(visible, 1)
    assert sources[visible[:, 0], 0].tolist() == [2, 2, 2] and (sources[:, 1] == 3).all()


def test_only_limited_crops_are_encoded_and_the_other_frames_take_their_logits(clip, monkeypatch):
    logits = torch.full((1, 6, 64, 64), -9.0)
    for i in range(6):
        logits[0, i, 8:24, 3 * i : 3 * i + 16] = 9  # a moving square
    frames = torch.randint(0, 256, (6, 3, 60, 50), dtype=torch.uint8)
    text = clip.encode_text(NAMES)
    encode, counts = clip.encode_images, []
    monkeypatch.setattr(clip, "encode_images", lambda x: counts.append(len(x)) or encode(x))
    _, exact = CropClassifier(clip=clip, batch_size=9).similarities(logits, frames, text)
    limited = CropClassifier(clip=clip, batch_size=9, max_frames=2)
    visible, found = limited.similarities(logits, frames, text)
    assert counts == [6, 2] and visible.all()
    assert torch.allclose(found, exact[[1, 1, 1, 4, 4, 4]], atol=1e-3)


@pytest.mark.parametrize("max_frames", [0, 1])
def test_no_query_and_no_visible_query_work(clip, window, max_frames):
    classifier = CropClassifier(clip=clip, batch_size=4, max_frames=max_frames)
    text = clip.encode_text(NAMES)
    logits, visible = classifier(window["mask_logits"][:0], window["frames"], text)
    assert logits.shape == (0, 3) and visible.shape == (0,)
    logits, visible = classifier(window["mask_logits"] - 99, window["frames"], text)
    assert not logits.any() and not visible.any()


def test_a_negative_limit_is_refused(clip):
    with pytest.raises(ValueError, match="CROP_FRAMES is -1"):
        CropClassifier(clip=clip, batch_size=4, max_frames=-1)
