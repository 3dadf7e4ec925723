"""Training loop, hooks, command line and setup."""

import math

import detectron2
import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    hooks,
)
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn


class Slope(nn.Module):
    """Its loss falls by the same amount in every step."""

    def __init__(self, losses=("a", "b")):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses = losses

    def forward(self, batch):
        loss = self.weight.sum() * batch
        return {name: loss for name in self.losses} if self.losses else loss


def trainer(losses=("a", "b"), batches=99, value=1.0, **arguments):
    model = Slope(losses)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return SimpleTrainer(model, [value] * batches, optimizer, **arguments)


@pytest.fixture
def loop():
    return trainer()


def history(trained, name):
    return [(pytest.approx(value), step) for value, step in trained.storage.history(name).values()]


def recorder(calls):
    """A hook that records its calls as (name, step of the trainer, step of the storage)."""
    hook = HookBase()
    for name in ("before_train", "before_step", "after_backward", "after_step", "after_train"):
        setattr(hook, name, lambda name=name: calls.append((name, *steps_of(hook.trainer))))
    return hook


def steps_of(loop):
    return loop.iter, loop.storage.iter


def test_hooks_are_called_around_each_step_with_its_number(loop):
    calls = []
    loop.register_hooks([recorder(calls), None])
    loop.train(3, 5)
    names = ("before_step", "after_backward", "after_step")
    steps = [(name, step, step) for step in (3, 4) for name in names]
    assert calls == [("before_train", 3, 3), *steps, ("after_train", 5, 5)]


@pytest.mark.parametrize("threaded", [False, True])
def test_losses_are_recorded_in_each_step(threaded):
    loop = trainer(async_write_metrics=threaded)
    loop.train(2, 4)
    assert history(loop, "total_loss") == [(2.0, 2), (1.6, 3)]
    assert history(loop, "a") == history(loop, "b") == [(1.0, 2), (0.8, 3)]
    assert {"data_time", "rank_data_time"} <= set(loop.storage.histories())


def test_losses_are_recorded_only_every_gather_period():
    loop = trainer(gather_metric_period=2)
    loop.train(0, 4)
    assert [step for _, step in history(loop, "total_loss")] == [1, 3]


def test_a_single_loss_may_be_a_tensor():
    loop = trainer(losses=())
    loop.train(0, 2)
    assert history(loop, "total_loss") == [(1.0, 0), (0.9, 1)]


def test_a_nan_loss_stops_training():
    loop = trainer(value=math.nan)
    with pytest.raises(FloatingPointError, match="iteration=0"):
        loop.train(0, 2)


def test_hooks_finish_when_the_training_fails():
    calls, evaluations = [], []
    loop = trainer(batches=1)
    loop.register_hooks([recorder(calls), hooks.EvalHook(0, lambda: evaluations.append(1))])
    with pytest.raises(StopIteration):
        loop.train(0, 3)
    assert calls[-1] == ("after_train", 1, 1)
    assert evaluations == []


class Stateful(HookBase):
    loaded: list[dict] = []
    load_state_dict = staticmethod(loaded.append)

    def state_dict(self):
        return {"number": 4}


def test_trainer_state_contains_hook_states(loop):
    loop.register_hooks([Stateful()])
    loop.train(0, 2)
    state = loop.state_dict()
    assert state["iteration"] == 2
    assert state["hooks"] == {"Stateful": {"number": 4}}
    other = trainer()
    other.register_hooks([Stateful()])
    state["hooks"]["Unknown"] = {"passed": "over"}
    other.load_state_dict(state)
    assert other.iter == 2
    assert Stateful.loaded == [{"number": 4}]


@pytest.mark.parametrize(
    ("period", "after_train", "steps"),
    [(2, True, [1, 3, 5]), (2, False, [1, 3]), (0, True, [5]), (5, True, [5])],
)
def test_evaluation_runs_every_period_and_after_the_last_step(period, after_train, steps):
    loop, done = trainer(), []
    hook = hooks.EvalHook(period, lambda: done.append(loop.iter), eval_after_train=after_train)
    loop.register_hooks([hook])
    loop.train(0, 5)
    assert done == steps


def test_results_are_recorded_flat_and_without_smoothing(loop):
    loop.register_hooks([hooks.EvalHook(2, lambda: {"sem_seg": {"mIoU": 1, "per": {"cat": 2.5}}})])
    loop.train(0, 3)
    assert history(loop, "sem_seg/mIoU") == [(1.0, 1), (1.0, 3)]
    assert history(loop, "sem_seg/per/cat") == [(2.5, 1), (2.5, 3)]
    assert loop.storage.smoothing_hints()["sem_seg/mIoU"] is False


def test_error_for_a_result_that_is_not_a_number_has_its_name(loop):
    loop.register_hooks([hooks.EvalHook(1, lambda: {"task": {"name": "cat"}})])
    with pytest.raises(ValueError, match="task/name: cat"):
        loop.train(0, 2)


