"""Outputs of the runtime equal those recorded from Detectron2."""

import json

import pytest

from tests.helpers.behavior import FACTS
from tests.helpers.paths import FIXTURES

RECORDED = FIXTURES / "detectron2" / "behavior.json"


def differences(found, recorded, path=""):
    """Differences of nested dicts, lists, numbers (by more than 1e-5) and strings."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in found.keys() | recorded.keys():
            yield from differences(found.get(key), recorded.get(key), f"{path}/{key}")
    elif isinstance(recorded, list) and isinstance(found, list) and len(found) == len(recorded):
        for i, pair in enumerate(zip(found, recorded, strict=True)):
            yield from differences(*pair, f"{path}[{i}]")
    elif isinstance(recorded, float):
        if found != pytest.approx(recorded, rel=1e-5, abs=1e-5):
            yield f"{path}: {found}, recorded {recorded}"
    elif found != recorded:
        yield f"{path}: {found}, recorded {recorded}"


@pytest.mark.parametrize("name", FACTS)
def test_outputs_equal_those_recorded_from_detectron2(name):
    recorded = json.loads(RECORDED.read_text())
    assert recorded["recorded_from"].startswith("Detectron2 ")
    found = json.loads(json.dumps(FACTS[name]()))
    assert list(differences(found, recorded[name])) == []
