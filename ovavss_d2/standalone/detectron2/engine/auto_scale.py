"""Adapt a config that was made for some number of processes to another number."""

import logging

logger = logging.getLogger(__name__)


def scale_to_workers(cfg, num_workers: int):
    """The config for `num_workers` processes, so that each one's batch stays what it was.

    `SOLVER.REFERENCE_WORLD_SIZE` is the number that the config was made for; 0 turns this off.
    Batch size and learning rate grow with the number, everything that counts steps shrinks with it.

    Args:
        cfg: left as it is.
        num_workers: processes of this job.

    Returns:
        `cfg` itself if nothing is to be done, or a changed copy, frozen like the original.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, num_workers):
        return cfg
    assert cfg.SOLVER.IMS_PER_BATCH % reference == 0, (
        f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is no multiple of"
        f" SOLVER.REFERENCE_WORLD_SIZE {reference}"
    )
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    scale = num_workers / reference
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH = int(round(solver.IMS_PER_BATCH * scale))
    solver.BASE_LR = solver.BASE_LR * scale
    solver.MAX_ITER = int(round(solver.MAX_ITER / scale))
    solver.WARMUP_ITERS = int(round(solver.WARMUP_ITERS / scale))
    solver.STEPS = tuple(int(round(step / scale)) for step in solver.STEPS)
    solver.CHECKPOINT_PERIOD = int(round(solver.CHECKPOINT_PERIOD / scale))
    cfg.TEST.EVAL_PERIOD = int(round(cfg.TEST.EVAL_PERIOD / scale))
    solver.REFERENCE_WORLD_SIZE = num_workers
    logger.info(
        "Scaled the config to %d processes: batch size %d, learning rate %g, %d steps, warm-up %d",
        num_workers,
        solver.IMS_PER_BATCH,
        solver.BASE_LR,
        solver.MAX_ITER,
        solver.WARMUP_ITERS,
    )
    if frozen:
        cfg.freeze()
    return cfg
