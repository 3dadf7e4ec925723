"""Training on two processes takes the same steps as on one."""

import pytest
import torch
from detectron2.utils import comm

from ovavss_d2.engine.launch import launch
from tests.helpers.tiny_world import TrainerWithoutTest, make_world, read_tiny_config

# Queries and points of the reference configuration; a small network and small clips.
FULL_SIZE_LOSSES = {
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 100,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 12544,
    "INPUT.SAMPLING_FRAME_NUM": 2,
    # Steps proportional to gradients, and no batch statistics.
    "SOLVER.OPTIMIZER": "SGD",
    "MODEL.TIMM.FREEZE_NORM": True,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.STEPS": (),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.BASE_LR": 1.0,  # far above rounding
    "SOLVER.WEIGHT_DECAY": 0.0,
}


def train(cfg, output):
    """Run in every process: train, and save the change of the weights."""
    torch.manual_seed(5)
    trainer = TrainerWithoutTest(cfg)
    trainer.resume_or_load(resume=False)
    model = getattr(trainer.model, "module", trainer.model)
    start = {name: x.clone() for name, x in model.state_dict().items()}
    trainer.train()
    moved = {name: x - start[name] for name, x in model.state_dict().items()}
    torch.save(moved, f"{output}.{comm.get_rank()}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")
def test_two_processes_take_the_steps_of_one_with_full_size_losses(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_world(tmp_path)))
    moved = []
    for processes in (1, 2):
        keys = FULL_SIZE_LOSSES | {"OUTPUT_DIR": tmp_path / f"out{processes}"}
        cfg = read_tiny_config(tmp_path, **keys)
        output = str(tmp_path / f"moved{processes}")
        launch(train, processes, args=(cfg, output))
        moved += [torch.load(f"{output}.{rank}") for rank in range(processes)]
    one, *others = moved
    largest = max(x.abs().max() for x in one.values())
    assert largest > 0
    for other in others:
        for name, x in one.items():
            error = (other[name] - x).abs().max()
            assert error <= 1e-5 * largest, f"{name}: {error} of {largest}"
