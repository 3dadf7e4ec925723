"""Every key is documented and read by code, and every shipped YAML is valid and short."""

import re
import socket

import pytest
import yaml
from detectron2.config import get_cfg

from ovavss_d2.config import add_ovavss_config, load_config
from tests.helpers.paths import REPOSITORY as ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SOURCES = "\n".join(
    path.read_text()
    for path in (ROOT / "ovavss_d2").rglob("*.py")
    if path.name != "config.py" and "standalone" not in path.parts
)


def leaves(node, prefix=""):
    """{full name: value} of the keys of nested nodes."""
    found = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def own_keys():
    """Names of the keys that the project adds to those of Detectron2."""
    cfg = get_cfg()
    add_ovavss_config(cfg)
    return sorted(leaves(cfg).keys() - leaves(get_cfg()).keys())


@pytest.mark.parametrize("key", own_keys())
def test_every_own_key_is_read_by_code(key):
    last = key.rsplit(".", 1)[-1]
    assert re.search(rf"\.{last}\b", SOURCES), f"nothing reads {key}"


def test_comments_are_above_the_keys_and_no_key_takes_several_lines():
    text = (ROOT / "ovavss_d2" / "config.py").read_text().split("def load_config")[0]
    assignments = re.findall(r"^    .*\.[A-Z_]+ = .*$", text, re.MULTILINE)
    assert len(assignments) > len(own_keys())
    assert not [line for line in assignments if "#" in line or line.endswith("(")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_restates_no_default(path):
    cfg = load_config(path)
    assert path.stem.startswith("Base-") or (cfg.DATASETS.TRAIN and cfg.OUTPUT_DIR)
    content = yaml.safe_load(path.read_text())
    default = get_cfg()
    add_ovavss_config(default)
    if base := content.pop("_BASE_", None):
        default.merge_from_file(str(path.parent / base))
    content.pop("VERSION", None)  # Detectron2 wants it in files
    before, after = leaves(default), leaves(cfg)
    assert not [key for key in leaves(content) if key in before and before[key] == after[key]]


def test_options_override_the_file():
    options = ["SOLVER.MAX_ITER", "7", "MODEL.MASK_FORMER.AUDIO_QUERIES", "False"]
    cfg = load_config(CONFIGS[0], options)
    assert cfg.SOLVER.MAX_ITER == 7 and not cfg.MODEL.MASK_FORMER.AUDIO_QUERIES


@pytest.mark.parametrize(
    "options", [["NO.SUCH", "1"], ["SOLVER.MAX_ITER"], ["SOLVER.MAX_ITER", "many"]]
)
def test_wrong_options_are_reported_in_one_line(options):
    with pytest.raises(ValueError, match=re.escape(options[0].split(".")[0])) as error:
        load_config(CONFIGS[0], options)
    assert "\n" not in str(error.value)


def test_a_key_that_no_longer_exists_is_reported_in_one_line(tmp_path):
    config = tmp_path / "old.yaml"
    config.write_text("MODEL: {CLIP: {SAME_MASK: 0.9}}\nVERSION: 2\n")
    with pytest.raises(ValueError, match=r"old.yaml.*Non-existent config key.*SAME_MASK") as error:
        load_config(config)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        load_config("nowhere.yaml")


def test_a_yaml_that_would_run_a_command_is_refused(tmp_path):
    config = tmp_path / "evil.yaml"
    config.write_text(f'SEED: !!python/object/apply:os.system ["touch {tmp_path}/ran"]')
    with pytest.raises(ValueError, match="evil.yaml"):
        load_config(config)
    assert not (tmp_path / "ran").exists()


WRONG_FILES = {
    "": "holds nothing",
    "- 1": "holds a list",
    "text": "holds a str",
    "1: 2": "the key 1 is not text",
    "VERSION: x": "VERSION 'x', expected a whole number",
    "_BASE_: config.yaml": "is based on itself",
    "_BASE_: other.yaml": "other.yaml', which is not a file",
    "_BASE_: [1]": "_BASE_ '1', expected the path",
    "_BASE_: http://127.0.0.1:9/x.yaml": "expected the path of a YAML file",
    "_BASE_: [detectron2://x.yaml]": "expected the path of a YAML file",
    "MODEL: &a {TIMM: {KWARGS: {x: *a}}}": "more than 10000 values",
    "[" * 50_000: "too large",
    "{a: " * 3000: "recursion",
    "MODEL: 5": "'int'",
    "MODEL: {MASK_FORMER: {NHEADS: null}}": "NHEADS holds None, expected a number",
    "MODEL: {MASK_FORMER: {AUDIO_QUERIES: null}}": "AUDIO_QUERIES holds None, expected True or",
    "MODEL: {MASK_FORMER: {NHEADS: 0}}": "NHEADS is 0, expected at least 1",
    "MODEL: {SEM_SEG_HEAD: {CONVS_DIM: -5}}": "CONVS_DIM is -5, expected at least 1",
    "MODEL: {SEM_SEG_HEAD: {CONVS_DIM: 100000000}}": "CONVS_DIM is 100000000, expected at most",
    "MODEL: {PIXEL_MEAN: [1, 2, 3, 4, 5, 6]}": "PIXEL_MEAN has 6 values, expected 3",
    "MODEL: {PIXEL_MEAN: [a, b, c]}": "PIXEL_MEAN holds 'a', expected a number",
    "MODEL: {DEVICE: gpu}": "MODEL.DEVICE is 'gpu'",
    "MODEL: {CLASSIFIER: {VOCABULARY: [no]}}": "VOCABULARY holds False, expected text",
    "SOLVER: {BASE_LR: .nan}": "BASE_LR is nan, expected a finite number",
    "INPUT: {MIN_SIZE_TRAIN: [-360]}": "MIN_SIZE_TRAIN is -360",
}


@pytest.mark.parametrize("content", WRONG_FILES, ids=lambda content: content[:30] or "empty")
def test_wrong_files_are_one_short_line_and_ask_nothing_of_the_network(
    tmp_path, content, monkeypatch
):
    def fail(*_):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", fail)
    config = tmp_path / "config.yaml"
    config.write_text(content)
    with pytest.raises(ValueError, match=re.escape(WRONG_FILES[content])) as error:
        load_config(config)
    message = str(error.value)
    assert "config.yaml" in message and "\n" not in message
    assert len(message.replace(str(tmp_path), "")) < 400


def test_two_files_based_on_each_other_are_refused(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"_BASE_: {other}.yaml")
    with pytest.raises(ValueError, match="a.yaml' is based on itself"):
        load_config(tmp_path / "a.yaml")
