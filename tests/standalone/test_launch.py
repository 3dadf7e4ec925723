"""The launcher: processes that communicate."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import launch
from detectron2.utils import comm

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")


def report(folder):
    """Write facts about the process to a file and load a checkpoint."""
    rank = comm.get_rank()
    model = torch.nn.Linear(1, 1)
    path = folder / "weights.pth"
    if comm.is_main_process():
        torch.save({"model": {"weight": torch.full((1, 1), 5.0), "bias": torch.zeros(1)}}, path)
    comm.synchronize()
    DetectionCheckpointer(model).load(str(path))
    facts = [
        comm.get_world_size(),
        comm.get_local_size(),
        comm.get_local_rank(),
        comm.all_gather(rank),
        model.weight.item(),
    ]
    (folder / f"{rank}.json").write_text(json.dumps(facts))
    comm.synchronize()  # no process exits while another one still communicates


@without_gpu
def test_processes_on_the_cpu_communicate(tmp_path):
    launch(report, 2, dist_url="auto", args=(Path(tmp_path),))
    for rank in range(2):
        facts = json.loads((tmp_path / f"{rank}.json").read_text())
        assert facts == [2, 2, rank, [0, 1], 5.0]


def test_a_single_process_is_the_current_one():
    seen = []
    launch(seen.append, 1, args=(comm.get_world_size(),))
    assert seen == [1]


def test_an_automatic_address_works_on_one_machine_only():
    with pytest.raises(AssertionError, match="auto"):
        launch(report, 1, num_machines=2, machine_rank=0, dist_url="auto")
