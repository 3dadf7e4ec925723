"""Build the optimizer and the learning-rate schedule of a config."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim import Optimizer

from .lr_scheduler import LRMultiplier, LRScheduler, WarmupParamScheduler

logger = logging.getLogger(__name__)

NORM_MODULES = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build SGD with the learning rates, weight decays and gradient clipping of the config."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    return maybe_add_gradient_clipping(cfg, torch.optim.SGD)(
        params,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
        foreach=True,
    )


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Build the parameter groups of an optimizer; equal settings share a group.

    Args:
        model: its parameters that need a gradient are used, each once.
        base_lr: learning rate; if this or another value is None, the optimizer's default applies.
        weight_decay: weight decay.
        weight_decay_norm: weight decay of the parameters of normalization layers.
        bias_lr_factor: multiplies the learning rate of parameters named "bias"; needs `base_lr`.
        weight_decay_bias: weight decay of parameters named "bias", including those of
            normalization layers.
        lr_factor_func: maps a parameter's full name to a factor of its learning rate; needs
            `base_lr`.
        overrides: settings by the last part of a parameter's name, such as `{"embedding":
            {"weight_decay": 0}}`.

    Raises:
        ValueError: a factor without `base_lr`, or two settings for "bias".
    """
    by_name = _overrides_with_bias(overrides, base_lr, bias_lr_factor, weight_decay_bias)
    if lr_factor_func is not None and base_lr is None:
        raise ValueError("lr_factor_func requires base_lr")
    common = _given(lr=base_lr, weight_decay=weight_decay)
    norm = _given(weight_decay=weight_decay_norm)

    groups, seen = [], set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            settings = dict(common)
            if isinstance(module, NORM_MODULES):
                settings.update(norm)
            if lr_factor_func is not None:
                settings["lr"] *= lr_factor_func(f"{module_name}.{name}".lstrip("."))
            settings.update(by_name.get(name, {}))
            groups.append({"params": [parameter], **settings})
    return reduce_param_groups(groups)


def _given(**settings: float | None) -> dict[str, float]:
    return {name: value for name, value in settings.items() if value is not None}


def _overrides_with_bias(
    overrides: dict[str, dict[str, float]] | None,
    base_lr: float | None,
    bias_lr_factor: float | None,
    weight_decay_bias: float | None,
) -> dict[str, dict[str, float]]:
    """Add the settings of biases to the overrides."""
    bias: dict[str, float] = {}
    if bias_lr_factor is not None and bias_lr_factor != 1.0:
        if base_lr is None:
            raise ValueError("bias_lr_factor requires base_lr")
        bias["lr"] = base_lr * bias_lr_factor
    if weight_decay_bias is not None:
        bias["weight_decay"] = weight_decay_bias
    overrides = dict(overrides or {})
    if bias and "bias" in overrides:
        raise ValueError("Conflicting overrides for 'bias': use either arguments or overrides")
    return {**overrides, "bias": bias} if bias else overrides


def reduce_param_groups(params: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge groups with equal settings, in the order of their first appearance."""
    merged: dict[tuple, dict[str, Any]] = {}
    for group in params:
        settings = {key: value for key, value in group.items() if key != "params"}
        target = merged.setdefault(tuple(settings.items()), {**settings, "params": []})
        target["params"].extend(group["params"])
    return list(merged.values())


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: Any) -> Any:
    """Add gradient clipping to the `step` of an optimizer, if the config enables it.

    Args:
        cfg: in `SOLVER.CLIP_GRADIENTS`, the type "value" clips each element and "norm" the norm of
            each parameter's gradient.
        optimizer: an optimizer class, or an optimizer, which is changed in place.

    Returns:
        A subclass of the class or the changed optimizer; `optimizer` itself if clipping is off.

    Raises:
        ValueError: the type of clipping is unknown.
    """
    settings = cfg.SOLVER.CLIP_GRADIENTS
    if not settings.ENABLED:
        return optimizer
    is_class = isinstance(optimizer, type)
    base = optimizer if is_class else type(optimizer)
    clipping = _clipping_optimizer(base, _gradient_clipper(settings))
    if is_class:
        return clipping
    optimizer.__class__ = clipping
    return optimizer


def _gradient_clipper(settings: CfgNode) -> Callable[[torch.Tensor], Any]:
    limit, norm_type = settings.CLIP_VALUE, settings.NORM_TYPE
    if settings.CLIP_TYPE == "value":
        return lambda parameter: nn.utils.clip_grad_value_(parameter, limit)
    if settings.CLIP_TYPE == "norm":
        return lambda parameter: nn.utils.clip_grad_norm_(parameter, limit, norm_type)
    raise ValueError(
        f"{settings.CLIP_TYPE!r} is not a valid SOLVER.CLIP_GRADIENTS.CLIP_TYPE:"
        " expected 'value' or 'norm'"
    )


def _clipping_optimizer(
    base: type[Optimizer], clip: Callable[[torch.Tensor], Any]
) -> type[Optimizer]:
    def step(self: Any, closure: Callable[[], float] | None = None) -> float | None:
        for group in self.param_groups:
            for parameter in group["params"]:
                clip(parameter)
        return base.step(self, closure)

    return type(f"{base.__name__}WithGradientClip", (base,), {"step": step})


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """Build the schedule `SOLVER.LR_SCHEDULER_NAME` with the warmup of the config.

    Raises:
        ValueError: the schedule or warmup is unknown, or the steps do not increase.
    """
    solver = cfg.SOLVER
    warmup_length = solver.WARMUP_ITERS / solver.MAX_ITER if solver.MAX_ITER else 0.0
    schedule = WarmupParamScheduler(
        _main_schedule(solver),
        solver.WARMUP_FACTOR,
        min(warmup_length, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)


def _main_schedule(solver: CfgNode) -> ParamScheduler:
    name = solver.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step <= solver.MAX_ITER]
        if len(steps) != len(solver.STEPS):
            logger.warning("SOLVER.STEPS beyond SOLVER.MAX_ITER are ignored: %s", solver.STEPS)
        return MultiStepParamScheduler(
            values=[solver.GAMMA**k for k in range(len(steps) + 1)],
            milestones=steps,
            num_updates=solver.MAX_ITER,
        )
    if name == "WarmupCosineLR":
        end = solver.BASE_LR_END / solver.BASE_LR
        if end < 0:
            raise ValueError(f"SOLVER.BASE_LR_END must not be negative, got {solver.BASE_LR_END}")
        return CosineParamScheduler(1, end)
    if name == "WarmupStepWithFixedGammaLR":
        return StepWithFixedGammaParamScheduler(
            base_value=1.0,
            gamma=solver.GAMMA,
            num_decays=solver.NUM_DECAYS,
            num_updates=solver.MAX_ITER,
        )
    raise ValueError(
        f"Unknown LR scheduler: {name} (expected WarmupMultiStepLR, WarmupCosineLR"
        " or WarmupStepWithFixedGammaLR)"
    )
