"""The same seed gives the same training, interrupted or not, with any number of loader workers."""

import pytest
import torch

from tests.helpers.tiny_world import TrainerWithoutTest, make_world, read_tiny_config

STEPS = 4
RANDOM = {  # everything random in training
    "MODEL.FUSION.DROPOUT": 0.3,
    "MODEL.TIMM.DROP_PATH": 0.3,
    "INPUT.MIN_SIZE_TRAIN": (32, 40),
    "INPUT.COLOR_AUG": True,
    "INPUT.SWAPPED_AUDIO": 0.5,
    "SOLVER.CHECKPOINT_PERIOD": 2,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def train(world, tmp_path_factory):
    """A call that trains in a folder and returns the final weights and the trainer."""
    root = tmp_path_factory.mktemp("runs")

    def run(folder, *, stop_after=STEPS, resume=False, **changes):
        keys = RANDOM | {"OUTPUT_DIR": root / folder, "SOLVER.MAX_ITER": STEPS} | changes
        torch.manual_seed(5)  # the same initial weights
        trainer = TrainerWithoutTest(read_tiny_config(world, **keys))
        torch.manual_seed(len(folder))  # must not matter
        trainer.resume_or_load(resume=resume)
        trainer.max_iter = stop_after
        trainer.train()
        state = {name: x.clone() for name, x in trainer.model.state_dict().items()}
        return state, trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(world))
        yield run


@pytest.fixture(scope="module")
def uninterrupted(train):
    return train("uninterrupted")[0]


def differing(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_training_ends_with_the_same_bits(train, uninterrupted, workers):
    options = {"DATALOADER.NUM_WORKERS": workers}
    half, _ = train(f"cut{workers}", stop_after=2, **options)
    assert differing(uninterrupted, half)
    resumed, trainer = train(f"cut{workers}", resume=True, **options)
    assert trainer.start_iter == 2
    assert differing(uninterrupted, resumed) == []


def test_two_workers_give_the_same_bits(train, uninterrupted):
    again, _ = train("again", **{"DATALOADER.NUM_WORKERS": 2})
    assert differing(uninterrupted, again) == []


def test_another_seed_gives_another_training(train, uninterrupted):
    other, _ = train("other", SEED=2)
    assert differing(uninterrupted, other)


def test_a_random_seed_is_kept_by_a_resumed_training(train):
    _, first = train("unseeded", stop_after=1, SEED=-1)
    _, second = train("unseeded", stop_after=2, resume=True, SEED=-1)
    states = [trainer.state_dict()["clips"] for trainer in (first, second)]
    assert states[0]["seed"] == states[1]["seed"] >= 0
    assert [state["clips"] for state in states] == [2 * 2, 3 * 2]
