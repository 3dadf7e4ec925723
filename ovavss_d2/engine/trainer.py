"""Detectron2's trainer and command line with this project's data, optimizer and evaluator."""

import argparse
import logging
import os
import re
import warnings
import weakref
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import (
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    default_argument_parser,
    default_setup,
)
from detectron2.engine.hooks import BestCheckpointer
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ovavss_d2.config import first_data_set, load_config
from ovavss_d2.data.catalog import check_dataset
from ovavss_d2.data.clip_sampler import sampler_of
from ovavss_d2.data.mapper import build_test_loader, build_train_loader
from ovavss_d2.engine.accumulation import AccumulatingTrainer
from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.engine.optimizer import build_optimizer
from ovavss_d2.engine.resume import SeededSteps
from ovavss_d2.errors import USER_ERRORS, debugging, one_line
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.evaluation.saved_predictions import score_saved
from ovavss_d2.exported import find_config
from ovavss_d2.modeling import build_model
from ovavss_d2.modeling.audio_encoder import attach_cache
from ovavss_d2.modeling.embedding_cache import EmbeddingCache
from ovavss_d2.standalone import describe
from ovavss_d2.weights.checkpoint import (
    OVAVSSCheckpointer,
    check_weight_files,
    load_inference_config,
    load_weights,
)
from ovavss_d2.weights.newest import newest_checkpoint

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """`DefaultTrainer` for clips with audio."""

    _trainer: SimpleTrainer
    checkpointer: DetectionCheckpointer

    def __init__(self, cfg: CfgNode) -> None:
        """On a CPU the model itself applies mixed precision: Detectron2's `AMPTrainer` requires a
        GPU, and gradients in bfloat16 need no scaling."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*GradScaler is enabled, but CUDA is not available")
            super().__init__(cfg)
        if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
            amp = self._trainer
            self._trainer = SimpleTrainer(amp.model, amp.data_loader, amp.optimizer)
        if cfg.SOLVER.ACCUMULATION_STEPS > 1:
            self._trainer = AccumulatingTrainer(self._trainer, cfg.SOLVER.ACCUMULATION_STEPS)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        model = build_model(cfg, super().build_model)
        attach_cache(model.audio_encoder, cfg)
        if model.audio_classifier is not None and cfg.MODEL.EMBEDDING_CACHE:
            model.audio_classifier.audio_cache = EmbeddingCache(cfg.MODEL.EMBEDDING_CACHE)
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> torch.utils.data.DataLoader:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> torch.utils.data.DataLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> AVSSEvaluator:
        """Reports of the first test set go to `inference/`, those of others to subfolders."""
        if output_folder is None:
            output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
            if dataset_name != cfg.DATASETS.TEST[0]:
                output_folder = os.path.join(output_folder, dataset_name)
        return AVSSEvaluator(
            dataset_name, output_dir=output_folder, save_predictions=cfg.TEST.SAVE_PREDICTIONS
        )

    def resume_or_load(self, resume: bool = True) -> None:
        """As in Detectron2; a run that was killed while it wrote `model_final.pth` writes it."""
        super().resume_or_load(resume)
        final = os.path.join(self.cfg.OUTPUT_DIR, "model_final.pth")
        if resume and self.start_iter >= self.max_iter and not os.path.isfile(final):
            self.checkpointer.save("model_final", iteration=self.start_iter - 1)

    def build_hooks(self) -> list[HookBase]:
        # Replaced here, before hooks are built that keep a reference to the checkpointer.
        self.checkpointer = OVAVSSCheckpointer(
            self.checkpointer.model, self.cfg.OUTPUT_DIR, cfg=self.cfg, trainer=weakref.proxy(self)
        )
        hooks = [SeededSteps(sampler_of(self.data_loader)), *super().build_hooks()]
        if self.cfg.TEST.BEST_METRIC and comm.is_main_process():
            best = BestCheckpointer(
                self.cfg.TEST.EVAL_PERIOD, self.checkpointer, self.cfg.TEST.BEST_METRIC
            )
            hooks.insert(len(hooks) - 1, best)  # after the evaluation, before the writers
        return hooks

    def run_step(self) -> None:
        """
        Raises:
            ValueError: a loss is NaN or infinite.
        """
        try:
            super().run_step()
        except FloatingPointError as error:  # its message lists all losses
            wrong = re.findall(r"'(\w+)': [^,}]*(?:nan|inf)", str(error))
            names = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if wrong[3:] else "")
            raise ValueError(
                f"iteration {self.iter}: {names or 'the total loss'} became NaN or infinite; try a "
                "lower SOLVER.BASE_LR or SOLVER.CLIP_GRADIENTS.CLIP_VALUE"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        clips = (self.iter + 1) * self.cfg.SOLVER.IMS_PER_BATCH
        state = {"seed": sampler_of(self.data_loader).seed, "clips": clips}
        return {**super().state_dict(), "clips": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        try:
            super().load_state_dict(state_dict)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                "cannot resume: the state of optimizer and schedule in the checkpoint does not fit "
                f"the config ({type(error).__name__}: {one_line(error)}); check the SOLVER keys"
            ) from error
        if "clips" in state_dict:  # checkpoints of Detectron2 itself have none
            sampler, state = sampler_of(self.data_loader), state_dict["clips"]
            sampler.seed, sampler.first = state["seed"], state["clips"]


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Detectron2's arguments: --config-file, --resume, --eval-only, --num-gpus, KEY VALUE."""
    parser = default_argument_parser(epilog=description)
    parser.description = description
    return parser


