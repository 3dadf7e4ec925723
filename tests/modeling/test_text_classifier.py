"""The three classifiers: crops, queries, and both, over any vocabulary."""

import itertools
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from tiny_clip import tiny_clip, write_architecture
from torchvision.ops import masks_to_boxes

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.modeling.text_classifier import (
    CropClassifier,
    OpenVocabularyClassifier,
    TextEmbeddingClassifier,
    boxes_around,
    ensemble,
    squared,
)

NAMES = ("cat", "dog", "emergency-car")
QUERIES, FRAMES, CHANNELS = 4, 3, 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def window():
    """Mask logits (Q, T, 64, 64) of blobs, frames 60 x 50, queries."""
    logits = F.interpolate(torch.randn(QUERIES, FRAMES, 4, 4), (64, 64), mode="bilinear")
    frames = torch.randint(0, 256, (FRAMES, 3, 60, 50), dtype=torch.uint8)
    return {
        "queries": torch.randn(QUERIES, CHANNELS),
        "mask_logits": 4 * logits,
        "frames": frames,
    }


def a_classifier(clip, choice="crop", background=("sky",), query_head=True, **weights):
    head = TextEmbeddingClassifier(query_dim=CHANNELS, text_dim=clip.embed_dim)
    return OpenVocabularyClassifier(
        clip=clip,
        query_head=head if query_head else None,
        choice=choice,
        crop_batch=5,
        background_names=background,
        **{"weight_seen": 0.4, "weight_unseen": 0.8, **weights},
    )


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


@pytest.mark.parametrize("pixels", [0, 1])
def test_empty_and_one_pixel_masks_are_classified(clip, window, pixels):
    window["mask_logits"][:] = -9
    window["mask_logits"].flatten()[:pixels] = 9
    found = a_classifier(clip).name_probabilities(**window, names=NAMES)
    assert torch.isfinite(found).all()
    assert (found.sum(1) > 0).sum() == pixels


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble"])
def test_probabilities_do_not_depend_on_the_order_of_names_or_queries_or_on_the_others(
    clip, window, choice
):
    classifier = a_classifier(clip, choice)
    ours = classifier.name_probabilities(**window, names=NAMES, training_names=("dog",))
    order = [2, 0, 1]
    moved = [NAMES[i] for i in order]
    found = classifier.name_probabilities(**window, names=moved, training_names=("dog",))
    assert torch.allclose(found, ours[:, order], atol=1e-4)
    window["queries"], window["mask_logits"] = (
        window["queries"][[3, 1]],
        window["mask_logits"][[3, 1]],
    )
    found = classifier.name_probabilities(**window, names=NAMES, training_names=("dog",))
    assert torch.allclose(found, ours[[3, 1]], atol=1e-4)


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble"])
def test_background_names_compete_and_are_not_returned(clip, window, choice):
    alone = a_classifier(clip, choice, background=())
    assert torch.allclose(
        alone.name_probabilities(**window, names=("cat",)), torch.ones(QUERIES, 1)
    )
    competing = a_classifier(clip, choice, background=("sky", "wall"))
    competing.load_state_dict(alone.state_dict())
    found = competing.name_probabilities(**window, names=("cat",))
    assert found.shape == (QUERIES, 1) and (found < 0.999).all() and (found > 0).all()
    full = alone.name_probabilities(**window, names=("cat", "sky", "wall"))
    assert torch.allclose(found, full[:, :1], atol=1e-4)
    # A background name that is looked for is a name.
    assert (
        competing.name_probabilities(**window, names=("cat", "sky", "wall"))
        .sum(1)
        .allclose(torch.ones(QUERIES))
    )


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble"])
def test_one_frame_and_no_query_work(clip, window, choice):
    classifier = a_classifier(clip, choice)
    window["mask_logits"], window["frames"] = window["mask_logits"][:, :1], window["frames"][:1]
    assert classifier.name_probabilities(**window, names=NAMES).shape == (QUERIES, len(NAMES))
    window["mask_logits"], window["queries"] = window["mask_logits"][:0], window["queries"][:0]
    assert classifier.name_probabilities(**window, names=NAMES).shape == (0, len(NAMES))


