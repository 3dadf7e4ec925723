"""The config: Detectron2's defaults, merging of files and lists, `configurable`."""

import json

import pytest
import yaml
from detectron2.config import CfgNode, configurable, get_cfg

from ovavss_d2.config import add_ovavss_config
from tests.helpers.paths import FIXTURES

RECORDED = FIXTURES / "detectron2" / "defaults.json"


def _from_json(value):
    if isinstance(value, dict):
        if set(value) == {"tuple"}:
            return tuple(_from_json(item) for item in value["tuple"])
        return {key: _from_json(item) for key, item in value.items()}
    return value


def _sorted(node):
    return {k: _sorted(v) if isinstance(v, dict) else v for k, v in sorted(node.items())}


def _write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_defaults_equal_detectron2_in_value_and_type():
    recorded = _from_json(json.loads(RECORDED.read_text())["defaults"])
    assert repr(_sorted(get_cfg())) == repr(_sorted(recorded))


def test_each_call_creates_a_new_config():
    first, second = get_cfg(), get_cfg()
    first.MODEL.PIXEL_MEAN[0] = 0.0
    first.MODEL.BACKBONE.NAME = "other"
    assert second.MODEL.PIXEL_MEAN[0] == 103.53
    assert second.MODEL.BACKBONE.NAME == "build_resnet_backbone"
    assert isinstance(first.MODEL, CfgNode)


def test_project_keys_keep_the_types_of_the_defaults(cfg):
    before = {key: type(value) for key, value in cfg.SOLVER.items()}
    add_ovavss_config(cfg)
    assert all(type(cfg.SOLVER[key]) is kind for key, kind in before.items())
    assert cfg.MODEL.META_ARCHITECTURE == "OVAVSS"


def test_file_is_merged_over_its_base(cfg, tmp_path):
    _write(tmp_path, "base.yaml", "VERSION: 2\nSEED: 7\nOUTPUT_DIR: out\n")
    path = _write(tmp_path, "child.yaml", '_BASE_: base.yaml\nSEED: 8\nDATASETS:\n  TRAIN: ["a"]\n')
    cfg.merge_from_file(path)
    assert (cfg.SEED, cfg.OUTPUT_DIR, cfg.DATASETS.TRAIN) == (8, "out", ("a",))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("VERSION: 2\nNO_SUCH_KEY: 3\n", KeyError),
        ("VERSION: 2\nSEED: three\n", ValueError),
        ("VERSION: 3\nSEED: 3\n", AssertionError),
    ],
    ids=["unknown key", "wrong type", "newer version"],
)
def test_bad_and_missing_files_raise(tmp_path, text, error):
    with pytest.raises(error):
        get_cfg().merge_from_file(_write(tmp_path, "bad.yaml", text))
    with pytest.raises(AssertionError, match="does not exist"):
        get_cfg().merge_from_file(str(tmp_path / "none.yaml"))


def test_file_without_version_is_read_as_the_latest(cfg, tmp_path):
    cfg.merge_from_file(_write(tmp_path, "a.yaml", "SEED: 3\n"))
    assert (cfg.SEED, cfg.VERSION) == (3, 2)


def test_list_of_pairs_overrides(cfg, tmp_path):
    cfg.merge_from_list(["SEED", "4", "DATASETS.TRAIN", "('a', 'b')", "MODEL.WEIGHTS", "x.pth"])
    assert (cfg.SEED, cfg.DATASETS.TRAIN, cfg.MODEL.WEIGHTS) == (4, ("a", "b"), "x.pth")
    with pytest.raises(AssertionError):
        cfg.merge_from_list(["NO_SUCH_KEY", "1"])


def test_frozen_config_cannot_be_changed_and_its_dump_can_be_read(cfg, tmp_path):
    cfg.SEED = 11
    path = _write(tmp_path, "dump.yaml", cfg.dump())
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 1
    again = get_cfg()
    again.merge_from_file(path)
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


class Scale:
    @configurable
    def __init__(self, factor, shift=2, *, name="x"):
        self.values = (factor, shift, name)

    @classmethod
    def from_config(cls, cfg, shift_more=1):
        return {"factor": cfg.SEED, "shift": shift_more}


class NamedScale(Scale):
    @configurable
    def __init__(self, *, extra, **kwargs):
        super().__init__(**kwargs)
        self.extra = extra

    @classmethod
    def from_config(cls, cfg):
        return {"extra": "e", **super().from_config(cfg)}


@pytest.mark.parametrize(
    ("args", "kwargs", "values"),
    [
        ((1,), {}, (1, 2, "x")),
        (("cfg",), {}, (-1, 1, "x")),
        (("cfg", 5), {}, (-1, 5, "x")),
        (("cfg",), {"shift_more": 6}, (-1, 6, "x")),
        (("cfg",), {"name": "y", "factor": 9}, (9, 1, "y")),
        ((), {"cfg": "cfg"}, (-1, 1, "x")),
    ],
)
def test_configurable_class_takes_arguments_or_a_config(cfg, args, kwargs, values):
    args = [cfg if a == "cfg" else a for a in args]
    kwargs = {k: cfg if v == "cfg" else v for k, v in kwargs.items()}
    assert Scale(*args, **kwargs).values == values


def test_configurable_subclass_passes_arguments_on():
    scale = NamedScale(get_cfg(), extra="mine")
    assert (scale.values, scale.extra) == ((-1, 1, "x"), "mine")


def test_configurable_function_takes_arguments_or_a_config():
    @configurable(from_config=lambda cfg, plus=1: {"a": cfg.SEED + plus})
    def pair(a, b=2):
        return a, b

    assert pair(1) == (1, 2)
    assert pair(get_cfg()) == (0, 2)
    assert pair(get_cfg(), b=8, plus=5) == (4, 8)


def test_configurable_errors():
    class NoFromConfig:
        @configurable
        def __init__(self, a):
            pass

    class WrongName:
        @configurable
        def __init__(self, a):
            pass

        @classmethod
        def from_config(cls, config):
            return {}

    for argument in (1, get_cfg()):
        with pytest.raises(AttributeError, match="from_config"):
            NoFromConfig(argument)
    with pytest.raises(TypeError, match="cfg"):
        WrongName(get_cfg())
    with pytest.raises(AssertionError):
        configurable(3)
