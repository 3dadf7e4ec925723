import logging
import re

import pytest
from detectron2.utils.logger import log_every_n_seconds, setup_logger

from tests.helpers.log_lines import recorded_lines

STAMP = r"\[\d\d/\d\d \d\d:\d\d:\d\d\] "


@pytest.fixture
def name(request):
    """The name of a logger for this test; its handlers are removed afterwards."""
    name = f"logger_of_{request.node.name}"
    yield name
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_the_log_file_contains_time_name_and_level(tmp_path, name):
    logger = setup_logger(str(tmp_path), name=name)
    logger.info("hello %d", 3)
    logging.getLogger(f"{name}.part").warning("careful")
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert re.fullmatch(f"{STAMP}{name} INFO: hello 3", first)
    assert re.fullmatch(f"{STAMP}{name}.part WARNING: careful", second)


def test_names_below_the_root_are_abbreviated(tmp_path, name):
    setup_logger(str(tmp_path / "run.log"), name=name, abbrev_name="short")
    logging.getLogger(f"{name}.part").info("hello")
    assert "short.part INFO: hello" in (tmp_path / "run.log").read_text()


def test_a_second_call_does_not_add_handlers(tmp_path, name):
    first = setup_logger(str(tmp_path), name=name)
    second = setup_logger(str(tmp_path), name=name)
    assert first is second and len(first.handlers) == 2
    assert first.level == logging.DEBUG and not first.propagate


def test_ranks_above_zero_write_to_separate_files(tmp_path, name, capsys):
    setup_logger(str(tmp_path / "a.txt"), distributed_rank=2, name=name).info("hello")
    assert "hello" in (tmp_path / "a.txt.rank2").read_text()
    assert not (tmp_path / "a.txt").exists()
    assert "hello" not in capsys.readouterr().out


def test_the_screen_marks_warnings(name, capsys):
    logger = setup_logger(name=name)
    logger.info("fine")
    logger.warning("careful")
    logger.error("wrong")
    shown = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert re.fullmatch(rf"\[[\d/]+ [\d:]+ {name}\]: fine", shown[0])
    assert shown[1].startswith("WARNING [") and shown[1].endswith("careful")
    assert shown[2].startswith("ERROR [") and shown[2].endswith("wrong")


def test_logging_to_the_screen_can_be_disabled(name):
    logger = setup_logger(name=name, configure_stdout=False, enable_propagation=True)
    assert logger.handlers == [] and logger.propagate


def test_a_line_is_logged_once_in_n_seconds(name):
    with recorded_lines(name) as lines:
        for step in range(4):
            log_every_n_seconds(logging.INFO, f"step {step}", 3600, name=name)
    assert lines == ["step 0"]


def test_the_default_logger_is_the_callers_module():
    with recorded_lines(__name__) as lines:
        log_every_n_seconds(logging.INFO, "mine")
    assert lines == ["mine"]
