"""Start the processes of a job: with Detectron2's launcher on GPUs, with gloo on CPUs.

Detectron2's launcher can start processes on a machine without a GPU, but its trainer then requires
one GPU per process. Jobs can also be started with `torchrun`.
"""

import functools
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2 import engine
from detectron2.engine import defaults
from detectron2.utils import comm

TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


def launch(
    main: Callable[..., Any],
    num_gpus: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    args: tuple = (),
) -> Any:
    """Run `main(*args)` in every process of the job; to be called once on each machine.

    Args:
        main: a top-level function of a module, so that processes can import it.
        num_gpus: processes per machine; without a GPU they share the CPU.
        num_machines, machine_rank: machines of the job, and the index of this one.
        dist_url: address of the first process, "tcp://HOST:PORT"; "auto": a free port here.
        args: arguments of `main`; they are pickled.

    Under torchrun, its environment variables replace these numbers.

    Returns:
        The result of `main` if it ran in this process, otherwise None.

    Raises:
        ValueError: a number is out of range, or several machines have no common address.
        SystemExit: a process exited with this code.
        torch.multiprocessing.ProcessRaisedException: `main` raised in a process, and the others
            were stopped.
    """
    if all(name in os.environ for name in TORCHRUN_VARIABLES):
        return _run_under_torchrun(main, args)
    _check_arguments(num_gpus, num_machines, machine_rank, dist_url)
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


def _check_arguments(num_gpus: int, num_machines: int, machine_rank: int, dist_url: str) -> None:
    if num_gpus < 1 or num_machines < 1:
        raise ValueError(
            f"--num-gpus {num_gpus} --num-machines {num_machines}: both must be at least 1"
        )
    if torch.cuda.is_available() and num_gpus > torch.cuda.device_count():
        raise ValueError(f"--num-gpus {num_gpus}, but there are {torch.cuda.device_count()} GPUs")
    if not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--machine-rank {machine_rank} with --num-machines {num_machines}: expected 0 to "
            f"{num_machines - 1}"
        )
    if num_machines > 1 and dist_url == "auto":
        raise ValueError("--dist-url auto is for one machine: give tcp://HOST:PORT of machine 0")


def free_port() -> int:
    """A free TCP port of this machine."""
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
    group = {"init_method": dist_url, "world_size": num_machines * num_local, "rank": rank}
    _run_in_group("gloo", group, num_local, main, args)


def _run_under_torchrun(main: Callable[..., Any], args: tuple) -> Any:
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl"
    num_local = int(os.environ["LOCAL_WORLD_SIZE"])
    return _run_in_group(backend, {"init_method": "env://"}, num_local, main, args)


def _run_in_group(
    backend: str, group: dict[str, Any], num_local: int, main: Callable[..., Any], args: tuple
) -> Any:
    """Join the process group of the job, then run `main`."""
    if backend == "gloo":
        # Detectron2's trainer assigns a model to GPU `local_rank` unless `device_ids` is given.
        defaults.create_ddp_model = functools.partial(defaults.create_ddp_model, device_ids=None)
        # The processes of a machine share its cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // num_local))
    dist.init_process_group(backend, **group)
    comm.create_local_process_group(num_local)
    result = main(*args)
    comm.synchronize()  # the first process serves the group's store, so it must exit last
    dist.destroy_process_group()
    return result
