#!/usr/bin/env python3
"""Train a model, or evaluate it with --eval-only MODEL.WEIGHTS path/to/model.pth."""

from ovavss_d2.engine.launch import launch
from ovavss_d2.engine.trainer import Trainer, argument_parser, evaluate, read_config, set_up
from ovavss_d2.errors import one_line_errors


@one_line_errors()  # here as well: with several processes it runs in others
def main(cfg, args):
    set_up(cfg, args)
    if args.eval_only:
        return evaluate(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


@one_line_errors()
def run(arguments=None):
    """The command line, in as many processes as it asks for."""
    args = argument_parser(__doc__).parse_args(arguments)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(read_config(args), args),
    )


if __name__ == "__main__":
    run()
