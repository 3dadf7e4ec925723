"""Training with `DefaultTrainer`: metrics, resuming, several processes."""

import json
import shutil
from argparse import Namespace

import pytest
import torch
from torch import nn

from tests.helpers.paths import FIXTURES

from ovavss_d2.engine import launch as launching  # isort: skip (makes `import detectron2` work)
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm

RECORDED = FIXTURES / "detectron2" / "training.json"
NAME = "points_for_training_test"
SIZE = 8


@META_ARCH_REGISTRY.register()
class LineForTrainingTest(nn.Module):
    """Fits a line to points; its initial weights are fixed."""

    def __init__(self, cfg):
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.line = nn.Linear(3, 1)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[0.5, -0.25, 0.125]]))
            self.line.bias.zero_()

    def forward(self, batch):
        points = torch.stack([record["x"] for record in batch])
        values = self.line(self.norm(points))[:, 0]
        if not self.training:
            return [{"value": value} for value in values]
        targets = torch.tensor([record["y"] for record in batch])
        error = values - targets
        return {"loss_square": (error**2).mean(), "loss_absolute": error.abs().mean()}


def points():
    generator = torch.Generator().manual_seed(3)
    return [
        {"x": torch.rand(3, generator=generator), "y": float(index % 3), "file_name": str(index)}
        for index in range(SIZE)
    ]


if NAME not in DatasetCatalog:
    DatasetCatalog.register(NAME, points)


class SumEvaluator(DatasetEvaluator):
    def reset(self):
        self.values = []

    def process(self, inputs, outputs):
        self.values += [output["value"].item() for output in outputs]

    def evaluate(self):
        values = sum(comm.all_gather(self.values), [])
        return {"line": {"mean": sum(values) / len(values), "count": len(values)}}


class Trainer(DefaultTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        # A batch is the whole data set, so that steps do not depend on the order of the points.
        return build_detection_train_loader(
            points(),
            mapper=dict,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,
            num_workers=0,
        )

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return build_detection_test_loader(
            DatasetCatalog.get(dataset_name), mapper=dict, num_workers=0
        )

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return SumEvaluator()


def config(folder):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "LineForTrainingTest", "cpu"
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.OUTPUT_DIR, cfg.SEED = str(folder), 7
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER = SIZE, 0.1, 6
    solver.STEPS, solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD = (4,), 2, 3
    solver.CLIP_GRADIENTS.ENABLED = True
    cfg.TEST.EVAL_PERIOD = 3
    return cfg


def train(folder, *, resume=False, stop_after=None):
    cfg = config(folder)
    default_setup(cfg, Namespace(config_file="", eval_only=False))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    if stop_after is not None:
        trainer.max_iter = stop_after  # the schedule still ends at MAX_ITER
    trainer.train()
    return trainer


def parameters(trainer):
    model = getattr(trainer.model, "module", trainer.model)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder)


def test_weights_and_metrics_equal_the_recorded_ones(whole):
    folder, trainer = whole
    recorded = json.loads(RECORDED.read_text())
    assert parameters(trainer).tolist() == pytest.approx(recorded["parameters"], abs=1e-6)
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    for line in lines:
        for name in ("time", "data_time", "rank_data_time", "eta_seconds"):
            line.pop(name, None)
    assert [line.keys() for line in lines] == [line.keys() for line in recorded["metrics"]]
    for line, expected in zip(lines, recorded["metrics"], strict=True):
        assert line == pytest.approx(expected, abs=1e-6)


def test_a_training_writes_config_log_curves_and_checkpoints(whole):
    folder, _ = whole
    assert list(folder.glob("events.out.tfevents.*"))
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    checkpoints = {"model_0000002.pth", "model_0000005.pth", "model_final.pth"}
    assert names == checkpoints | {"config.yaml", "log.txt", "metrics.json", "last_checkpoint"}


