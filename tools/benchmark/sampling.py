"""Deformable attention alone: the kernel and the sparse version compared with the plain one."""

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ovavss_d2.modeling.ops.deformable_attention import deformable_attention, kernel_for
from ovavss_d2.modeling.ops.sparse_sampling import sample_sums
from tools.benchmark.timing import measure

HEADS, DEPTH, POINTS = 8, 32, 4  # of the reference configuration
STRIDES = (32, 16, 8)
COPIED = 2**28  # bytes, more than any cache holds


def sampling(*, frames: int, size: tuple[int, int], repeats: int) -> list[dict]:
    """Times of each version, forward and backward, beside moving every input and result once.

    Args:
        frames: N.
        size: (H, W) of the frames; there are levels of stride 32, 16 and 8.
        repeats: timed rounds on a CPU; on a GPU Triton decides.

    Returns:
        A row a version: `least MB` (inputs read and results written once, forward), `forward ms`,
        `backward ms`, `speed` (forward against the plain version), and `of a copy's rate`: bytes a
        second, forward, as a share of what a large copy reads and writes on this device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]
    inputs = random_inputs(frames, shapes, device)
    half = [inputs[0].bfloat16(), *inputs[1:]]
    versions = {"plain": (deformable_attention, inputs)}
    if device.type == "cpu":
        versions["sparse"] = (sample_sums, inputs)
    if (kernel := kernel_for(device)) is not None:
        versions["Triton"] = (kernel.deformable_attention, inputs)
        versions["Triton, bfloat16"] = (kernel.deformable_attention, half)
    times = {
        direction: _seconds({n: run(f, shapes, x) for n, (f, x) in versions.items()}, repeats)
        for direction, run in (("forward", _forward), ("backward", _backward))
    }
    rate = _copy_rate(device, repeats)
    rows = []
    for name, (_, given) in versions.items():
        forward = times["forward"][name]
        # the result is as large as the value
        moved = sum(x.numel() * x.element_size() for x in (*given, given[0]))
        rows.append(
            {
                "version": name,
                "least MB": moved / 1e6,
                "forward ms": 1e3 * forward,
                "backward ms": 1e3 * times["backward"][name],
                "speed": times["forward"]["plain"] / forward,
                "of a copy's rate": moved / forward / rate,
            }
        )
    return rows


def _seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Medians; with Triton those of the GPU's own time, with caches that hold nothing."""
    if torch.cuda.is_available() and importlib.util.find_spec("triton"):
        bench = importlib.import_module("triton.testing").do_bench
        return {n: bench(call, return_mode="median") / 1e3 for n, call in calls.items()}
    timings = measure(calls, repeats=repeats, seconds=30)
    return {name: timing.median for name, timing in timings.items()}


def _copy_rate(device: torch.device, repeats: int) -> float:
    """Bytes that a large copy reads and writes in a second."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / _seconds({"copy": lambda: target.copy_(source)}, repeats)["copy"]


def random_inputs(frames: int, shapes: Sequence[tuple[int, int]], device) -> list[Tensor]:
    """Value, locations near each place, and weights."""
    places = sum(h * w for h, w in shapes)
    centres = torch.cat([_centres(h, w) for h, w in shapes])
    near = torch.randn(frames, places, HEADS, len(shapes), POINTS, 2) * 0.05
    weights = torch.rand(frames, places, HEADS, len(shapes) * POINTS).softmax(-1)
    inputs = (
        torch.randn(frames, places, HEADS, DEPTH),
        near + centres[:, None, None, None],
        weights.unflatten(-1, (len(shapes), POINTS)),
    )
    return [x.to(device) for x in inputs]


def _centres(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def _forward(function, shapes, inputs):
    def run():
        with torch.no_grad():
            return function(inputs[0], shapes, *inputs[1:])

    return run


def _backward(function, shapes, inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(inputs[0], shapes, *inputs[1:])
    upstream = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, upstream, retain_graph=True)
