"""Scale a config to another number of processes."""

import logging

from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


def scale_to_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """Scale a config to `num_workers` processes with the same batch size per process.

    The config was written for `SOLVER.REFERENCE_WORLD_SIZE` processes; 0 turns scaling off. Batch
    size and learning rate are multiplied by the ratio, and everything that counts steps is divided
    by it.

    Args:
        cfg: not changed.
        num_workers: number of processes of this job.

    Returns:
        `cfg` itself if the numbers are equal, else a scaled copy, frozen like the original.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, num_workers):
        return cfg
    assert cfg.SOLVER.IMS_PER_BATCH % reference == 0, (
        f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is not a multiple of"
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
        "Scaled the config to %d processes: batch size %d, learning rate %g, %d steps, warmup %d",
        num_workers,
        solver.IMS_PER_BATCH,
        solver.BASE_LR,
        solver.MAX_ITER,
        solver.WARMUP_ITERS,
    )
    if frozen:
        cfg.freeze()
    return cfg
