"""The setup of a job from a config: logs, writers and `DefaultTrainer`."""

import logging
import os
import weakref
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from . import hooks
from .argument_parser import default_argument_parser
from .auto_scale import scale_to_workers
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

__all__ = [
    "DefaultTrainer",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]

WRITE_PERIOD = 20  # steps


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap the model in `DistributedDataParallel` if the job has several processes.

    Args:
        model: on the CPU, or on the GPU of this process.
        fp16_compression: communicate gradients in half precision.
        **kwargs: further arguments of `DistributedDataParallel`.
    """
    if comm.get_world_size() == 1:
        return model
    if "device_ids" not in kwargs:
        on_gpu = all(parameter.is_cuda for parameter in model.parameters())
        kwargs["device_ids"] = [comm.get_local_rank()] if on_gpu else None
    parallel = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        parallel.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return parallel


def default_setup(cfg: CfgNode, args: Namespace) -> None:
    """Set up the output folder, logs and random seeds; log the environment and the config.

    Args:
        cfg: the complete config; the main process writes it to `config.yaml` in `cfg.OUTPUT_DIR`.
        args: the command line; `config_file` and `eval_only` are used.
    """
    rank = comm.get_rank()
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        PathManager.mkdirs(cfg.OUTPUT_DIR)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    logger.info("Rank of current process: %d. World size: %d", rank, comm.get_world_size())
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    if getattr(args, "config_file", ""):
        with PathManager.open(args.config_file, "r") as file:
            logger.info("Contents of args.config_file=%s:\n%s", args.config_file, file.read())
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        logger.info("Running with full config:\n%s", cfg.dump())
        with PathManager.open(path, "w") as file:
            file.write(cfg.dump())
        logger.info("Full config saved to %s", path)
    # Each process has a different seed, which is fixed if SEED is set.
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION:
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Create writers to the log, to `metrics.json` and to TensorBoard in `output_dir`."""
    PathManager.mkdirs(output_dir)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


class DefaultTrainer(TrainerBase):
    """Trains and evaluates as a config describes.

    Projects override the `build_*` methods.

    Args:
        cfg: a config; its data sets are registered.

    Attributes:
        cfg: the config, scaled to the number of processes.
        scheduler: the learning-rate schedule.
        checkpointer: saves and loads the model and the training state.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        trainer_class = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = trainer_class(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        # A weak reference, because the trainer references its checkpointer.
        self.checkpointer = DetectionCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @property
    def model(self) -> nn.Module:
        return self._trainer.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._trainer.optimizer

    @property
    def data_loader(self) -> Iterable:
        return self._trainer.data_loader

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint in the output folder, or load `MODEL.WEIGHTS`.

        Args:
            resume: restore model, optimizer, schedule and step from the last checkpoint, if there
                is one.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            # The checkpoint contains the last step that was finished.
            self.start_iter = self.iter + 1

    def build_hooks(self) -> list[HookBase | None]:
        """Create the hooks: time, learning rate, batch norms, checkpoints, evaluation, writers."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0  # PreciseBN needs few batches
        is_main = comm.is_main_process()
        period = cfg.TEST.EVAL_PERIOD
        result: list[HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model):
            loader = self.build_train_loader(cfg)
            result.append(hooks.PreciseBN(period, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER))
        if is_main:
            # Before the evaluation, which may fail.
            result.append(
                hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
            )
        result.append(hooks.EvalHook(period, self._test_and_store))
        if is_main:
            # Last, to write what the others record.
            result.append(hooks.PeriodicWriter(self.build_writers(), period=WRITE_PERIOD))
        return result

    def _test_and_store(self) -> dict:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        """Create the event writers; see `default_writers`."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> OrderedDict | None:
        """Train up to `SOLVER.MAX_ITER`.

        Returns:
            The last evaluation results after they are compared with `TEST.EXPECTED_RESULTS`; None
            if that is empty.
        """
        super().train(self.start_iter, self.max_iter)
        if not self.cfg.TEST.EXPECTED_RESULTS or not comm.is_main_process():
            return None
        assert hasattr(self, "_last_eval_results"), "TEST.EXPECTED_RESULTS without an evaluation"
        verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """See `detectron2.modeling.build_model`."""
        model = build_model(cfg)
        logging.getLogger(__name__).info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See `detectron2.solver.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """See `detectron2.solver.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable:
        """See `detectron2.data.build_detection_train_loader`."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable:
        """See `detectron2.data.build_detection_test_loader`."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator | None:
        """Create the evaluator of a data set; projects override this."""
        raise NotImplementedError(
            f"no evaluator for '{dataset_name}': override build_evaluator() of {cls.__name__},"
            " or pass evaluators to test()"
        )

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: Sequence[DatasetEvaluator] | None = None
    ) -> OrderedDict:
        """Evaluate a model on `DATASETS.TEST`; all processes call this.

        Args:
            cfg: the config.
            model: the model with its weights.
            evaluators: one per data set, or a single one; None: use `build_evaluator`.

        Returns:
            In the main process: results by data set, or the results themselves if there is only
            one data set.
        """
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        names = cfg.DATASETS.TEST
        assert evaluators is None or len(evaluators) == len(names), (
            f"{len(evaluators)} evaluators for {len(names)} data sets"
        )
        results: OrderedDict = OrderedDict()
        for index, name in enumerate(names):
            evaluator = None if evaluators is None else evaluators[index]
            results[name] = cls._test_on(cfg, model, name, evaluator)
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def _test_on(
        cls, cfg: CfgNode, model: nn.Module, name: str, evaluator: DatasetEvaluator | None
    ) -> dict | None:
        logger = logging.getLogger(__name__)
        loader = cls.build_test_loader(cfg, name)
        if evaluator is None:
            try:
                evaluator = cls.build_evaluator(cfg, name)
            except NotImplementedError as error:
                logger.warning("'%s' is not evaluated: %s", name, error)
                return {}
        results = inference_on_dataset(model, loader, evaluator)
        if comm.is_main_process():
            assert isinstance(results, dict), f"an evaluator must return a dict, got {results}"
            logger.info("Evaluation results for %s in csv format:", name)
            print_csv_format(results)
        return results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """See `detectron2.engine.auto_scale.scale_to_workers`."""
        return scale_to_workers(cfg, num_workers)
