"""Mask logits of several predictions, and the gradient that is worked out for all of them."""

import pytest
import torch

from ovavss_d2.modeling.ops.mask_product import MaskProduct

CLIPS, FRAMES, QUERIES, CHANNELS, SIZE = 2, 3, 5, 8, (4, 6)


def make(predictions=3):
    features = torch.randn(CLIPS * FRAMES, CHANNELS, *SIZE, requires_grad=True)
    embeddings = [
        torch.randn(CLIPS, QUERIES, CHANNELS, requires_grad=True) for _ in range(predictions)
    ]
    return features, embeddings


def expected(features, embeddings):
    features = features.unflatten(0, (CLIPS, FRAMES))
    return [torch.einsum("bqm,btmhw->bqthw", x, features) for x in embeddings]


def test_logits_are_products_and_known_at_once():
    features, embeddings = make()
    product = MaskProduct(features, CLIPS)
    at_once = [product.add(x) for x in embeddings]
    for one, later, plain in zip(
        at_once, product.logits(), expected(features, embeddings), strict=True
    ):
        assert not one.requires_grad
        assert torch.equal(one, later)
        torch.testing.assert_close(later, plain)


@pytest.mark.parametrize(
    "used", [{0: [0, 3], 1: [2], 2: [0, 1, 2, 3, 4]}, {1: [4]}, {0: [1], 2: []}]
)
def test_each_prediction_has_the_gradient_of_its_own_product(used):
    features, embeddings = make()
    product = MaskProduct(features, CLIPS)
    for x in embeddings:
        product.add(x)
    gradients = []
    for logits in (product.logits(), expected(features, embeddings)):
        loss = sum((logits[i][:, queries] ** 2).sum() for i, queries in used.items())
        gradients.append(
            torch.autograd.grad(loss, [features, *(embeddings[i] for i in used)], retain_graph=True)
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_nothing_is_kept_for_a_gradient_that_nobody_wants():
    features, embeddings = make(predictions=1)
    with torch.no_grad():
        product = MaskProduct(features, CLIPS)
        product.add(embeddings[0])
        (logits,) = product.logits()
    assert not logits.requires_grad
