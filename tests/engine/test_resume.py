"""The same seed gives the same training, however it is cut, loaded or spread over workers."""

import pytest
import torch

from ovavss_d2.engine.trainer import Trainer, argument_parser, read_config
from tests.helpers.tiny_world import CONFIG, make_world, tiny_options

STEPS = 4
RANDOM = {  # everything that draws random numbers in a training
    "MODEL.FUSION.DROPOUT": 0.3,
    "MODEL.TIMM.DROP_PATH": 0.3,
    "INPUT.MIN_SIZE_TRAIN": (32, 40),
    "INPUT.COLOR_AUG": True,
    "INPUT.SWAPPED_AUDIO": 0.5,
    "SOLVER.CHECKPOINT_PERIOD": 2,
}


class TrainerWithoutTest(Trainer):
    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def train(world, tmp_path_factory):
    """Train in a folder: the weights that it ends with."""
    root = tmp_path_factory.mktemp("runs")

    def run(folder, *, stop_after=STEPS, resume=False, **changes):
        keys = RANDOM | {"OUTPUT_DIR": root / folder, "SOLVER.MAX_ITER": STEPS} | changes
        line = ["--config-file", CONFIG, *tiny_options(world, **keys)]
        cfg = read_config(argument_parser("").parse_args(line))
        torch.manual_seed(5)  # of the weights
        trainer = TrainerWithoutTest(cfg)
        torch.manual_seed(len(folder))  # what was drawn before must not count
        trainer.resume_or_load(resume=resume)
        trainer.max_iter = stop_after
        trainer.train()
        state = {name: x.clone() for name, x in trainer.model.state_dict().items()}
        return state, trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(world))
        yield run


@pytest.fixture(scope="module")
def whole(train):
    return train("whole")[0]


def differing(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_training_ends_with_the_same_bits(train, whole, workers):
    options = {"DATALOADER.NUM_WORKERS": workers}
    half, _ = train(f"cut{workers}", stop_after=2, **options)
    assert differing(whole, half)
    resumed, trainer = train(f"cut{workers}", resume=True, **options)
    assert trainer.start_iter == 2
    assert differing(whole, resumed) == []


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(train, whole):
    again, _ = train("again", **{"DATALOADER.NUM_WORKERS": 2})
    assert differing(whole, again) == []


def test_another_seed_gives_another_run(train, whole):
    other, _ = train("other", SEED=2)
    assert differing(whole, other)


def test_without_a_seed_a_resumed_training_keeps_the_one_it_had(train):
    _, first = train("unseeded", stop_after=1, SEED=-1)
    _, second = train("unseeded", stop_after=2, resume=True, SEED=-1)
    states = [trainer.state_dict()["clips"] for trainer in (first, second)]
    assert states[0]["seed"] == states[1]["seed"] >= 0
    assert [state["clips"] for state in states] == [2 * 2, 3 * 2]
