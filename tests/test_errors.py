"""A user's mistake is one line and exit code 1; a fault of ours keeps its traceback."""

import json

import pytest

from ovavss_d2.errors import DEBUG_VARIABLE, one_line, one_line_errors


@pytest.mark.parametrize(
    "error",
    [ValueError("first\n  second"), FileNotFoundError("first second"), OSError("first second")],
)
def test_mistakes_are_one_line(error, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 1
    assert capsys.readouterr() == ("", "error: first second\n")


def test_broken_json_is_a_mistake(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        json.loads("{")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_faults_and_debugging_keep_the_traceback(monkeypatch):
    with pytest.raises(RuntimeError), one_line_errors():
        raise RuntimeError("a fault")
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(ValueError), one_line_errors():
        raise ValueError("a mistake")


def test_interrupt_exits_as_shells_expect(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_decorated_functions_return_what_they_return():
    @one_line_errors()
    def double(x):
        return 2 * x

    assert double(2) == 4 and double(3) == 6


def test_an_error_without_words_has_its_kind():
    assert one_line(EOFError()) == "EOFError"