def read_config(args: argparse.Namespace) -> CfgNode:
    """Read the config and check that every file that it needs exists, before any work starts.

    `args.config_file` becomes the path of the file, which Detectron2 copies into its log.

    Raises:
        FileNotFoundError: the config, a weight file or a data set is missing.
        ValueError: the config is wrong.
    """
    read = load_inference_config if args.eval_only else load_config
    cfg = read(args.config_file, args.opts)
    if args.eval_only and args.resume:
        newest = newest_checkpoint(cfg.OUTPUT_DIR)
        cfg = read(args.config_file, [*args.opts, "MODEL.WEIGHTS", newest])
    cfg.freeze()
    if cfg.TEST.PREDICTIONS and not args.eval_only:
        raise ValueError("TEST.PREDICTIONS scores saved label maps: add --eval-only")
    if args.eval_only and not (cfg.MODEL.WEIGHTS or cfg.TEST.PREDICTIONS):
        raise ValueError(
            "--eval-only needs weights: add MODEL.WEIGHTS path/to/model_final.pth, or --resume for "
            "the last checkpoint in OUTPUT_DIR"
        )
    if cfg.TEST.BEST_METRIC and not (cfg.TEST.EVAL_PERIOD and cfg.DATASETS.TEST):
        raise ValueError("TEST.BEST_METRIC needs DATASETS.TEST and TEST.EVAL_PERIOD above 0")
    if not args.eval_only:
        _check_batch(cfg, args.num_gpus * args.num_machines)
    first_data_set(cfg, "TEST" if args.eval_only else "TRAIN")
    if not cfg.TEST.PREDICTIONS:
        check_weight_files(cfg)
    for name in (*(() if args.eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST):
        check_dataset(name)
    args.config_file = find_config(args.config_file)
    return cfg


def _check_batch(cfg: CfgNode, processes: int) -> None:
    """Raise a ValueError if the processes cannot have the same number of clips."""
    # If the config is for another number of processes, Detectron2 scales it.
    processes = cfg.SOLVER.REFERENCE_WORLD_SIZE or int(os.environ.get("WORLD_SIZE", processes))
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, expected a multiple of the "
            f"{processes} processes"
        )


def _keep_record(record: logging.LogRecord) -> bool:
    """Drop the traceback of a user's mistake, which `one_line_errors` reports."""
    error = record.exc_info[1] if record.exc_info else None
    return debugging() or not isinstance(error, (*USER_ERRORS, FloatingPointError))


def set_up(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Set up the logs of this process and, on a CPU, its memory allocator."""
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    logging.raiseExceptions = debugging()  # a full disk is reported once, not by each record
    logging.getLogger("detectron2.engine.train_loop").addFilter(_keep_record)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="ovavss_d2")
    logger.info("Runtime: %s", describe())


def evaluate(cfg: CfgNode) -> dict[str, Any]:
    """Load `MODEL.WEIGHTS` and evaluate on `DATASETS.TEST`, or score `TEST.PREDICTIONS`."""
    if cfg.TEST.PREDICTIONS:
        folder = os.path.join(cfg.OUTPUT_DIR, "scored")
        return {
            name: score_saved(name, cfg.TEST.PREDICTIONS, os.path.join(folder, name))
            for name in cfg.DATASETS.TEST
        }
    model = Trainer.build_model(cfg)
    load_weights(model, cfg)
    return Trainer.test(cfg, model)
