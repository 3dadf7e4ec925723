"""The crop classifier and the released scoring give the released implementation's numbers.

They start from the oracle's own masks, so that nothing else enters.
"""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.postprocess import PostProcessor, rank_pairs
from ovavss_d2.modeling.text_classifier import OpenVocabularyClassifier
from ovavss_d2.vocabulary import AVSBENCH_NAMES
from tests.helpers import parity

MODELS = parity.oracle_files("ovavss_*_oracle_seed*.npz")
SAME_PIXELS = 0.9999
each_model = pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)


@functools.cache
def classifier_of(path):
    cfg = parity.oracle_config(path)
    cfg.MODEL.CLIP.ARCHITECTURE = "ViT-S-32-alt"
    cfg.MODEL.CLASSIFIER.BACKGROUND_NAMES = []
    classifier = OpenVocabularyClassifier(cfg)
    parity.fill(classifier, path, "clip_adapter.clip_model.", "classifier.")
    return classifier


@functools.cache
def window_of(path):
    """Arrays of the file, mask logits at padded size, frames (T, 3, H, W)."""
    arrays = parity.load_arrays(path)
    frames = torch.as_tensor(arrays["frames"]).permute(0, 3, 1, 2)
    padded = [-(-side // 32) * 32 for side in frames.shape[-2:]]
    masks = torch.as_tensor(arrays["pred_masks"][0])
    return arrays, F.interpolate(masks, padded, mode="bilinear", align_corners=False), frames


@functools.cache
def probabilities_of(path):
    _, masks, frames = window_of(path)
    queries = torch.zeros(len(masks), 1)  # the crop classifier does not use them
    return classifier_of(path).name_probabilities(queries, masks, frames, AVSBENCH_NAMES)


@each_model
def test_text_embeddings_equal_the_oracle(path):
    arrays, _, _ = window_of(path)
    parity.assert_parity(
        {"text_embed": classifier_of(path).clip.encode_text(AVSBENCH_NAMES)}, arrays
    )


@each_model
def test_visible_pairs_and_their_similarities_equal_the_oracle(path):
    arrays, masks, frames = window_of(path)
    text = classifier_of(path).clip.encode_text(AVSBENCH_NAMES)
    valid, logits = classifier_of(path).pixel_classifiers["crop"].similarities(masks, frames, text)
    assert np.array_equal(valid.numpy(), arrays["clip_valid"])
    parity.assert_parity({"clip_sim_logits": logits}, arrays)


@each_model
def test_query_probabilities_and_best_scores_equal_the_oracle(path):
    arrays, _, _ = window_of(path)
    probabilities = probabilities_of(path)
    visible = probabilities.sum(1) > 0
    assert visible.nonzero()[:, 0].tolist() == arrays["query_ids"].tolist()
    best = rank_pairs(probabilities, len(arrays["top10_scores"])).scores
    stages = {"query_probs": probabilities[visible], "top10_scores": best}
    parity.assert_parity(stages, arrays)


@each_model
def test_painted_masks_equal_the_oracle(path):
    arrays, masks, frames = window_of(path)
    height, width = size = tuple(frames.shape[-2:])
    ids = torch.as_tensor(arrays["query_ids"])
    expected = np.unpackbits(arrays["query_masks"], axis=-1)[..., :width].astype(bool)
    process = PostProcessor(scoring="released", threshold=0.3, silence_rms=0.0)
    same = []
    for query, truth in zip(ids.tolist(), expected, strict=True):
        label_map, _ = process(
            objectness=torch.zeros(1),
            name_probabilities=torch.ones(1, 1),
            mask_logits=masks[query : query + 1, :, :height, :width],
            audio=torch.zeros(len(frames), 1),
            size=size,
            names=("anything",),
        )
        same.append((label_map.numpy() == truth).mean())
    assert np.mean(same) >= SAME_PIXELS


def test_a_perturbed_oracle_fails():
    arrays, _, _ = window_of(MODELS[0])
    changed = {**arrays, "query_probs": arrays["query_probs"] * np.float32(1.001)}
    shown = probabilities_of(MODELS[0])[torch.as_tensor(arrays["query_ids"])]
    with pytest.raises(AssertionError, match="query_probs"):
        parity.assert_parity({"query_probs": shown}, changed)
