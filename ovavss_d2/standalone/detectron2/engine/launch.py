"""Start the processes of a job on this machine and connect them with those on other machines."""

import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)

logger = logging.getLogger(__name__)


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run `main_func(*args)` in `num_gpus_per_machine` processes; call it on every machine.

    On a machine with GPUs each process has one GPU and communicates over NCCL; without GPUs the
    processes share the CPU and communicate over gloo. A job of a single process runs in this
    process, without `torch.distributed`.

    Args:
        main_func: a function that can be pickled by name.
        num_gpus_per_machine: number of processes per machine.
        num_machines: number of machines.
        machine_rank: index of this machine.
        dist_url: address for the connection, such as "tcp://127.0.0.1:8686"; "auto" finds a free
            port (one machine only).
        args: arguments of `main_func`; they are pickled.
        timeout: maximum time to wait for the other processes.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a process failed; the others are terminated.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    if dist_url == "auto":
        assert num_machines == 1, "dist_url=auto works on one machine only: give tcp://HOST:PORT"
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    assert dist_url is not None, "a job of several processes needs a dist_url"
    if num_machines > 1 and dist_url.startswith("file://"):
        logger.warning("file:// does not connect machines reliably: use tcp://")
    first_rank = machine_rank * num_gpus_per_machine
    job = (main_func, world_size, num_gpus_per_machine, first_rank, dist_url, args, timeout)
    mp.start_processes(_worker, nprocs=num_gpus_per_machine, args=job, start_method="spawn")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _worker(
    local_rank: int,
    main_func: Callable,
    world_size: int,
    num_local: int,
    first_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
    timeout: timedelta,
) -> None:
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        count = torch.cuda.device_count()
        assert num_local <= count, f"{num_local} processes need as many GPUs, but there are {count}"
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        backend="nccl" if has_gpu else "gloo",
        init_method=dist_url,
        world_size=world_size,
        rank=first_rank + local_rank,
        timeout=timeout,
    )
    comm.create_local_process_group(num_local)
    # No process continues before all of them have started.
    comm.synchronize()
    main_func(*args)
    comm.synchronize()
    dist.destroy_process_group()
