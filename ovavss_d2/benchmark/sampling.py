"""Deformable attention alone: the kernel and the PyTorch version beside a plain one.

Shapes: N frames, R asking places, M heads, d channels of a head, V levels, P points, h w places.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovavss_d2.benchmark.timing import measure
from ovavss_d2.modeling.deformable_attention import kernel_for, sampled_attention

HEADS, DEPTH, POINTS = 8, 32, 4  # of the reference configuration
STRIDES = (32, 16, 8)


def plain_attention(value: Tensor, shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Every sample at once, then the weighted sum: how it is usually written in PyTorch."""
    n, _, heads, depth = value.shape
    asking = locations.shape[1]
    maps = value.split([h * w for h, w in shapes], dim=1)
    samples = []
    for level, (h, w) in enumerate(shapes):
        image = maps[level].permute(0, 2, 3, 1).reshape(n * heads, depth, h, w)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (N M, R, P, 2)
        samples.append(F.grid_sample(image, grid, align_corners=False))
    stacked = torch.stack(samples, dim=-2)  # (N M, d, R, V, P)
    weights = weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)
    out = (stacked * weights).sum((-2, -1))
    return out.view(n, heads * depth, asking).transpose(1, 2)


def sampling(*, frames: int, size: tuple[int, int], repeats: int) -> list[dict]:
    """Times forward and backward, and the bytes that must at least be moved."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]
    inputs = random_inputs(frames, shapes, device)
    versions = {"plain": plain_attention, "PyTorch": sampled_attention}
    if (kernel := kernel_for(device)) is not None:
        versions["Triton"] = kernel.deformable_attention
    moved = sum(x.numel() * x.element_size() for x in inputs) + inputs[0].numel() * 4
    rows: dict[str, dict] = {name: {"version": name, "least MB": moved / 1e6} for name in versions}
    for direction, run in (("forward", _forward), ("forward and backward", _both)):
        calls = {n: lambda f=f, run=run: run(f, shapes, inputs) for n, f in versions.items()}
        for name, timing in measure(calls, repeats=repeats, seconds=30).items():
            rows[name][f"{direction} ms"] = 1e3 * timing.median
    for row in rows.values():
        row["speed"] = rows["plain"]["forward ms"] / row["forward ms"]
        row["GB/s"] = moved / 1e6 / row["forward ms"]
    return list(rows.values())


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
    with torch.no_grad():
        return function(inputs[0], shapes, *inputs[1:])


def _both(function, shapes, inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    function(inputs[0], shapes, *inputs[1:]).sum().backward()
