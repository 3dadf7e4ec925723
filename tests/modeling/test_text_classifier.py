"""The three classifiers: crops, queries, and both, over any vocabulary."""

import itertools
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
    Lexicon,
    OpenVocabularyClassifier,
    TextEmbeddingClassifier,
    ensemble,
)
from tests.helpers.tiny_clip import random_window, tiny_clip, write_architecture

NAMES = ("cat", "dog", "emergency-car")
QUERIES, FRAMES, CHANNELS = 4, 3, 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def window():
    return {**random_window(QUERIES, FRAMES), "queries": torch.randn(QUERIES, CHANNELS)}


def a_classifier(clip, choice="crop", background=("sky",), query_head=True, **weights):
    head = TextEmbeddingClassifier(query_dim=CHANNELS, text_dim=clip.embed_dim)
    return OpenVocabularyClassifier(
        clip=clip,
        query_head=head if query_head else None,
        choice=choice,
        crops=CropClassifier(clip=clip, batch_size=5),
        dense=DenseClassifier(clip=clip, cover=False),
        background_names=background,
        **{"weight_seen": 0.4, "weight_unseen": 0.8, **weights},
    )


@pytest.mark.parametrize("pixels", [0, 1])
def test_empty_and_one_pixel_masks_are_classified(clip, window, pixels):
    window["mask_logits"][:] = -9
    window["mask_logits"].flatten()[:pixels] = 9
    found = a_classifier(clip).name_probabilities(**window, names=NAMES)
    assert torch.isfinite(found).all()
    assert (found.sum(1) > 0).sum() == pixels


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble", "dense"])
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


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble", "dense"])
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


@pytest.mark.parametrize("choice", ["crop", "query", "ensemble", "dense"])
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
    with pytest.raises(ValueError, match="'clip': expected one of crop, query, ensemble, dense"):
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


@pytest.mark.parametrize("choice", ["crop", "query"])
def test_a_class_is_as_likely_as_its_likeliest_synonym(clip, window, choice):
    build = a_classifier(clip, choice, background=())
    apart = build.name_probabilities(**window, names=("cat", "dog", "bird"))
    joined = build.name_probabilities(**window, names=("cat|dog", "bird"))
    odds = apart[:, :2].amax(1) / apart[:, 2]
    torch.testing.assert_close(joined[:, 0] / joined[:, 1], odds)
    torch.testing.assert_close(joined.sum(1), apart.sum(1))


def test_a_synonym_of_the_training_vocabulary_makes_its_class_known(clip, window):
    build = a_classifier(clip, "ensemble", background=("dog",), weight_seen=0.0, weight_unseen=1.0)
    names = ("cat|dog",)
    lexicon = Lexicon.of((*names, "bird"), build.background_names, ("dog",))
    assert lexicon == (("cat", "dog", "bird"), (2, 1), (True, False))
    # A synonym of a name to look for does not compete as a background word too.
    found = build.name_probabilities(**window, names=names)
    torch.testing.assert_close(found.sum(1), torch.ones(QUERIES))


def test_the_ensemble_takes_crops_or_the_dense_map(clip, window):
    classifier = a_classifier(clip, "dense", background=())
    by_dense = classifier.name_probabilities(**window, names=NAMES)
    classifier.use("query")
    by_queries = classifier.name_probabilities(**window, names=NAMES)
    classifier.use("ensemble")
    classifier.sight = "dense"
    both = classifier.name_probabilities(**window, names=NAMES)
    expected = ensemble(by_queries, by_dense, torch.full((len(NAMES),), 0.8))
    torch.testing.assert_close(both, expected)


def test_dense_needs_no_query_head(clip, window, caplog):
    with caplog.at_level(logging.INFO):
        classifier = a_classifier(clip, "dense", query_head=False)
    assert classifier.choice == "dense" and not caplog.records
    assert classifier.name_probabilities(**window, names=NAMES).shape == (QUERIES, len(NAMES))


def test_an_unknown_partner_of_the_ensemble_is_refused(clip):
    with pytest.raises(ValueError, match="ENSEMBLE_WITH is 'query': expected one of crop, dense"):
        a_classifier(clip, "ensemble", sight="query")


def test_another_vocabulary_is_not_taken_for_the_last_one(clip, window):
    classifier = a_classifier(clip, "ensemble")
    first = classifier.name_probabilities(**window, names=NAMES)
    other = classifier.name_probabilities(**window, names=NAMES, training_names=NAMES)
    assert not torch.allclose(first, other)
    assert torch.equal(first, classifier.name_probabilities(**window, names=NAMES))
