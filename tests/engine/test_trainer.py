"""Gradient accumulation, the best checkpoint, training without a test set, and --eval-only."""

import os

import pytest
import torch

from ovavss_d2.engine.trainer import Trainer, argument_parser, read_config
from tests.engine.test_processes import FULL_SIZE_LOSSES
from tests.helpers.tiny_world import (
    CONFIG,
    TrainerWithoutTest,
    make_world,
    read_tiny_config,
    tiny_options,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("datasets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        yield root


def train(cfg, trainer_class=TrainerWithoutTest):
    """Train; return the change of the weights."""
    torch.manual_seed(5)
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=False)
    start = {name: x.clone() for name, x in trainer.model.state_dict().items()}
    trainer.train()
    return {name: x - start[name] for name, x in trainer.model.state_dict().items()}


def test_accumulated_gradients_are_those_of_the_whole_batch(world, tmp_path):
    keys = FULL_SIZE_LOSSES | {"SOLVER.IMS_PER_BATCH": 3}
    moved = []
    for parts in (1, 2, 3):
        options = {"SOLVER.ACCUMULATION_STEPS": parts, "OUTPUT_DIR": tmp_path / str(parts)}
        moved.append(train(read_tiny_config(world, **keys, **options)))
    whole, *others = moved
    largest = max(x.abs().max() for x in whole.values())
    assert largest > 0
    for other in others:
        for name, x in whole.items():
            error = (other[name] - x).abs().max()
            assert error <= 1e-5 * largest, f"{name}: {error} of {largest}"


def test_the_checkpoint_with_the_best_figure_is_kept(world, tmp_path, monkeypatch):
    figures = iter([1.0, 3.0, 2.0, 0.5])

    def test(cls, cfg, model, evaluators=None):
        return {"avsbench_ov": {"mIoU": next(figures)}}

    monkeypatch.setattr(Trainer, "test", classmethod(test))
    keys = {"TEST.EVAL_PERIOD": 1, "TEST.BEST_METRIC": "avsbench_ov/mIoU"}
    train(read_tiny_config(world, OUTPUT_DIR=tmp_path, **keys), Trainer)
    best = torch.load(tmp_path / "model_best.pth", weights_only=False)
    assert best["iteration"] == 1


def test_training_without_a_test_set_does_not_evaluate(world, tmp_path):
    cfg = read_tiny_config(world, OUTPUT_DIR=tmp_path, **{"DATASETS.TEST": "()"})
    train(cfg, Trainer)
    assert (tmp_path / "model_final.pth").is_file()
    assert not (tmp_path / "inference").exists()


def test_eval_only_with_resume_uses_the_newest_checkpoint(world, tmp_path):
    options = tiny_options(world, OUTPUT_DIR=tmp_path)
    line = ["--config-file", CONFIG, "--eval-only", "--resume", *options]
    args = argument_parser("").parse_args(line)
    with pytest.raises(ValueError, match="--eval-only needs weights.*--resume"):
        read_config(args)
    train(read_tiny_config(world, OUTPUT_DIR=tmp_path))
    assert os.path.join(tmp_path, "model_final.pth") == read_config(args).MODEL.WEIGHTS


def test_the_best_metric_needs_evaluations(world):
    with pytest.raises(ValueError, match="TEST.BEST_METRIC needs"):
        read_tiny_config(world, **{"TEST.BEST_METRIC": "avsbench_ov/mIoU"})


def test_a_killed_run_writes_the_final_checkpoint_when_it_is_resumed(world, tmp_path):
    cfg = read_tiny_config(world, OUTPUT_DIR=tmp_path)
    train(cfg)
    whole = (tmp_path / "model_final.pth").read_bytes()
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    trainer = TrainerWithoutTest(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    assert (tmp_path / "model_final.pth").read_bytes() == whole
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
