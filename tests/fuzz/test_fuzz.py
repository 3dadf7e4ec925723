"""Any input gives a right result or one line of error. Short; the same cases every time."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.case import Case
from tests.fuzz.kinds import KINDS
from tests.fuzz.sandbox import Sandbox

CASES = 24  # of a kind with cost 1


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_give_a_right_result_or_one_line_of_error(sandbox, kind):
    @settings(
        max_examples=CASES // KINDS[kind].cost, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(KINDS[kind].cases)
    def check(case: Case) -> None:
        outcome = sandbox.run(kind, case)
        assert not outcome.is_fault, f"{outcome.signature}: {outcome.text}"

    check()
