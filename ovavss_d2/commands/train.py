"""Train a model, or evaluate it with --eval-only MODEL.WEIGHTS path/to/model.pth."""

import argparse
from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode

from ovavss_d2.engine.launch import launch
from ovavss_d2.engine.trainer import Trainer, argument_parser, evaluate, read_config, set_up
from ovavss_d2.errors import one_line_errors


@one_line_errors()  # here too, because it may run in another process
def main(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any] | None:
    """Train or evaluate in one process of the job."""
    set_up(cfg, args)
    if args.eval_only:
        return evaluate(cfg)
    if cfg.MODEL.AUDIO.ENCODER == "NoAudio":
        raise ValueError("this config needs no training; add --eval-only to evaluate it")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and start the processes."""
    args = argument_parser(__doc__).parse_args(arguments)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(read_config(args), args),
    )
