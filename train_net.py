#!/usr/bin/env python3
"""Train a model, or evaluate it with --eval-only MODEL.WEIGHTS path/to/model.pth."""

import sys

from ovavss_d2.errors import one_line_errors
from ovavss_d2.launching import launch

from ovavss_d2.training import Trainer, argument_parser, evaluate, set_up


def main(args):
    cfg = set_up(args)
    if args.eval_only:
        return evaluate(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    with one_line_errors():
        arguments = argument_parser(__doc__).parse_args()
        launch(
            main,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=(arguments,),
        )
        sys.exit(0)
