"""What runs does what Detectron2 does, by facts that were recorded from it."""

import json

import pytest

from tests.helpers.behaviour import FACTS
from tests.helpers.paths import FIXTURES

RECORDED = FIXTURES / "detectron2" / "behaviour.json"


def differences(found, recorded, place=""):
    """Where two nests of dicts, lists, numbers and texts differ; numbers by more than 1e-5."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in found.keys() | recorded.keys():
            yield from differences(found.get(key), recorded.get(key), f"{place}/{key}")
    elif isinstance(recorded, list) and isinstance(found, list) and len(found) == len(recorded):
        for i, pair in enumerate(zip(found, recorded, strict=True)):
            yield from differences(*pair, f"{place}[{i}]")
    elif isinstance(recorded, float):
        if found != pytest.approx(recorded, rel=1e-5, abs=1e-5):
            yield f"{place}: {found}, recorded {recorded}"
    elif found != recorded:
        yield f"{place}: {found}, recorded {recorded}"


@pytest.mark.parametrize("name", FACTS)
def test_facts_equal_those_recorded_from_detectron2(name):
    recorded = json.loads(RECORDED.read_text())
    assert recorded["recorded_from"].startswith("Detectron2 ")
    found = json.loads(json.dumps(FACTS[name]()))
    assert list(differences(found, recorded[name])) == []
