"""Communication between the processes of a job: ranks, barriers and gathering of Python objects.

Every function also works in a job of one process without `torch.distributed`. Objects are sent over
a gloo group (on the CPU), whatever the default backend is.
"""

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# The processes of this machine; set once by `create_local_process_group`.
_local_group: dist.ProcessGroup | None = None
_MISSING_LOCAL_GROUP = (
    "The local process group does not exist; start processes with detectron2's `launch()`, or call "
    "comm.create_local_process_group(num_workers_per_machine) after "
    "torch.distributed.init_process_group()"
)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Return the number of processes of the job."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return the rank of this process in the job."""
    return dist.get_rank() if _is_distributed() else 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Group the processes of each machine; all processes of the job call this once.

    Args:
        num_workers_per_machine: number of processes, the same on each machine.
    """
    global _local_group
    assert _local_group is None, "create_local_process_group() was called twice"
    assert get_world_size() % num_workers_per_machine == 0, (
        f"{get_world_size()} processes do not divide into machines of {num_workers_per_machine}"
    )
    machine = get_rank() // num_workers_per_machine
    for index in range(get_world_size() // num_workers_per_machine):
        first = index * num_workers_per_machine
        # Every process has to create every group, including those of other machines.
        group = dist.new_group(list(range(first, first + num_workers_per_machine)))
        if index == machine:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """Return the group of the processes on this machine."""
    assert _local_group is not None, _MISSING_LOCAL_GROUP
    return _local_group


def get_local_rank() -> int:
    """Return the rank of this process on its machine."""
    return dist.get_rank(group=get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Return the number of processes on this machine."""
    return dist.get_world_size(group=get_local_process_group()) if _is_distributed() else 1


def is_main_process() -> bool:
    """Whether this is the process with rank 0."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process of the job has called this."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        dist.barrier(device_ids=[torch.cuda.current_device()])  # else NCCL guesses the device
    else:
        dist.barrier()


@functools.lru_cache(maxsize=1)
def _object_group() -> dist.ProcessGroup:
    """The group of all processes over gloo; objects are pickled into CPU tensors."""
    if dist.get_backend() == dist.Backend.NCCL:
        return dist.new_group(backend="gloo")
    return dist.group.WORLD


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect one picklable object from each process in every process, in the order of the ranks.

    Args:
        data: the object of this process.
        group: the processes; all if None.
    """
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] = [None] * size
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect one picklable object from each process in the process of rank `dst`.

    Args:
        data: the object of this process.
        dst: rank of the process that gets the objects.
        group: the processes; all if None.

    Returns:
        The objects in the order of the ranks on `dst`, an empty list in the others.
    """
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] | None = [None] * size if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered or []


def shared_random_seed() -> int:
    """Return a random seed that is the same in all processes; all of them call this."""
    return all_gather(int(np.random.randint(2**31)))[0]


@torch.no_grad()
def reduce_dict(
    input_dict: dict[str, torch.Tensor], average: bool = True
) -> dict[str, torch.Tensor]:
    """Sum or average a dictionary of scalar tensors over all processes.

    Args:
        input_dict: scalars by name, with the same names in every process.
        average: divide the sums by the number of processes.

    Returns:
        The reduced values on rank 0; the values in other processes are undefined.
    """
    world_size = get_world_size()
    if world_size < 2:
        return input_dict
    names = sorted(input_dict)  # the same order in all processes
    values = torch.stack([input_dict[name] for name in names], dim=0)
    dist.reduce(values, dst=0)
    if average and is_main_process():
        values /= world_size
    return dict(zip(names, values, strict=True))
