import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm

PROCESSES = 4
PER_MACHINE = 2


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _communicate(rank: int, port: int) -> None:
    """Communicate in one of the processes."""
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=PROCESSES)
    with pytest.raises(AssertionError, match="create_local_process_group"):
        comm.get_local_process_group()
    comm.create_local_process_group(PER_MACHINE)
    assert (comm.get_rank(), comm.get_world_size()) == (rank, PROCESSES)
    assert (comm.get_local_rank(), comm.get_local_size()) == (rank % PER_MACHINE, PER_MACHINE)
    assert comm.is_main_process() == (rank == 0)

    everyone = list(range(PROCESSES))
    assert comm.all_gather({"rank": rank}) == [{"rank": other} for other in everyone]
    assert comm.gather((rank, None)) == ([(o, None) for o in everyone] if rank == 0 else [])
    assert comm.gather(rank, dst=1) == (everyone if rank == 1 else [])
    first = rank // PER_MACHINE * PER_MACHINE
    here = comm.all_gather(rank, group=comm.get_local_process_group())
    assert here == list(range(first, first + PER_MACHINE))

    torch.manual_seed(rank)
    assert len(set(comm.all_gather(comm.shared_random_seed()))) == 1
    losses = {"b": torch.tensor(1.0 + rank), "a": torch.tensor(2.0 * rank)}
    mean, total = comm.reduce_dict(losses), comm.reduce_dict(losses, average=False)
    if rank == 0:
        assert mean == {"a": torch.tensor(3.0), "b": torch.tensor(2.5)}
        assert total == {"a": torch.tensor(12.0), "b": torch.tensor(10.0)}
    comm.synchronize()
    dist.destroy_process_group()


def test_communication_of_four_processes_on_two_machines():
    # Forked processes do not need to import everything again; gloo on the CPU supports this.
    mp.start_processes(_communicate, (_free_port(),), nprocs=PROCESSES, start_method="fork")


def test_one_process_needs_no_process_group():
    assert (comm.get_rank(), comm.get_world_size()) == (0, 1)
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
    assert comm.is_main_process()
    assert comm.gather("mine") == comm.all_gather("mine") == ["mine"]
    values = {"loss": torch.tensor(1.0)}
    assert comm.reduce_dict(values) == values
    assert isinstance(comm.shared_random_seed(), int)
    comm.synchronize()
