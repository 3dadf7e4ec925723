"""The optimizer of the reference recipe: parameter groups and full-model gradient clipping."""

from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)
# embeddings that are plain parameters (Swin's tables)
EMBEDDING_NAMES = ("relative_position_bias_table", "absolute_pos_embed")
OPTIMIZERS = {"ADAMW": torch.optim.AdamW, "SGD": torch.optim.SGD}


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    """Group the trainable parameters by learning rate and weight decay.

    The backbone has `SOLVER.BACKBONE_MULTIPLIER` times the learning rate; norms and embeddings have
    separate weight decays (0 in the reference recipe).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        in_backbone = "backbone" in module_name.split(".")
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            rate = cfg.SOLVER.BASE_LR * (cfg.SOLVER.BACKBONE_MULTIPLIER if in_backbone else 1.0)
            decay = cfg.SOLVER.WEIGHT_DECAY
            if isinstance(module, NORM_TYPES):
                decay = cfg.SOLVER.WEIGHT_DECAY_NORM
            elif isinstance(module, nn.Embedding) or name in EMBEDDING_NAMES:
                decay = 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": lr, "weight_decay": wd} for (lr, wd), p in groups.items()]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that `SOLVER` describes.

    Raises:
        ValueError: `SOLVER.OPTIMIZER` is unknown.
    """
    if cfg.SOLVER.OPTIMIZER not in OPTIMIZERS:
        raise ValueError(
            f"SOLVER.OPTIMIZER is '{cfg.SOLVER.OPTIMIZER}'; expected one of {', '.join(OPTIMIZERS)}"
        )
    optimizer_class = OPTIMIZERS[cfg.SOLVER.OPTIMIZER]
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clips_full_model = clip.ENABLED and clip.CLIP_TYPE == "full_model"
    kwargs: dict[str, Any]
    if cfg.SOLVER.OPTIMIZER == "SGD":
        kwargs = {"momentum": cfg.SOLVER.MOMENTUM}
    else:
        # With AMP a fused step undoes the gradient scaling, after Detectron2's clipping.
        clips_scaled = clip.ENABLED and not clips_full_model and cfg.SOLVER.AMP.ENABLED
        kwargs = {"fused": None if clips_scaled else True}
    if not clips_full_model:
        optimizer_class = maybe_add_gradient_clipping(cfg, optimizer_class)
    optimizer = optimizer_class(parameter_groups(cfg, model), cfg.SOLVER.BASE_LR, **kwargs)
    if clips_full_model:
        optimizer._step_supports_amp_scaling = False  # AMP's scaler passes unscaled gradients
        optimizer.register_step_pre_hook(partial(_clip_full_model, clip.CLIP_VALUE))
    optimizer.register_load_state_dict_pre_hook(_keep_fused)
    return optimizer


def _clip_full_model(max_norm: float, optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Scale the gradient of the whole model to a norm of at most `max_norm`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, max_norm)


def _keep_fused(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The optimizer state of a checkpoint, with this optimizer's `fused` flag.

    The flag depends on AMP and on the version, and AMP's scaler relies on it.
    """
    own, saved = optimizer.param_groups[0], state["param_groups"][0]
    if ("betas" in own) != ("betas" in saved):
        raise ValueError("the checkpoint is of a training with another SOLVER.OPTIMIZER")
    fused = own["fused"]
    return {**state, "param_groups": [{**g, "fused": fused} for g in state["param_groups"]]}
