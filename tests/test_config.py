"""Every key is read by code, and every shipped YAML reads."""

import re

import pytest
from detectron2.config import CfgNode, get_cfg

from ovavss_d2.config import add_ovavss_config, load_config
from tests.helpers.paths import REPOSITORY

ROOT = REPOSITORY
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def own_keys():
    """Names of the keys that the project adds to Detectron2's."""

    def leaves(node, prefix=""):
        for key, value in node.items():
            if isinstance(value, CfgNode) and value:
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key

    cfg = get_cfg()
    before = set(leaves(cfg))
    add_ovavss_config(cfg)
    return sorted(set(leaves(cfg)) - before)


@pytest.mark.parametrize("key", own_keys())
def test_every_own_key_is_read_by_code(key):
    last = key.rsplit(".", 1)[-1]
    files = [p for p in (ROOT / "ovavss_d2").rglob("*.py") if p.name != "config.py"]
    sources = "\n".join(p.read_text() for p in files if "standalone" not in p.parts)
    assert re.search(rf"\.{last}\b", sources), f"nothing reads {key}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_reads_and_runs_on_this_machine(path):
    cfg = load_config(str(path))
    assert cfg.DATASETS.TRAIN and cfg.OUTPUT_DIR


def test_options_override_the_file():
    assert load_config(str(CONFIGS[0]), ["SOLVER.MAX_ITER", "7"]).SOLVER.MAX_ITER == 7


@pytest.mark.parametrize(
    "options", [["NO.SUCH", "1"], ["SOLVER.MAX_ITER"], ["SOLVER.MAX_ITER", "many"]]
)
def test_wrong_options_are_named_in_one_line(options):
    with pytest.raises(ValueError, match=re.escape(options[0].split(".")[0])) as error:
        load_config(str(CONFIGS[0]), options)
    assert "\n" not in str(error.value)


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        load_config("nowhere.yaml")


def test_a_yaml_that_would_run_a_command_is_refused(tmp_path):
    config = tmp_path / "evil.yaml"
    config.write_text(f'SEED: !!python/object/apply:os.system ["touch {tmp_path}/ran"]')
    with pytest.raises(ValueError, match="evil.yaml"):
        load_config(str(config))
    assert not (tmp_path / "ran").exists()
