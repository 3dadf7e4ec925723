"""Time of deformable attention: plain PyTorch, sparse products (CPU) and the Triton kernel (GPU).

Shapes: N frames, L positions of all maps, J attention heads, C channels of a head, V feature
levels, P sampling points, h w size of a map.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ovavss_d2.modeling.ops.deformable_attention import deformable_attention, kernel_for
from ovavss_d2.modeling.ops.sparse_sampling import sample_sums
from tools.benchmark.timing import measure

HEADS, CHANNELS, POINTS = 8, 32, 4  # of the reference configuration
STRIDES = (32, 16, 8)
Shapes = Sequence[tuple[int, int]]


def sampling(*, frames: int, size: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Time each version, forward and backward.

    Args:
        frames: N.
        size: (H, W) of the frames; the maps have strides 32, 16 and 8.
        repeats: timed rounds on a CPU; on a GPU Triton decides.

    Returns:
        A row per version: `forward ms`, `backward ms`, and `speed` of the forward pass, relative to
        the plain version.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]
    inputs = random_inputs(frames, shapes, device)
    versions: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
        "plain": (deformable_attention, inputs)
    }
    if device.type == "cpu":
        versions["sparse"] = (sample_sums, inputs)
    if (kernel := kernel_for(device)) is not None:
        half = [inputs[0].bfloat16(), *inputs[1:]]
        versions["Triton"] = (kernel.deformable_attention, inputs)
        versions["Triton, bfloat16"] = (kernel.deformable_attention, half)
    forward = _seconds({n: _forward(f, shapes, x) for n, (f, x) in versions.items()}, repeats)
    backward = _seconds({n: _backward(f, shapes, x) for n, (f, x) in versions.items()}, repeats)
    return [
        {
            "version": name,
            "forward ms": 1e3 * forward[name],
            "backward ms": 1e3 * backward[name],
            "speed": forward["plain"] / forward[name],
        }
        for name in versions
    ]


def random_inputs(frames: int, shapes: Shapes, device: torch.device) -> list[Tensor]:
    """Values, locations near each position, and weights."""
    length = sum(h * w for h, w in shapes)
    centers = torch.cat([_centers(h, w) for h, w in shapes])
    offsets = torch.randn(frames, length, HEADS, len(shapes), POINTS, 2) * 0.05
    weights = torch.rand(frames, length, HEADS, len(shapes) * POINTS).softmax(-1)
    inputs = (
        torch.randn(frames, length, HEADS, CHANNELS),
        offsets + centers[:, None, None, None],
        weights.unflatten(-1, (len(shapes), POINTS)),
    )
    return [x.to(device) for x in inputs]


def _centers(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def _forward(
    function: Callable[..., Tensor], shapes: Shapes, inputs: list[Tensor]
) -> Callable[[], object]:
    def run() -> Tensor:
        with torch.no_grad():
            return function(inputs[0], shapes, *inputs[1:])

    return run


def _backward(
    function: Callable[..., Tensor], shapes: Shapes, inputs: list[Tensor]
) -> Callable[[], object]:
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(inputs[0], shapes, *inputs[1:])
    gradient = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)


def _seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds; on a GPU by Triton's benchmark, which empties the caches."""
    if torch.cuda.is_available() and importlib.util.find_spec("triton"):
        bench = importlib.import_module("triton.testing").do_bench
        return {n: bench(call, return_mode="median") / 1e3 for n, call in calls.items()}
    return measure(calls, repeats=repeats, seconds=30)
