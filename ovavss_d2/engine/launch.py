"""Start a job's processes: Detectron2's launcher with GPUs, gloo processes on machines without.

Detectron2's own launcher also starts processes on a machine without a GPU, but its trainer then
asks for one GPU per process. `torchrun`, which starts the processes itself, works as well.
"""

import functools
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2 import engine
from detectron2.engine import defaults
from detectron2.utils import comm

TORCHRUN_KEYS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


def launch(
    main: Callable[..., Any],
    num_gpus: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    args: tuple = (),
) -> Any:
    """Run `main(*args)` in every process of the job; called once on each machine.

    Args:
        main: a function at the top level of a module (processes find it by name).
        num_gpus: processes per machine; on a machine without a GPU they share its processor.
        num_machines: machines of the job.
        machine_rank: this machine's number, from 0.
        dist_url: where the processes meet, "tcp://HOST:PORT"; "auto" is a free port of this
            machine.
        args: arguments of `main`; they are pickled.

    Under torchrun the four numbers are torchrun's, and what is given here is not looked at.

    Returns:
        What `main` returns if it ran in this process, else None.

    Raises:
        ValueError: a number is out of range, or several machines have no common address.
        SystemExit: a process ended with an exit code of its own, which is passed on.
        torch.multiprocessing.ProcessRaisedException: `main` failed in a process; the message holds
            its traceback, and the other processes are ended.
    """
    if started_by_torchrun(os.environ):
        return _run_under_torchrun(main, args)
    _check(num_gpus, num_machines, machine_rank, dist_url)
    if num_gpus * num_machines == 1:
        return main(*args)
    if dist_url == "auto":
        dist_url = f"tcp://127.0.0.1:{free_port()}"
    try:
        if torch.cuda.is_available():
            engine.launch(main, num_gpus, num_machines, machine_rank, dist_url, args)
        else:
            job = (num_gpus, num_machines, machine_rank, dist_url, main, args)
            mp.start_processes(_cpu_worker, nprocs=num_gpus, args=job, start_method="spawn")
    except mp.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from error
    return None


def started_by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun, or a launcher like it, has started this process."""
    return all(key in environment for key in TORCHRUN_KEYS)


def _check(num_gpus: int, num_machines: int, machine_rank: int, dist_url: str) -> None:
    if num_gpus < 1 or num_machines < 1:
        raise ValueError(
            f"--num-gpus {num_gpus} --num-machines {num_machines}: both must be at least 1"
        )
    if not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--machine-rank {machine_rank} must lie between 0 and {num_machines - 1}"
            f" (--num-machines is {num_machines})"
        )
    if num_machines > 1 and dist_url == "auto":
        raise ValueError("--dist-url auto is for one machine: give tcp://HOST:PORT of machine 0")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _cpu_worker(
    local_rank: int,
    num_local: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
    main: Callable[..., Any],
    args: tuple,
) -> None:
    rank = machine_rank * num_local + local_rank
    meeting = {"init_method": dist_url, "world_size": num_machines * num_local, "rank": rank}
    _run_connected("gloo", meeting, num_local, main, args)


def _run_under_torchrun(main: Callable[..., Any], args: tuple) -> Any:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    num_local = int(os.environ["LOCAL_WORLD_SIZE"])
    return _run_connected(backend, {"init_method": "env://"}, num_local, main, args)


def _run_connected(
    backend: str, meeting: dict[str, Any], num_local: int, main: Callable[..., Any], args: tuple
) -> Any:
    """Connect this process with the others of the job, then run `main`."""
    if backend == "gloo":
        _let_trainer_use_cpu()
        # The processes of a machine share its cores instead of fighting for all of them.
        torch.set_num_threads(max(1, torch.get_num_threads() // num_local))
    dist.init_process_group(backend, **meeting)
    comm.create_local_process_group(num_local)
    result = main(*args)
    # The first process serves the others' meeting place: it leaves last.
    comm.synchronize()
    dist.destroy_process_group()
    return result


def _let_trainer_use_cpu() -> None:
    """Detectron2's trainer gives a model to GPU `local_rank` unless it is told otherwise."""
    defaults.create_ddp_model = functools.partial(defaults.create_ddp_model, device_ids=None)