@pytest.mark.parametrize(("resume", "start"), [(True, 3), (False, 0)])
def test_an_interrupted_training_ends_with_the_same_weights(whole, tmp_path, resume, start):
    first = train(tmp_path, stop_after=3)
    assert not torch.equal(parameters(first), parameters(whole[1]))
    second = train(tmp_path, resume=resume)
    assert second.start_iter == start
    torch.testing.assert_close(parameters(second), parameters(whole[1]))


@pytest.mark.parametrize("writer", ["checkpoint", "checkpoint_standalone"])
def test_checkpoints_of_both_runtimes_can_be_resumed(whole, tmp_path, writer):
    """Checkpoints of Detectron2 and of the standalone runtime, both after step 2."""
    source = RECORDED.parent / f"{writer}.pth"
    written = torch.load(source, weights_only=True)
    assert ("standalone" in written["written_by"]) == ("standalone" in writer)
    shutil.copy(source, tmp_path / "model_0000002.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    trainer = train(tmp_path, resume=True)
    assert trainer.start_iter == 3
    torch.testing.assert_close(parameters(trainer), parameters(whole[1]))
    last, expected = (
        json.loads((folder / "metrics.json").read_text().splitlines()[-1])
        for folder in (tmp_path, whole[0])
    )
    assert last["iteration"] == expected["iteration"] == 6
    assert last["line/mean"] == pytest.approx(expected["line/mean"])


def test_both_runtimes_write_the_same_checkpoint_structure(whole):
    """All keys of a checkpoint, and the types and shapes of their values."""
    folder, _ = whole
    ours = torch.load(folder / "model_0000002.pth", weights_only=True)
    assert ours["iteration"] == ours["trainer"]["iteration"] == 2
    for writer in ("checkpoint", "checkpoint_standalone"):
        written = torch.load(RECORDED.parent / f"{writer}.pth", weights_only=True)
        written.pop("written_by")
        assert outline(ours) == outline(written)


def outline(content):
    if isinstance(content, dict):
        return {key: outline(value) for key, value in content.items()}
    if isinstance(content, list):
        return [outline(value) for value in content]
    return tuple(content.shape) if isinstance(content, torch.Tensor) else type(content).__name__


def test_a_finished_training_does_not_continue(whole):
    folder, trainer = whole
    again = train(folder, resume=True)
    assert again.start_iter == 6
    assert torch.equal(parameters(again), parameters(trainer))


def test_expected_results_are_verified(tmp_path):
    cfg = config(tmp_path)
    cfg.TEST.EXPECTED_RESULTS = [["line", "count", SIZE, 0.1]]
    assert Trainer(cfg).train()["line"]["count"] == SIZE
    cfg.TEST.EXPECTED_RESULTS = [["line", "count", SIZE + 1, 0.1]]
    with pytest.raises(SystemExit):
        Trainer(cfg).train()


def test_evaluators_can_be_missing_or_given(whole):
    cfg, model = whole[1].cfg.clone(), whole[1].model
    assert DefaultTrainer.test.__func__(Trainer, cfg, model, SumEvaluator())["line"]["count"] == 8

    class WithoutEvaluator(Trainer):
        build_evaluator = DefaultTrainer.build_evaluator

    assert WithoutEvaluator.test(cfg, model) == {}
    cfg.defrost()
    cfg.DATASETS.TEST = (NAME, NAME)
    with pytest.raises(AssertionError):
        Trainer.test(cfg, model, [SumEvaluator()])


def train_and_keep(folder):
    trainer = train(folder)
    torch.save(parameters(trainer), f"{folder}/parameters.{comm.get_rank()}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="concerns machines without GPU")
def test_two_processes_train_as_one(whole, tmp_path):
    launching.launch(train_and_keep, 2, args=(str(tmp_path),))
    for rank in range(2):
        trained = torch.load(tmp_path / f"parameters.{rank}")
        torch.testing.assert_close(trained, parameters(whole[1]))
    assert (tmp_path / "log.txt.rank1").exists()
    metrics = (tmp_path / "metrics.json").read_text().splitlines()
    assert json.loads(metrics[-1])["line/count"] == SIZE
