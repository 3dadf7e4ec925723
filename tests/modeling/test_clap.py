"""CLAP: equal to `transformers`, read from its file forms, and safe."""

import json
import pickle
import sys

import pytest
import torch
from detectron2.modeling import build_model

from ovavss_d2.modeling.audio_classifier import build_audio_classifier
from ovavss_d2.modeling.clap import architecture, load_tokenizer
from ovavss_d2.modeling.embedding_cache import EmbeddingCache
from ovavss_d2.weights.checkpoint import check_weight_files, load_weights
from tests.helpers.clips import model_config
from tests.helpers.small import small_config
from tests.helpers.tiny_clap import write_clap

transformers = pytest.importorskip("transformers")
NAMES = ("dog", "car|automobile", "violin")


def settings(folder, **changes):
    keys = {"NAME": "CLAP", "WEIGHTS": str(folder), **changes}
    return small_config(**{f"AUDIO_CLASSIFIER__{key}": value for key, value in keys.items()})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    return folder, write_clap(folder)


@pytest.fixture
def classifier(files):
    folder, model = files
    classifier = build_audio_classifier(settings(folder), None)
    classifier.model.load_state_dict(model.state_dict())
    return classifier


@pytest.fixture
def audio():
    return 0.1 * torch.randn(2, 4 * 48000)


def test_probabilities_are_those_of_transformers(files, classifier, audio):
    folder, model = files
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    words = ["dog", *classifier.background_names]
    tokens = tokenizer(
        [f"This is a sound of {word}." for word in words], padding=True, return_tensors="pt"
    )
    sounds = extractor([x.numpy() for x in audio], sampling_rate=48000, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, **sounds).logits_per_audio
    found = classifier.name_probabilities(audio, ("dog",))[:, 0]
    torch.testing.assert_close(found, logits.softmax(1)[:, 0], atol=1e-5, rtol=1e-4)


def test_cached_embeddings_of_names_and_sounds_equal_computed_ones(files, tmp_path, audio):
    cfg = settings(files[0])
    cfg.MODEL.EMBEDDING_CACHE = str(tmp_path)
    found = []
    for _ in range(2):
        classifier = build_audio_classifier(cfg, None)
        classifier.model.load_state_dict(files[1].state_dict())
        classifier.audio_cache = EmbeddingCache(tmp_path)
        found.append(classifier.name_probabilities(audio, NAMES))
    words = 4 + len(classifier.background_names)
    assert torch.equal(*found)
    assert (classifier.cache.misses, classifier.cache.hits) == (0, words)
    assert (classifier.audio_cache.misses, classifier.audio_cache.hits) == (0, len(audio))


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_weights_are_read_from_both_file_forms(tmp_path, safe):
    folder = tmp_path / "clap"
    expected = write_clap(folder, safe=safe).state_dict()
    cfg = model_config(tmp_path, AUDIO_CLASSIFIER__NAME="CLAP")
    cfg.MODEL.AUDIO_CLASSIFIER.WEIGHTS = str(folder)
    torch.manual_seed(1)
    model = build_model(cfg)
    state = {k: x for k, x in model.state_dict().items() if not k.startswith("audio_classifier.")}
    torch.save({"model": state}, tmp_path / "model.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    check_weight_files(cfg)
    load_weights(model, cfg)
    found = model.audio_classifier.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_code_in_a_weight_file_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('code ran')",)

    write_clap(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Bomb()}))
    cfg = model_config(tmp_path, AUDIO_CLASSIFIER__NAME="CLAP")
    cfg.MODEL.AUDIO_CLASSIFIER.WEIGHTS = str(tmp_path)
    model = build_model(cfg)
    with pytest.raises(ValueError, match="pytorch_model.bin"):
        load_weights(model, cfg)


def test_without_files_the_architecture_is_that_of_the_usual_model():
    config = architecture("laion/clap-htsat-unfused")
    assert (config.projection_dim, list(config.audio_config.depths)) == (512, [2, 2, 6, 2])


def test_a_model_without_tokenizer_names_the_key(files, classifier, tmp_path, audio):
    classifier.source = str(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer; set MODEL.AUDIO_CLASSIFIER.WEIGHTS"):
        classifier.name_probabilities(audio, NAMES)


def test_another_sample_rate_is_refused(files):
    with pytest.raises(ValueError, match="SAMPLE_RATE is 16000, expected 48000"):
        build_audio_classifier(settings(files[0], SAMPLE_RATE=16000), None)


def test_a_longer_context_than_the_model_takes_is_refused(files):
    with pytest.raises(ValueError, match="CONTEXT is 12, expected at most 10"):
        build_audio_classifier(settings(files[0], CONTEXT=12.0), None)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install -e '.\[clap\]'"):
        build_audio_classifier(settings("x"), None)


@pytest.mark.parametrize(
    "content",
    [
        {"projection_dim": -1},
        {"text_config": {"num_hidden_layers": 10**9}},
        {"audio_config": {"hidden_size": 10**7}},
        {"audio_config": {"num_attention_heads": [7, 7, 7, 7]}},
    ],
)
def test_sizes_that_no_model_has_are_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        build_audio_classifier(settings(tmp_path), None)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_folder_without_weights_is_reported_before_anything_is_built(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match="model.safetensors or pytorch_model.bin"):
        check_weight_files(settings(tmp_path))


def test_code_of_a_folder_is_never_executed(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("open(__file__ + '.executed', 'w')\nclass T: pass\n")
    (tmp_path / "config.json").write_text('{"model_type": "evil"}')
    content = {"auto_map": {"AutoTokenizer": ["evil.T", None]}, "tokenizer_class": "T"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="tokenizer_config.json' is damaged") as error:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(error.value) and not list(tmp_path.glob("*executed"))


@pytest.mark.parametrize(
    "content", ["{bad", "[]", '{"projection_dim": "x"}', '{"audio_config": 5}']
)
def test_a_damaged_architecture_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json' is damaged") as error:
        architecture(str(tmp_path))
    assert "\n" not in str(error.value)
