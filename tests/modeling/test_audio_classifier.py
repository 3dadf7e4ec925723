"""Names from sound: independent of each other, cached, never trained."""

import pytest
import torch

from ovavss_d2.modeling.audio_classifier import build_audio_classifier
from ovavss_d2.modeling.embedding_cache import EmbeddingCache
from tests.helpers.small import small_config
from tests.helpers.tiny_clip import tiny_clip

NAMES = ("dog", "car|automobile", "violin")


def settings(**changes):
    keys = {"NAME": "LogMelClassifier", "WIDTH": 4, "SAMPLE_RATE": 16000, "CONTEXT": 1.0, **changes}
    return small_config(**{f"AUDIO_CLASSIFIER__{key}": value for key, value in keys.items()})


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def classifier(clip):
    return build_audio_classifier(settings(), clip)


@pytest.fixture
def audio():
    return 0.1 * torch.randn(3, 16000)


def test_each_name_competes_with_the_background_names_alone(classifier, clip, audio):
    found = classifier.name_probabilities(audio, ("dog", "violin"))
    sound = classifier.embed_audio(audio)
    background = 100 * sound @ clip.encode_text(classifier.background_names).t()
    for k, name in enumerate(("dog", "violin")):
        name_logit = 100 * sound @ clip.encode_text([name]).t()
        expected = torch.cat([name_logit, background], 1).softmax(1)[:, 0]
        torch.testing.assert_close(found[:, k], expected)
    more = classifier.name_probabilities(audio, NAMES)
    torch.testing.assert_close(more[:, [0, 2]], found)


def test_a_class_is_as_likely_as_its_most_likely_synonym(classifier, audio):
    both = classifier.name_probabilities(audio, NAMES)[:, 1]
    alone = [classifier.name_probabilities(audio, (word,))[:, 0] for word in ("car", "automobile")]
    torch.testing.assert_close(both, torch.maximum(*alone))


def test_background_sounds_as_names_compete_with_the_others_and_change_no_other_name(
    classifier, audio
):
    alone = classifier.name_probabilities(audio, ("dog",))
    everything = classifier.name_probabilities(audio, ("dog", *classifier.background_names))
    torch.testing.assert_close(everything[:, :1], alone)
    assert everything.max() < 1
    classifier.background_names = ("wind",)
    assert classifier.name_probabilities(audio, ("wind",)).unique().tolist() == [0.5]


def test_embeddings_are_unit_vectors_and_no_frames_give_none(classifier, audio):
    lengths = classifier.embed_audio(audio).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(3))
    assert classifier.name_probabilities(audio[:0], NAMES).shape == (0, len(NAMES))


def test_cached_embeddings_equal_computed_ones_until_weights_are_loaded(tmp_path, clip, audio):
    cfg = settings()
    cfg.MODEL.EMBEDDING_CACHE = str(tmp_path)
    torch.manual_seed(1)
    first = build_audio_classifier(cfg, clip)
    first.audio_cache = EmbeddingCache(tmp_path)
    computed = first.name_probabilities(audio, NAMES)
    again = first.name_probabilities(audio.flip(0), NAMES).flip(0)
    torch.testing.assert_close(again, computed)
    assert (first.audio_cache.misses, first.audio_cache.hits) == (3, 3)
    state = {name: torch.randn_like(x) for name, x in first.model.state_dict().items()}
    first.model.load_state_dict(state)
    assert not torch.equal(first.name_probabilities(audio, NAMES), computed)
    assert first.audio_cache.misses == 6


def test_it_is_never_trained(classifier):
    assert not classifier.train().training
    assert not any(p.requires_grad for p in classifier.parameters())
    assert all(name.startswith("model.") for name in classifier.state_dict())  # CLIP is not part


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NAME": "Ears"}, "'Ears', expected one of: CLAP, LogMelClassifier"),
        ({"BACKGROUND_NAMES": []}, "BACKGROUND_NAMES is empty"),
        ({"CONTEXT": 4.0}, "expected 1 at 16000"),
        ({"CONTEXT": 0.0}, "CONTEXT is 0, expected above 0"),
        ({"SAMPLE_RATE": 48000}, "expected 1 at 16000"),
    ],
)
def test_wrong_settings_are_refused(clip, changes, message):
    with pytest.raises(ValueError, match=message):
        build_audio_classifier(settings(**changes), clip)


def test_without_a_name_there_is_none(clip):
    assert build_audio_classifier(settings(NAME=""), clip) is None


def test_scores_without_objectness_are_refused(clip):
    cfg = settings()
    cfg.TEST.SCORING = "released"
    with pytest.raises(ValueError, match="names from sound need 'score'"):
        build_audio_classifier(cfg, clip)
