"""Norms of feature maps (N, C, H, W): frozen, synchronised over processes, and `get_norm`."""

from collections.abc import Callable

import torch
from detectron2.utils import comm
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and a fixed affine map, all of them buffers.

    Weights from Caffe2 hold only "weight" and "bias"; the statistics then stay those of the
    identity.
    """

    _version = 3

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        # With eps added it is 1: a fresh module is the identity.
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift the channels of (N, C, H, W)."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        version = local_metadata.get("version")
        if version is None or version < 2:
            mean = state_dict.get(prefix + "running_mean", torch.zeros_like(self.running_mean))
            variance = state_dict.get(prefix + "running_var", torch.ones_like(self.running_var))
            state_dict[prefix + "running_mean"] = mean
            state_dict[prefix + "running_var"] = variance
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def __repr__(self) -> str:
        return f"FrozenBatchNorm2d(num_features={self.num_features}, eps={self.eps})"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace the batch norms inside a module by frozen ones with the same values.

        Returns:
            The module, changed in place; a new one if it is itself a batch norm.
        """
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            frozen = cls(module.num_features, module.eps)
            frozen.to(module.running_mean.device)
            _copy_values(module, frozen)
            # Kept as Detectron2 keeps it, so that checkpoints have the same keys.
            frozen.register_buffer("num_batches_tracked", module.num_batches_tracked)
            return frozen
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module

    @classmethod
    def convert_frozenbatchnorm2d_to_batchnorm2d(cls, module: nn.Module) -> nn.Module:
        """Replace the frozen batch norms inside a module by `torch.nn.BatchNorm2d`."""
        if isinstance(module, cls):
            norm = nn.BatchNorm2d(module.num_features, module.eps).to(module.running_mean.device)
            _copy_values(module, norm)
            return norm
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozenbatchnorm2d_to_batchnorm2d(child))
        return module


@torch.no_grad()
def _copy_values(source, target):
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(source, name)
        if value is not None:
            getattr(target, name).copy_(value)


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes; also for the CPU and empty inputs.

    `stats_mode`: "" gives every process the same weight, which is exact when their batches are of
    equal size; "N" weighs them by their batch sizes.
    """

    def __init__(self, *args, stats_mode: str = "", **kwargs):
        super().__init__(*args, **kwargs)
        if stats_mode not in ("", "N"):
            raise AssertionError(f"stats_mode must be '' or 'N', got {stats_mode!r}")
        self._stats_mode = stats_mode

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W)."""
        if comm.get_world_size() == 1 or not self.training:
            return super().forward(input)
        count, mean, square = self._global_moments(input.float())
        variance = square - mean * mean
        if count > 0:
            self._update(mean.detach(), variance.detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        output = input.float() * scale[None, :, None, None] + shift[None, :, None, None]
        return output.to(input.dtype)

    def _global_moments(self, x):
        """Number of samples, and the (C,) means of x and its square, over all processes."""
        weight = float(x.shape[0]) if self._stats_mode == "N" else float(x.shape[0] > 0)
        moments = torch.stack([x, x * x]).mean(dim=(1, 3, 4)) if x.numel() else x.sum() * 0
        moments = torch.zeros(2, x.shape[1], device=x.device) + moments * weight
        total = all_reduce(torch.cat([moments.flatten(), moments.new_tensor([weight])]))
        mean, square = (total[:-1] / total[-1].clamp(min=1)).view(2, -1)
        return total[-1].item(), mean, square

    @torch.no_grad()
    def _update(self, mean, variance):
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (variance - self.running_var)
        self.num_batches_tracked += 1


class LayerNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W)."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps
        self.normalized_shape = (normalized_shape,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each place's channels."""
        x = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.movedim(-1, 1)


_NORMS = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": lambda channels: nn.GroupNorm(32, channels),
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": lambda channels: NaiveSyncBatchNorm(channels, stats_mode="N"),
    "LN": LayerNorm,
}


def get_norm(norm: str | Callable | None, out_channels: int) -> nn.Module | None:
    """Make a norm.

    Args:
        norm: "BN", "SyncBN", "FrozenBN", "GN" (32 groups), "nnSyncBN", "naiveSyncBN",
            "naiveSyncBN_N" or "LN"; or a callable that takes the channels; "" or None for none.
        out_channels: channels.

    Returns:
        The norm, or None. KeyError if the name is unknown.
    """
    if norm is None or norm == "":
        return None
    return (_NORMS[norm] if isinstance(norm, str) else norm)(out_channels)
