"""Scoring and painting, against a reference that paints pixel by pixel."""

import pytest
import torch
import torch.nn.functional as F

from ovavss_d2.modeling.postprocess import PostProcessor, rank_pairs

QUERIES, FRAMES, NAMES, SIZE = 6, 3, ("cat", "dog", "harp"), (16, 20)


def a_postprocessor(scoring="score", threshold=0.1, silence_rms=1e-4):
    return PostProcessor(scoring=scoring, threshold=threshold, silence_rms=silence_rms)


@pytest.fixture
def window():
    return {
        "objectness": torch.rand(QUERIES),
        "name_probabilities": torch.rand(QUERIES, len(NAMES)).softmax(-1),
        "mask_logits": torch.randn(QUERIES, FRAMES, 8, 10),
        "audio": torch.ones(FRAMES, 100),
        "size": SIZE,
        "names": NAMES,
    }


def only(window, queries):
    """The window with these queries alone."""
    of_queries = ("objectness", "name_probabilities", "mask_logits")
    return {key: x[queries] if key in of_queries else x for key, x in window.items()}


def reference_map(window, scores, pairs, threshold):
    """The label map from the rules, pair by pair and pixel by pixel."""
    masks = F.interpolate(window["mask_logits"], SIZE, mode="bilinear") > 0
    result = torch.zeros(FRAMES, *SIZE, dtype=torch.int32)
    order = sorted(((float(scores[q, k]), q, k) for q, k in pairs), reverse=True)
    for score, q, k in order:
        for pixel in masks[q].nonzero() if score > threshold else ():
            if result[tuple(pixel)] == 0:
                result[tuple(pixel)] = k + 1
    return result


ALL_PAIRS = [(q, k) for q in range(QUERIES) for k in range(len(NAMES))]


def test_the_score_is_object_times_name_and_the_best_paint_first(window):
    scores = window["objectness"][:, None] * window["name_probabilities"]
    expected = reference_map(window, scores, ALL_PAIRS, 0.1)
    label_map, segments = a_postprocessor()(**window)
    assert torch.equal(label_map, expected) and label_map.dtype == torch.int32
    assert [s["score"] for s in segments] == sorted((s["score"] for s in segments), reverse=True)


def test_released_scoring_takes_the_ten_best_names_without_the_object_score(window):
    scores = window["name_probabilities"]
    best = sorted(ALL_PAIRS, key=lambda pair: -float(scores[pair]))[:10]
    pairs = a_postprocessor("released", threshold=0.0).pairs(window["objectness"], scores)
    assert list(zip(pairs.queries.tolist(), pairs.names.tolist(), strict=True)) == best
    label_map, _ = a_postprocessor("released", threshold=0.2)(**window)
    assert torch.equal(label_map, reference_map(window, scores, best, 0.2))


def test_segments_hold_exactly_the_painted_pixels(window):
    label_map, segments = a_postprocessor()(**window)
    assert segments
    union = torch.zeros_like(label_map)
    for segment in segments:
        assert NAMES[segment["label"] - 1] == segment["name"]
        assert segment["masks"].any() and not union[segment["masks"]].any()
        union[segment["masks"]] = segment["label"]
    assert torch.equal(union, label_map)


def test_queries_without_enough_objectness_change_nothing(window):
    process = a_postprocessor(threshold=0.2)
    keep = process.select_by_objectness(window["objectness"])
    assert 0 < keep.sum() < QUERIES
    assert torch.equal(process(**only(window, keep))[0], process(**window)[0])
    assert a_postprocessor("released").select_by_objectness(torch.zeros(4)).all()


def test_silent_frames_are_not_painted(window):
    window["objectness"][:] = 1
    full, _ = a_postprocessor()(**window)
    window["audio"][1] = 0
    label_map, segments = a_postprocessor()(**window)
    assert full[1].any() and not label_map[1].any()
    assert not any(s["masks"][1].any() for s in segments)
    assert torch.equal(label_map[[0, 2]], full[[0, 2]])
    window["audio"][:] = 1e-6
    label_map, segments = a_postprocessor()(**window)
    assert not label_map.any() and segments == []
    assert torch.equal(a_postprocessor(silence_rms=0)(**window)[0], full)


def test_loudness_is_the_root_mean_square():
    audio = torch.tensor([[0.0, 0.0], [0.02, 0.0], [0.01, -0.01]])
    assert a_postprocessor(silence_rms=0.012).has_sound(audio).tolist() == [False, True, False]
    assert a_postprocessor(silence_rms=0).has_sound(audio).all()


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_only_scores_above_the_threshold_are_painted(window, threshold):
    window["objectness"][:] = 1
    window["name_probabilities"][:] = threshold
    label_map, segments = a_postprocessor(threshold=threshold)(**window)
    assert not label_map.any() and not segments


