"""Released weights set the options that they were trained for, unless the user sets them."""

import logging

import pytest
import torch

from ovavss_d2.weights.checkpoint import OVAVSSCheckpointer, load_inference_config, load_weights
from tests.helpers.full_size import save
from tests.helpers.small_weights import Classifier, make_model, released_state
from tests.helpers.tiny_world import CONFIG

RELEASED = ["crop", "released", "released", 0.0, False]
OURS = ["ensemble", "time", "score", 1e-4, True]


def settings(cfg):
    classifier, audio = cfg.MODEL.CLASSIFIER, cfg.MODEL.AUDIO
    background = len(classifier.BACKGROUND_NAMES) > 0
    return [classifier.NAME, audio.PAIRING, cfg.TEST.SCORING, cfg.TEST.SILENCE_RMS, background]


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(2)
    return make_model()


@pytest.fixture
def released(source, tmp_path):
    return save(tmp_path / "released.pth", {"model": released_state(source)})


def test_released_weights_set_all_of_them(released):
    assert settings(load_inference_config(CONFIG, ["MODEL.WEIGHTS", released])) == RELEASED


def test_other_weights_set_none(source, tmp_path):
    own = save(tmp_path / "own.pth", {"model": source.state_dict()})
    for weights in (own, "", str(tmp_path / "nowhere.pth")):
        assert settings(load_inference_config(CONFIG, ["MODEL.WEIGHTS", weights])) == OURS


def test_converted_weights_keep_them(source, tmp_path):
    path = save(tmp_path / "own.pth", {"model": source.state_dict(), "origin": "released"})
    assert settings(load_inference_config(CONFIG, ["MODEL.WEIGHTS", path])) == RELEASED


def test_options_of_the_user_are_kept_even_at_their_default(released, tmp_path):
    options = ["MODEL.WEIGHTS", released, "TEST.SCORING", "score"]
    found = settings(load_inference_config(CONFIG, options))
    assert found == ["crop", "released", "score", 0.0, False]
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"_BASE_: {CONFIG}\nMODEL:\n  AUDIO:\n    PAIRING: time\n")
    child = tmp_path / "child.yaml"
    child.write_text("_BASE_: mine.yaml\n")
    found = settings(load_inference_config(str(child), ["MODEL.WEIGHTS", released]))
    assert found == ["crop", "time", "released", 0.0, False]


def test_one_line_reports_the_settings(released, caplog):
    cfg = load_inference_config(CONFIG, ["MODEL.WEIGHTS", released, "TEST.SCORING", "score"])
    model = make_model()
    with caplog.at_level(logging.INFO):
        load_weights(model, cfg)
    lines = [r.getMessage() for r in caplog.records if "Released weights" in r.getMessage()]
    assert len(lines) == 1
    assert "MODEL.CLASSIFIER.NAME crop," in lines[0]
    assert "MODEL.AUDIO.PAIRING released," in lines[0]
    assert "TEST.SCORING score (set by you)" in lines[0]
    assert model.classifier.choice == "crop"


def test_training_from_released_weights_keeps_the_settings_of_the_config(released, caplog):
    cfg = load_inference_config(CONFIG)
    model = make_model()
    checkpointer = OVAVSSCheckpointer(model, cfg=cfg, trainer=torch.nn.Linear(1, 1))
    checkpointer.resume_or_load(released, resume=False)
    assert model.classifier.choice == Classifier(True).choice
    assert "Released weights" not in caplog.text
