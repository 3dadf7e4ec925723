"""The four classifiers over any vocabulary."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.modeling.crop_classifier import CropClassifier
from ovavss_d2.modeling.dense_classifier import DenseClassifier
from ovavss_d2.modeling.text_classifier import (
    CHOICES,
    PIXEL_CLASSIFIERS,
    OpenVocabularyClassifier,
    TextEmbeddingHead,
    class_vocabulary,
    ensemble,
)
from tests.helpers.tiny_clip import random_window, tiny_clip, write_architecture

NAMES = ("cat", "dog", "emergency-car")
QUERIES, FRAMES, CHANNELS = 4, 3, 8
each_choice = pytest.mark.parametrize("choice", CHOICES)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def window():
    return {**random_window(QUERIES, FRAMES), "queries": torch.randn(QUERIES, CHANNELS)}


def build_classifier(clip, choice="crop", background=("sky",), text_head=True, **options):
    head = TextEmbeddingHead(query_dim=CHANNELS, text_dim=clip.embed_dim) if text_head else None
    return OpenVocabularyClassifier(
        clip=clip,
        text_head=head,
        choice=choice,
        pixel_classifiers={
            "crop": CropClassifier(clip=clip, batch_size=5),
            "dense": DenseClassifier(clip=clip, cover=False),
        },
        background_names=background,
        **{"weight_seen": 0.4, "weight_unseen": 0.8, **options},
    )


@pytest.mark.parametrize("pixels", [0, 1])
def test_empty_and_one_pixel_masks_are_classified(clip, window, pixels):
    window["mask_logits"][:] = -9
    window["mask_logits"].flatten()[:pixels] = 9
    found = build_classifier(clip).name_probabilities(**window, names=NAMES)
    assert torch.isfinite(found).all()
    assert (found.sum(1) > 0).sum() == pixels


@each_choice
def test_probabilities_do_not_depend_on_the_order_of_names_or_on_other_queries(
    clip, window, choice
):
    classifier = build_classifier(clip, choice)
    expected = classifier.name_probabilities(**window, names=NAMES, training_names=("dog",))
    names, queries = [2, 0, 1], [3, 1]
    for key in ("queries", "mask_logits"):
        window[key] = window[key][queries]
    found = classifier.name_probabilities(
        **window, names=[NAMES[i] for i in names], training_names=("dog",)
    )
    assert torch.allclose(found, expected[queries][:, names], atol=1e-4)


@each_choice
def test_background_names_compete_and_are_not_returned(clip, window, choice):
    alone = build_classifier(clip, choice, background=())
    found = alone.name_probabilities(**window, names=("cat",))
    assert torch.allclose(found, torch.ones(QUERIES, 1))
    competing = build_classifier(clip, choice, background=("sky", "wall"))
    competing.load_state_dict(alone.state_dict())
    found = competing.name_probabilities(**window, names=("cat",))
    assert found.shape == (QUERIES, 1) and (found < 0.999).all() and (found > 0).all()
    names = ("cat", "sky", "wall")
    full = alone.name_probabilities(**window, names=names)
    assert torch.allclose(found, full[:, :1], atol=1e-4)
    # a background name that is also in the vocabulary is returned
    total = competing.name_probabilities(**window, names=names).sum(1)
    assert torch.allclose(total, torch.ones(QUERIES))


@each_choice
def test_one_frame_and_no_query_work(clip, window, choice):
    classifier = build_classifier(clip, choice)
    window["mask_logits"], window["frames"] = window["mask_logits"][:, :1], window["frames"][:1]
    assert classifier.name_probabilities(**window, names=NAMES).shape == (QUERIES, len(NAMES))
    window["mask_logits"], window["queries"] = window["mask_logits"][:0], window["queries"][:0]
    assert classifier.name_probabilities(**window, names=NAMES).shape == (0, len(NAMES))


def test_the_ensemble_is_the_normalized_geometric_mean():
    query, crop = torch.rand(5, 3).softmax(-1), torch.rand(5, 3).softmax(-1)
    weights = torch.tensor([0.4, 0.8, 0.4])
    ours = ensemble(query, crop, weights)
    for q in range(5):
        parts = [query[q, k] ** (1 - weights[k]) * crop[q, k] ** weights[k] for k in range(3)]
        assert ours[q].tolist() == pytest.approx([float(p / sum(parts)) for p in parts], rel=1e-5)
    assert torch.allclose(ensemble(query, crop, torch.zeros(3)), query)
    assert torch.allclose(ensemble(query, crop, torch.ones(3)), crop)
    assert not ensemble(query, torch.zeros(5, 3), weights).any()


@pytest.mark.parametrize("partner", PIXEL_CLASSIFIERS)
@pytest.mark.parametrize("training_names", [(), ("dog",), NAMES])
def test_the_ensemble_weighs_names_by_the_training_vocabulary(
    clip, window, partner, training_names
):
    weights = {"weight_seen": 0.25, "weight_unseen": 0.75}
    classifier = build_classifier(clip, "ensemble", ensemble_with=partner, **weights)
    ours = classifier.name_probabilities(**window, names=NAMES, training_names=training_names)
    parts, names = [], (*NAMES, "sky")
    for choice in ("query", partner):
        classifier.use(choice)
        parts.append(classifier.name_probabilities(**window, names=names))
    exponents = torch.tensor([0.25 if name in training_names else 0.75 for name in names])
    assert torch.allclose(ours, ensemble(*parts, exponents)[:, : len(NAMES)], atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("ensemble", "crop"), ("query", "crop"), ("crop", "crop"), ("dense", "dense")],
)
def test_without_a_text_head_pixels_are_used_and_a_replacement_is_logged(
    clip, window, caplog, choice, expected
):
    with caplog.at_level(logging.INFO):
        classifier = build_classifier(clip, choice, text_head=False)
    assert classifier.choice == expected
    assert len(caplog.records) == (choice != expected)
    assert classifier.name_probabilities(**window, names=NAMES).shape == (QUERIES, len(NAMES))


def test_wrong_choices_and_empty_vocabularies_are_refused(clip, window):
    with pytest.raises(ValueError, match="'clip', expected one of crop, query, ensemble, dense"):
        build_classifier(clip, "clip")
    with pytest.raises(ValueError, match="ENSEMBLE_WITH is 'query', expected one of crop, dense"):
        build_classifier(clip, "ensemble", ensemble_with="query")
    with pytest.raises(ValueError, match="vocabulary is empty"):
        build_classifier(clip).name_probabilities(**window, names=())


def test_logits_of_the_text_head_are_scaled_cosines_of_at_most_a_hundred():
    head = TextEmbeddingHead(query_dim=CHANNELS, text_dim=16)
    text = F.normalize(torch.randn(5, 16), dim=-1)
    queries = torch.randn(2, QUERIES, CHANNELS)
    logits = head(queries, text)
    cosine = F.normalize(head.layers(queries), dim=-1) @ text.t()
    assert torch.allclose(logits, cosine / 0.07, atol=1e-4)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    torch.nn.init.constant_(head.logit_scale, math.log(1e4))
    assert torch.allclose(head(queries, text), 100 * cosine, atol=1e-3)


@pytest.mark.parametrize("choice", ["crop", "ensemble"])
@pytest.mark.parametrize("text_head", [True, False])
def test_it_is_built_from_a_config(tmp_path, choice, text_head):
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(tmp_path)
    cfg.MODEL.CLASSIFIER.NAME = choice
    cfg.MODEL.CLASSIFIER.TEXT_HEAD = text_head
    classifier = OpenVocabularyClassifier(cfg)
    assert classifier.choice == (choice if text_head else "crop")
    trained = {name.split(".")[0] for name, p in classifier.named_parameters() if p.requires_grad}
    assert trained == ({"text_head"} if text_head else set())
    assert SEM_SEG_HEADS_REGISTRY.get("TextEmbeddingHead") is TextEmbeddingHead


@each_choice
def test_a_class_is_as_likely_as_its_most_likely_synonym(clip, window, choice):
    classifier = build_classifier(clip, choice, background=())
    apart = classifier.name_probabilities(**window, names=("cat", "dog", "bird"))
    joined = classifier.name_probabilities(**window, names=("cat|dog", "bird"))
    torch.testing.assert_close(joined.sum(1), apart.sum(1))
    if choice != "ensemble":
        odds = apart[:, :2].amax(1) / apart[:, 2]
        torch.testing.assert_close(joined[:, 0] / joined[:, 1], odds)


def test_synonyms_share_their_class_with_training_and_background_names():
    vocabulary = class_vocabulary(("cat|dog", "bird"), ("dog", "sky"), ("dog",))
    assert vocabulary == (("cat", "dog", "bird", "sky"), (2, 1, 1), (True, False, False))
    assert vocabulary == class_vocabulary(("cat|dog", "bird"), ("Dog", "sky", "Sky"), ("DOG",))
    assert vocabulary == class_vocabulary(("cat|dog", "bird"), ("dog", "sky"), ("horse|Dog",))
