"""Mask logits of several predictions, and their gradient, computed for all of them together."""

import pytest
import torch

from ovavss_d2.modeling.ops.mask_product import FastMaskProduct, MaskProduct

CLIPS, FRAMES, QUERIES, CHANNELS, SIZE = 2, 3, 5, 8, (4, 6)


def make(predictions=3):
    features = torch.randn(CLIPS, FRAMES, *SIZE, CHANNELS, requires_grad=True)
    embeddings = [
        torch.randn(CLIPS, QUERIES, CHANNELS, requires_grad=True) for _ in range(predictions)
    ]
    return features, embeddings


def logits_of(product, features, embeddings):
    known = [product(x, features) for x in embeddings]
    return known, product.with_gradient(known, embeddings, features)


def test_logits_are_known_before_their_gradient():
    features, embeddings = make()
    _, expected = logits_of(MaskProduct(), features, embeddings)
    known, logits = logits_of(FastMaskProduct(), features, embeddings)
    for one, later, plain in zip(known, logits, expected, strict=True):
        assert not one.requires_grad
        assert torch.equal(one, later)
        torch.testing.assert_close(later, plain)


@pytest.mark.parametrize(
    "used", [{0: [0, 3], 1: [2], 2: [0, 1, 2, 3, 4]}, {1: [4]}, {0: [1], 2: []}]
)
def test_each_prediction_has_the_gradient_of_its_product(used):
    features, embeddings = make()
    gradients = []
    for product in (FastMaskProduct(), MaskProduct()):
        _, logits = logits_of(product, features, embeddings)
        loss = sum((logits[i][:, queries] ** 2).sum() for i, queries in used.items())
        gradients.append(torch.autograd.grad(loss, [features, *(embeddings[i] for i in used)]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_without_gradient_nothing_is_kept():
    with torch.no_grad():
        _, (logits,) = logits_of(FastMaskProduct(), *make(predictions=1))
    assert not logits.requires_grad