def test_one_name_one_frame_one_pixel_and_no_query(window):
    window["name_probabilities"] = window["name_probabilities"][:, :1]
    window["mask_logits"], window["audio"] = -torch.ones(QUERIES, 1, *SIZE), window["audio"][:1]
    window["mask_logits"][0, 0, 3, 4] = 1
    window["objectness"][0], window["names"] = 1, ("cat",)
    label_map, segments = a_postprocessor()(**window)
    assert label_map.nonzero().tolist() == [[0, 3, 4]] and len(segments) == 1
    label_map, segments = a_postprocessor()(**only(window, slice(0)))
    assert label_map.shape == (1, *SIZE) and not label_map.any() and not segments


@pytest.mark.parametrize("limits", [{"limit": 3}, {"above": 0.15}])
def test_ranking_is_by_score_and_can_be_limited(limits):
    pairs = rank_pairs(torch.tensor([[0.1, 0.9], [0.5, 0.2]]), **limits)
    assert pairs.queries.tolist() == [0, 1, 1] and pairs.names.tolist() == [1, 0, 1]
    assert len(rank_pairs(torch.zeros(0, 4)).scores) == 0


def test_an_unknown_scoring_is_refused():
    with pytest.raises(ValueError, match="'best': expected one of score, released"):
        a_postprocessor("best")


def test_queries_without_a_pixel_in_a_frame_with_sound_change_nothing(window):
    window["mask_logits"][1] = -1
    window["mask_logits"][2, :2] = -1  # has pixels in the silent frame alone
    window["audio"][2] = 0
    painter = a_postprocessor()
    inputs = window["mask_logits"], painter.has_sound(window["audio"])
    visible = painter.select_by_mask(*inputs)
    assert visible.tolist() == [True, False, False, True, True, True]
    label_map, segments = painter(**window)
    other_map, others = painter(**only(window, visible))
    assert torch.equal(label_map, other_map)
    assert [s["score"] for s in segments] == [s["score"] for s in others]
    assert a_postprocessor("released").select_by_mask(*inputs).all()


EXPONENTS = {"object_exponent": 0.5, "name_exponent": 2.0, "sound_exponents": (1.0, 0.5)}


def with_exponents(**changes):
    return PostProcessor(scoring="score", threshold=0.1, silence_rms=1e-4, **EXPONENTS, **changes)


def test_each_frame_has_its_own_scores_if_names_are_heard(window):
    process, heard = with_exponents(), torch.rand(FRAMES, len(NAMES))
    factors = process.sound_factors(heard, torch.tensor([True, False, False]))
    torch.testing.assert_close(factors[:, 0], heard[:, 0])
    torch.testing.assert_close(factors[:, 1:], heard[:, 1:].sqrt())
    label_map, segments = process(**window, factors=factors)
    scores = window["objectness"].sqrt()[:, None] * window["name_probabilities"].square()
    for t in range(FRAMES):
        expected = reference_map(window, scores * factors[t], ALL_PAIRS, 0.1)
        assert torch.equal(label_map[t], expected[t])
    painted = sum(s["masks"] * s["label"] for s in segments)
    assert torch.equal(painted.to(torch.int32), label_map) and label_map.any()
    assert [s["score"] for s in segments] == sorted((s["score"] for s in segments), reverse=True)


def test_a_name_that_a_query_cannot_have_is_not_painted_with_exponent_0(window):
    window["name_probabilities"][:, 1] = 0.0
    process = PostProcessor(scoring="score", threshold=0.1, silence_rms=1e-4, name_exponent=0.0)
    assert {segment["label"] for segment in process(**window)[1]} <= {1, 3}


def test_names_that_are_heard_everywhere_change_nothing(window):
    plain = a_postprocessor()(**window)
    heard = a_postprocessor()(**window, factors=torch.ones(FRAMES, len(NAMES)))
    assert torch.equal(plain[0], heard[0])
    assert [s["name"] for s in plain[1]] == [s["name"] for s in heard[1]]


def test_frames_and_queries_that_cannot_be_painted_are_known_before_their_names(window):
    process, heard = with_exponents(), 0.4 * torch.rand(FRAMES, len(NAMES))
    paintable = process.can_paint(heard, window["objectness"])
    best = window["objectness"].sqrt()[:, None, None] * heard
    assert torch.equal(paintable, (best > 0.1).any(-1))
    assert 0 < paintable.sum() < paintable.numel()
    everything = process(**window, factors=heard)[0]
    keep = process.select_by_mask(window["mask_logits"], paintable)
    assert torch.equal(process(**only(window, keep), factors=heard)[0], everything)
    assert not everything[~process.can_paint(heard)].any()
