"""The processes of a job communicate, and the failure of one ends the job.

The processes import this module, and thus detectron2 before ovavss_d2.
"""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.engine import defaults
from detectron2.utils import comm

from ovavss_d2.engine import launch as module
from ovavss_d2.engine.launch import free_port, launch

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")


def work(output):
    """Run in each process: write its ranks and the results of collective operations to a file."""
    rank = comm.get_rank()
    total = torch.tensor([rank + 1.0])
    torch.distributed.all_reduce(total)
    model = defaults.create_ddp_model(torch.nn.Linear(1, 1, bias=False))
    model(torch.tensor([[rank + 1.0]])).sum().backward()
    facts = {
        "world size": comm.get_world_size(),
        "local rank": comm.get_local_rank(),
        "local size": comm.get_local_size(),
        "sum of ranks + 1": total.item(),
        "mean gradient": next(model.parameters()).grad.item(),
        "threads": torch.get_num_threads(),
    }
    Path(f"{output}.{rank}").write_text(json.dumps(facts))


def work_and_fail_in_one(output):
    work(output)
    if comm.get_rank() == 1:
        raise RuntimeError("worker one fails")
    comm.synchronize()


def join_as_torchrun_does(rank, port, output):
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    assert launch(lambda: work(output) or "done", num_gpus=1) == "done"


def check_facts(output):
    for rank in range(2):
        assert json.loads(Path(f"{output}.{rank}").read_text()) == {
            "world size": 2,
            "local rank": rank,
            "local size": 2,
            "sum of ranks + 1": 3.0,
            "mean gradient": 1.5,
            "threads": 1,
        }


@needs_no_gpu
def test_processes_work_together_and_the_failure_of_one_ends_the_job(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    output = str(tmp_path / "facts")
    with pytest.raises(mp.ProcessRaisedException, match="worker one fails"):
        launch(work_and_fail_in_one, 2, args=(output,))
    check_facts(output)


@needs_no_gpu
def test_processes_started_by_torchrun_join_one_job(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    output = str(tmp_path / "facts")
    arguments = (free_port(), output)
    mp.start_processes(join_as_torchrun_does, nprocs=2, args=arguments, start_method="spawn")
    check_facts(output)


def test_a_single_process_runs_here_and_returns():
    assert launch(lambda a, b: a + b, 1, args=(2, 3)) == 5
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 0, "auto"), "--num-gpus 0"),
        ((1, 2, 2, "tcp://127.0.0.1:1"), "--machine-rank 2"),
        ((1, 2, 0, "auto"), "--dist-url auto"),
    ],
)
def test_impossible_jobs_are_one_line_errors(numbers, message):
    with pytest.raises(ValueError, match=message) as error:
        launch(print, *numbers)
    assert "\n" not in str(error.value)


def test_the_exit_code_of_a_worker_is_passed_on(monkeypatch):
    def fail(*args, **kwargs):
        raise mp.ProcessExitedException("gone", error_index=0, error_pid=1, exit_code=3)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(mp, "start_processes", fail)
    with pytest.raises(SystemExit) as error:
        launch(print, 2)
    assert error.value.code == 3


def test_gpus_use_the_launcher_of_detectron2(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="--num-gpus 3, but there are 2 GPUs"):
        launch(print, 3)
    monkeypatch.setattr(module.engine, "launch", lambda *args: calls.append(args))
    launch(print, 2, 2, 1, "tcp://127.0.0.1:1", args=("x",))
    assert calls == [(print, 2, 2, 1, "tcp://127.0.0.1:1", ("x",))]