def test_the_best_checkpoint_is_saved(loop, tmp_path):
    scores = iter([0.5, 0.4, 0.7, math.nan, 0.6])
    weights = []
    checkpointer = DetectionCheckpointer(loop.model, str(tmp_path))
    loop.register_hooks(
        [
            hooks.EvalHook(1, lambda: {"score": next(scores)}),
            hooks.CallbackHook(after_step=lambda t: weights.append(loop.model.weight.item())),
            hooks.BestCheckpointer(1, checkpointer, "score"),
        ]
    )
    loop.train(0, 5)
    saved = torch.load(tmp_path / "model_best.pth")
    assert saved["model"]["weight"].item() == weights[2]
    assert saved["iteration"] == 2


def test_an_unknown_mode_of_best_checkpointer_raises(tmp_path):
    with pytest.raises(AssertionError, match="avg"):
        hooks.BestCheckpointer(1, DetectionCheckpointer(Slope()), "score", mode="avg")


def test_learning_rates_of_any_schedule_are_recorded():
    for name, rates in (("torch", [0.1, 0.1, 0.01, 0.01]), ("fvcore", [0.1, 0.075, 0.05, 0.025])):
        loop = trainer()
        steps = torch.optim.lr_scheduler.StepLR(loop.optimizer, 2)
        schedule = steps if name == "torch" else LinearParamScheduler(1, 0)
        loop.register_hooks([hooks.LRScheduler(loop.optimizer, schedule)])
        loop.train(0, 4)
        assert [value for value, _ in history(loop, "lr")] == rates


def test_the_recorded_rate_is_that_of_most_parameters():
    def best(*groups):
        params = [
            {"params": [nn.Parameter(torch.zeros(1)) for _ in range(number)], "lr": lr}
            for number, lr in groups
        ]
        return hooks.LRScheduler.get_best_param_group_id(torch.optim.SGD(params, lr=1.0))

    assert best((1, 0.1), (3, 0.2)) == 1
    assert best((2, 0.1), (2, 0.2)) == 0
    assert best((1, 0.1), (1, 0.2), (1, 0.2)) == 1


def test_steps_are_timed_from_the_third_on(loop):
    loop.register_hooks([hooks.IterationTimer()])
    loop.train(0, 6)
    assert [step for _, step in loop.storage.history("time").values()] == [2, 3, 4, 5]


def test_precise_statistics_replace_moving_averages(loop):
    model = nn.Sequential(nn.BatchNorm1d(1))
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])]
    loop.register_hooks([hooks.PreciseBN(0, model, batches, 2)])
    loop.train(0, 1)
    assert model[0].running_mean.item() == pytest.approx(3.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")
def test_mixed_precision_needs_a_gpu():
    model = Slope()
    loop = AMPTrainer(model, [1.0], torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(AssertionError, match="CUDA is required"):
        loop.train(0, 1)


@pytest.mark.parametrize(
    ("workers", "lr", "rest"),
    [(16, 0.2, (32, 2500, (2000, 2250), 38)), (3, 0.0375, (6, 13333, (10667, 12000), 205))],
)
def test_configs_scale_with_the_number_of_processes(cfg, workers, lr, rest):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 0.1, 5000, (4000, 4500)
    cfg.TEST.EVAL_PERIOD = 77
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, workers)
    solver = scaled.SOLVER
    assert scaled.is_frozen() and workers == solver.REFERENCE_WORLD_SIZE
    assert pytest.approx(lr) == solver.BASE_LR
    period = scaled.TEST.EVAL_PERIOD
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.STEPS, period) == rest
    assert DefaultTrainer.auto_scale_workers(cfg, 8) is cfg


def test_the_command_line_has_the_usual_arguments():
    given = ["--config-file", "c.yaml", "--num-gpus", "2", "--resume", "--eval-only", "A.B", "3"]
    args = vars(default_argument_parser().parse_args(given))
    url = args.pop("dist_url")
    assert url.startswith("tcp://127.0.0.1:") and int(url.rsplit(":")[-1]) >= 49152
    machine = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0}
    modes = {"resume": True, "eval_only": True}
    assert args == {"config_file": "c.yaml", "opts": ["A.B", "3"], **machine, **modes}
    assert default_argument_parser(epilog="last words").epilog == "last words"


def test_setup_writes_config_and_log_and_seeds_random_numbers(cfg, tmp_path):
    cfg.OUTPUT_DIR, cfg.SEED = str(tmp_path / "new" / "folder"), 5
    args = default_argument_parser().parse_args([])
    default_setup(cfg, args)
    first = torch.rand(3), np.random.rand(3)
    default_setup(cfg, args)
    second = torch.rand(3), np.random.rand(3)
    assert torch.equal(first[0], second[0]) and (first[1] == second[1]).all()
    written = get_cfg()
    written.merge_from_file(f"{cfg.OUTPUT_DIR}/config.yaml")
    assert (written.SEED, written.OUTPUT_DIR) == (5, cfg.OUTPUT_DIR)
    log = (tmp_path / "new" / "folder" / "log.txt").read_text()
    assert "Command line arguments" in log and detectron2.__version__ in log


def test_one_process_does_not_wrap_the_model():
    model = Slope()
    assert create_ddp_model(model) is model
