"""What stops a training is one line, once."""

import re
import resource

import pytest

from tests.helpers.scripts import load_script
from tests.helpers.tiny_world import CONFIG, make_world, tiny_options


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def train(world, tmp_path, monkeypatch, capfd):
    """A call of train_net.py that fails: its message, after a check that it is all there is."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(world))
    script = load_script("train_net.py")

    def call(*arguments, fails=True, **changes):
        options = tiny_options(world, **{"TEST.EVAL_PERIOD": 0, "OUTPUT_DIR": tmp_path}, **changes)
        command = ["--config-file", CONFIG, *arguments, *options]
        if not fails:
            script.run(command)
            return ""
        with pytest.raises(SystemExit) as stop:
            script.run(command)
        assert stop.value.code == 1
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in out + err
        return lines[0]

    return call


def test_a_loss_that_is_not_a_number_stops_the_training(train, tmp_path):
    keys = {"SOLVER.BASE_LR": 1e30, "SOLVER.CLIP_GRADIENTS.ENABLED": False}
    message = train(**keys, **{"SOLVER.WARMUP_ITERS": 0})
    assert re.search(r"iteration 1: loss_\w+, .* more became NaN or infinite", message)
    assert not list(tmp_path.glob("*.pth"))


def test_clips_that_processes_cannot_share_are_refused_before_they_start(train):
    message = train("--num-gpus", "2", **{"SOLVER.IMS_PER_BATCH": 3})
    assert message == "error: SOLVER.IMS_PER_BATCH is 3, expected a multiple of the 2 processes"


def test_a_training_does_not_resume_with_another_optimizer(train):
    train(fails=False, **{"SOLVER.MAX_ITER": 2})
    message = train("--resume", **{"SOLVER.OPTIMIZER": "SGD"})
    assert "cannot resume: " in message and "another SOLVER.OPTIMIZER" in message


def test_a_full_disk_stops_the_training(train, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        message = train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.search("cannot write .*model_0000001.pth.* too large", message)
    assert not list(tmp_path.glob("*.pth*")) and not list(tmp_path.glob(".*"))
