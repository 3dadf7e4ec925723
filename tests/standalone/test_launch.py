"""The launcher: processes that communicate."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import launch
from detectron2.utils import comm


def communicate(folder):
    """Exchange numbers and load one checkpoint in both processes."""
    rank, model = comm.get_rank(), torch.nn.Linear(1, 1)
    assert (comm.get_world_size(), comm.get_local_size(), comm.get_local_rank()) == (2, 2, rank)
    assert comm.all_gather(rank) == [0, 1]
    path = folder / "weights.pth"
    if comm.is_main_process():
        torch.save({"model": {"weight": torch.full((1, 1), 5.0), "bias": torch.zeros(1)}}, path)
    comm.synchronize()
    DetectionCheckpointer(model).load(str(path))
    (folder / f"{rank}").write_text(str(model.weight.item()))
    comm.synchronize()  # no process exits while another one still communicates


@pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")
def test_processes_on_the_cpu_communicate(tmp_path):
    launch(communicate, 2, dist_url="auto", args=(tmp_path,))
    assert [(tmp_path / f"{rank}").read_text() for rank in range(2)] == ["5.0", "5.0"]


def test_a_single_process_is_the_current_one():
    seen = []
    launch(seen.append, 1, args=(comm.get_world_size(),))
    assert seen == [1]


def test_an_automatic_address_works_on_one_machine_only():
    with pytest.raises(AssertionError, match="auto"):
        launch(communicate, 1, num_machines=2, machine_rank=0, dist_url="auto")
