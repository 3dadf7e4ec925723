"""Processes of a job: they find each other, work together and fail together."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from ovavss_d2.engine import launch as launching  # isort: skip (makes `import detectron2` work)
from detectron2.engine import defaults
from detectron2.utils import comm


def work(output):
    """What a process of the jobs below does: it leaves what it knows and computed in a file."""
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
    assert launching.launch(lambda: work(output) or "done", num_gpus=1) == "done"


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


needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")


@needs_no_gpu
def test_processes_work_together_and_the_failure_of_one_ends_the_job(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    output = str(tmp_path / "facts")
    with pytest.raises(mp.ProcessRaisedException, match="worker one fails"):
        launching.launch(work_and_fail_in_one, 2, args=(output,))
    check_facts(output)


@needs_no_gpu
def test_processes_that_torchrun_started_join_one_job(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    output = str(tmp_path / "facts")
    arguments = (launching.free_port(), output)
    mp.start_processes(join_as_torchrun_does, nprocs=2, args=arguments, start_method="spawn")
    check_facts(output)


def test_one_process_runs_here_and_returns():
    assert launching.launch(lambda a, b: a + b, 1, args=(2, 3)) == 5
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 0, "auto"), "--num-gpus 0"),
        ((1, 2, 2, "tcp://127.0.0.1:1"), "--machine-rank 2"),
        ((1, 2, 0, "auto"), "--dist-url auto"),
    ],
)
def test_impossible_jobs_are_refused_in_one_line(numbers, message):
    with pytest.raises(ValueError, match=message) as error:
        launching.launch(print, *numbers)
    assert "\n" not in str(error.value)


def test_exit_of_a_worker_becomes_the_exit_of_the_job(monkeypatch):
    def fail(*args, **kwargs):
        raise mp.ProcessExitedException("gone", error_index=0, error_pid=1, exit_code=3)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(mp, "start_processes", fail)
    with pytest.raises(SystemExit) as error:
        launching.launch(print, 2)
    assert error.value.code == 3


def test_gpus_go_to_detectron2_s_launcher(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launching.engine, "launch", lambda *args: calls.append(args))
    launching.launch(print, 2, 2, 1, "tcp://127.0.0.1:1", args=("x",))
    assert calls == [(print, 2, 2, 1, "tcp://127.0.0.1:1", ("x",))]