def test_the_ensemble_is_the_renormalised_geometric_mixture():
    query, crop = torch.rand(5, 3).softmax(-1), torch.rand(5, 3).softmax(-1)
    weights = torch.tensor([0.4, 0.8, 0.4])
    ours = ensemble(query, crop, weights)
    for q in range(5):
        parts = [query[q, k] ** (1 - weights[k]) * crop[q, k] ** weights[k] for k in range(3)]
        assert ours[q].tolist() == pytest.approx([float(p / sum(parts)) for p in parts], rel=1e-5)
    assert torch.allclose(ensemble(query, crop, torch.zeros(3)), query)
    assert torch.allclose(ensemble(query, crop, torch.ones(3)), crop)
    assert not ensemble(query, torch.zeros(5, 3), weights).any()


@pytest.mark.parametrize("training_names", [(), ("dog",), NAMES])
def test_names_of_the_training_vocabulary_have_their_own_weight(clip, window, training_names):
    classifier = a_classifier(clip, "ensemble", weight_seen=0.25, weight_unseen=0.75)
    ours = classifier.name_probabilities(**window, names=NAMES, training_names=training_names)
    every = (*NAMES, "sky")
    weights = torch.tensor([0.25 if name in training_names else 0.75 for name in every])
    parts = []
    for choice in ("query", "crop"):
        classifier.use(choice)
        shown = classifier.name_probabilities(**window, names=every)
        parts.append(shown)
    assert torch.allclose(ours, ensemble(*parts, weights)[:, : len(NAMES)], atol=1e-5)


def test_without_a_query_head_names_come_from_crops_and_one_line_says_so(clip, caplog):
    with caplog.at_level(logging.INFO):
        classifier = a_classifier(clip, "ensemble", query_head=False)
    assert classifier.choice == "crop" and len(caplog.records) == 1
    caplog.clear()
    classifier.use("crop")
    assert not caplog.records


def test_wrong_choices_and_empty_vocabularies_are_refused(clip, window):
    with pytest.raises(ValueError, match="'clip': expected one of crop, query, ensemble"):
        a_classifier(clip, "clip")
    with pytest.raises(ValueError, match="vocabulary is empty"):
        a_classifier(clip).name_probabilities(**window, names=())


def test_query_logits_are_scaled_cosines_of_at_most_a_hundred():
    head = TextEmbeddingClassifier(query_dim=CHANNELS, text_dim=16)
    text = F.normalize(torch.randn(5, 16), dim=-1)
    queries = torch.randn(2, QUERIES, CHANNELS)
    logits = head(queries, text)
    cosine = F.normalize(head.layers(queries), dim=-1) @ text.t()
    assert torch.allclose(logits, cosine / 0.07, atol=1e-4)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    torch.nn.init.constant_(head.logit_scale, math.log(1e4))
    assert torch.allclose(head(queries, text), 100 * cosine, atol=1e-3)


@pytest.mark.parametrize(
    ("choice", "query_head"), list(itertools.product(["crop", "ensemble"], [True, False]))
)
def test_it_is_built_from_a_config(tmp_path, choice, query_head):
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(tmp_path)
    cfg.MODEL.CLASSIFIER.NAME = choice
    cfg.MODEL.CLASSIFIER.QUERY_HEAD = query_head
    classifier = OpenVocabularyClassifier(cfg)
    assert classifier.choice == (choice if query_head else "crop")
    assert (classifier.query_head is not None) == query_head
    trained = {name.split(".")[0] for name, p in classifier.named_parameters() if p.requires_grad}
    assert trained == ({"query_head"} if query_head else set())


def test_the_query_head_is_registered():
    assert SEM_SEG_HEADS_REGISTRY.get("TextEmbeddingClassifier") is TextEmbeddingClassifier
