"""The script that times several checkouts in turn."""

import subprocess
import sys

import pytest
import torch

from ovavss_d2.modeling.ops.deformable_attention import MultiScaleDeformableAttention
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script
from tests.helpers.tiny_world import make_world, tiny_options

SCRIPT, HERE = "tools/compare_checkouts.py", str(REPOSITORY)


@pytest.fixture
def script():
    return load_script(SCRIPT)


def cells(printed, row):
    return [cell.strip() for cell in printed.splitlines()[row].split("|")[1:-1]]


def test_equal_checkouts_have_equal_losses(script, tmp_path, capsys):
    options = ["--size", "40", "48", "--turns", "1", "--opts", *tiny_options(make_world(tmp_path))]
    script.main([HERE, HERE, *options])
    printed = capsys.readouterr().out
    assert cells(printed, -1)[4:] == cells(printed, -2)[4:] and float(cells(printed, -1)[4]) > 0
    milliseconds, loss = script.make_step(script.parse_arguments([HERE, "--inference", *options]))()
    assert milliseconds > 0 and loss == 0


def test_checkouts_can_start_from_the_weights_of_the_first(script, tmp_path):
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    for model in (first, second):
        script.load_start(tmp_path / "start.pth", model)
    assert torch.equal(second.weight, first.weight)


def test_a_shared_start_samples_between_the_centers_of_cells(script, tmp_path):
    layer = MultiScaleDeformableAttention(dim=16, num_heads=2, num_levels=1, num_points=2)
    script.load_start(tmp_path / "start.pth", layer)
    bias = layer.sampling_offsets.bias
    assert (bias - bias.round()).abs().min() > 0.2


def test_checkouts_take_turns_and_the_median_of_all_turns_counts(script, monkeypatch, capsys):
    order, milliseconds = [], iter(([9, 4], [1], [5, 1], [1]))

    def run_turn(checkout):
        order.append(checkout)
        checkout.milliseconds += next(milliseconds)
        checkout.losses.append(2.0)

    monkeypatch.setattr(script.Checkout, "run_turn", run_turn)
    script.main([HERE, HERE, "--turns", "2"])
    first, second = order[:2]
    assert first is not second and order == [first, second, first, second]
    printed = capsys.readouterr().out
    assert cells(printed, -2)[2] == "4" and cells(printed, -1)[2:4] == ["1", "4.50"]


def test_a_folder_that_is_not_a_checkout_is_one_line(tmp_path):
    command = [sys.executable, REPOSITORY / SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines() == [
        f"error: '{tmp_path}' holds no ovavss_d2: expected a checkout of this project"
    ]
