"""A config that no model can have is one line that names the key."""

import pytest

from ovavss_d2.modeling import build_model
from tests.helpers.small import small_config
from tests.helpers.tiny_clip import write_architecture

WRONG = {
    "META_ARCHITECTURE": "",
    "BACKBONE__NAME": "",
    "SEM_SEG_HEAD__NAME": "no such head",
    "SEM_SEG_HEAD__IN_FEATURES": ["res9"],
    "SEM_SEG_HEAD__CONVS_DIM": 33,
    "AUDIO__ENCODER": "",
    "AUDIO__DIM": "text",
    "TIMM__NAME": "hf-hub:none/none",
    "TIMM__OUT_INDICES": [9],
    "FUSION__DROPOUT": 2.0,
    "MASK_FORMER__NHEADS": 7,
    "MASK_FORMER__HIDDEN_DIM": 30,
    "CLASSIFIER__NAME": "",
}


def config(folder, **changes):
    cfg = small_config(CLIP__ARCHITECTURE=write_architecture(folder), **changes)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("toy_ov_test_all",)
    return cfg


@pytest.mark.parametrize("key", WRONG)
def test_the_wrong_key_is_named(tmp_path, key):
    with pytest.raises(ValueError, match=rf"MODEL\.{key.replace('__', '.')}") as error:
        build_model(config(tmp_path, **{key: WRONG[key]}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_fault_of_ours_is_not_blamed_on_a_key(tmp_path):
    def fail(cfg):
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        build_model(config(tmp_path), fail)
