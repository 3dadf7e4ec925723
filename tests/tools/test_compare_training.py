"""The script that times a training step of several checkouts."""

import subprocess
import sys

import torch

from ovavss_d2.modeling.ops.deformable_attention import MultiScaleDeformableAttention
from tests.helpers.paths import REPOSITORY
from tests.helpers.scripts import load_script
from tests.helpers.tiny_world import make_world, tiny_options

SCRIPT = REPOSITORY / "tools/compare_training.py"


def test_equal_checkouts_have_equal_losses(tmp_path, capsys):
    world = make_world(tmp_path)
    arguments = ["--size", "40", "48", "--steps", "1", "--turns", "1", "--opts"]
    arguments += tiny_options(world)
    here = str(REPOSITORY)
    load_script(SCRIPT).main([here, here, *arguments])
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.split("|")[5:7] == second.split("|")[5:7]
    assert float(first.split("|")[5]) > 0


def test_checkouts_can_start_from_the_weights_of_the_first(tmp_path):
    script, path = load_script(SCRIPT), tmp_path / "start.pth"
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    script.start_from(path, first)
    script.start_from(path, second)
    assert torch.equal(second.weight, first.weight)


def test_a_shared_start_samples_between_the_centres_of_cells(tmp_path):
    layer = MultiScaleDeformableAttention(dim=16, num_heads=2, num_levels=1, num_points=2)
    load_script(SCRIPT).start_from(tmp_path / "start.pth", layer)
    bias = layer.sampling_offsets.bias
    assert (bias - bias.round()).abs().min() > 0.2


def test_checkouts_take_turns(monkeypatch, capsys):
    script, order = load_script(SCRIPT), []

    def turn(checkout):
        order.append(checkout)
        return {"ms": [1], "losses": [2.0]}

    monkeypatch.setattr(script, "in_checkout", turn)
    script.main([str(REPOSITORY), str(REPOSITORY), "--turns", "2"])
    first, second = order[:2]
    assert first is not second and order == [first, second, first, second]


def test_a_folder_that_is_no_checkout_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"'{tmp_path}' holds no ovavss_d2: expected a checkout of this project"
    ]


def test_the_middle_of_all_turns_counts(monkeypatch, capsys):
    script = load_script(SCRIPT)
    turns = iter(([9, 4], [5, 1]))
    monkeypatch.setattr(script, "in_checkout", lambda *_: {"ms": next(turns), "losses": [2.0]})
    script.main([str(REPOSITORY), "--turns", "2"])
    assert capsys.readouterr().out.splitlines()[-1].split("|")[3].strip() == "4"
