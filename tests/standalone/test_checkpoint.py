"""Checkpoints: saving, loading, resuming, and files that cannot be trusted."""

import os
import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
from torch import nn

from tests.helpers.runtime import standalone_only


def model():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def assert_equal_states(first, second):
    torch.testing.assert_close(dict(first), dict(second), rtol=0, atol=0)


@pytest.mark.parametrize(("resume", "lr"), [(True, 0.25), (False, 1.0)])
def test_resuming_restores_all_states_and_loading_the_weights_only(tmp_path, resume, lr):
    source, target = model(), model()
    optimizer = torch.optim.SGD(source.parameters(), lr=0.25)
    DetectionCheckpointer(source, str(tmp_path), optimizer=optimizer).save("m", iteration=3)
    other = torch.optim.SGD(target.parameters(), lr=1.0)
    checkpointer = DetectionCheckpointer(target, str(tmp_path), optimizer=other)
    assert checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "m.pth")
    rest = checkpointer.resume_or_load("" if resume else str(tmp_path / "m.pth"), resume=resume)
    assert rest["iteration"] == 3
    assert_equal_states(target.state_dict(), source.state_dict())
    assert other.param_groups[0]["lr"] == lr


def test_an_empty_path_loads_nothing():
    target = model()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    assert DetectionCheckpointer(target).load("") == {}
    assert_equal_states(target.state_dict(), before)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_plain_and_parallel_state_dicts_load(tmp_path, prefix):
    source, target = model(), model()
    torch.save({prefix + k: v for k, v in source.state_dict().items()}, tmp_path / "m.pth")
    DetectionCheckpointer(target).load(str(tmp_path / "m.pth"))
    assert_equal_states(target.state_dict(), source.state_dict())


def test_a_weight_of_another_shape_is_not_loaded(tmp_path):
    target = model()
    before = target[0].weight.detach().clone()
    torch.save({"model": {"0.weight": torch.zeros(3, 3)}}, tmp_path / "m.pth")
    DetectionCheckpointer(target).load(str(tmp_path / "m.pth"))
    torch.testing.assert_close(target[0].weight.detach(), before)


def test_error_for_a_missing_file_has_its_name():
    with pytest.raises(AssertionError, match="nowhere.pth not found"):
        DetectionCheckpointer(model()).load("nowhere.pth")


@standalone_only
def test_standalone_does_not_run_code_in_a_checkpoint(tmp_path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    path = tmp_path / "m.pth"
    torch.save({"model": {"a": Command()}}, path)
    with pytest.raises(ValueError, match="readable checkpoint: it holds more"):
        DetectionCheckpointer(model()).load(str(path))
    assert not (tmp_path / "trace").exists()


@standalone_only
@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x04]."])
def test_standalone_errors_for_other_files_are_one_line(tmp_path, content):
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable checkpoint") as error:
        DetectionCheckpointer(model()).load(str(tmp_path / "m.pth"))
    assert "\n" not in str(error.value)


@standalone_only
def test_standalone_pickles_need_detectron2(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": {"a": np.zeros(3)}}))
    with pytest.raises(ValueError, match="install Detectron2"):
        DetectionCheckpointer(model()).load(str(tmp_path / "m.pkl"))


def test_periodic_checkpoints_keep_the_newest(tmp_path):
    checkpointer = DetectionCheckpointer(model(), str(tmp_path))
    periodic = PeriodicCheckpointer(checkpointer, period=2, max_iter=7, max_to_keep=2)
    for step in range(7):
        periodic.step(step)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000003.pth", "model_0000005.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
