"""Conversion between layouts keeps every bit of the numbers."""

import pickle

import numpy as np
import pytest
import torch

from ovavss_d2.weights.checkpoint import load_weights
from ovavss_d2.weights.conversion import convert_file
from ovavss_d2.weights.files import read_weights
from tests.helpers import full_size
from tests.helpers.scripts import load_script
from tests.helpers.small_weights import config_with, differing, make_model, released_state


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/convert_checkpoint.py")


def assert_bit_identical(first, second):
    assert first.keys() == second.keys()
    for name, x in first.items():
        assert x.dtype == second[name].dtype and torch.equal(x, second[name]), name


@pytest.mark.parametrize("kind", ["released", "COCO", "AUDIO", "CLIP"])
def test_there_and_back_at_full_size_is_bit_identical(tmp_path, kind):
    source = full_size.write(tmp_path, kind)
    own, back = str(tmp_path / "own.pth"), str(tmp_path / f"back{source[-4:]}")
    convert_file(source, own, "own")
    assert read_weights(own)["origin"] == kind
    written, omitted = convert_file(own, back, kind)
    assert_bit_identical(read_weights(source)["model"], read_weights(back)["model"])
    assert omitted == [] and len(written) == len(read_weights(back)["model"])


@pytest.mark.parametrize("kind", ["AUDIO", "CLIP"])
def test_a_part_taken_out_of_the_whole_is_the_part(tmp_path, kind):
    whole = full_size.write(tmp_path, "released")
    target = str(tmp_path / "part.pth")
    convert_file(whole, target, kind)
    part = torch.load(full_size.write(tmp_path, kind), weights_only=True)
    assert_bit_identical(part, torch.load(target, weights_only=True))


def test_constants_and_number_types_survive(tmp_path):
    state = {"text_projection": torch.randn(3, 2).half(), "context_length": torch.tensor(77)}
    source = full_size.save(tmp_path / "ViT.pt", state)
    convert_file(source, str(tmp_path / "own.pth"), "own")
    convert_file(str(tmp_path / "own.pth"), str(tmp_path / "back.pt"), "CLIP")
    assert_bit_identical(state, torch.load(tmp_path / "back.pt", weights_only=True))


def test_our_own_checkpoint_comes_back_from_the_released_layout(tmp_path):
    torch.manual_seed(0)
    source = make_model(head=False)
    torch.save({"model": source.state_dict(), "iteration": 3}, tmp_path / "own.pth")
    convert_file(str(tmp_path / "own.pth"), str(tmp_path / "released.pth"), "released")
    released = torch.load(tmp_path / "released.pth", weights_only=True)["model"]
    expected = {k: x for k, x in released_state(source).items() if "criterion" not in k}
    assert_bit_identical(expected, released)
    convert_file(str(tmp_path / "released.pth"), str(tmp_path / "again.pth"), "own")
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert_bit_identical(dict(source.state_dict()), again["model"])
    model = make_model(head=False)
    load_weights(model, config_with(tmp_path / "again.pth"))
    assert not differing(model, source)


def test_a_head_that_the_released_layout_cannot_hold_is_named(tmp_path, tool, capsys):
    torch.save({"model": make_model().state_dict()}, tmp_path / "own.pth")
    tool.run([str(tmp_path / "own.pth"), str(tmp_path / "out.pth"), "--to", "released"])
    said = capsys.readouterr().out
    assert "omitted" in said and "classifier.text_head (2)" in said


def small_vggish(folder):
    return full_size.save(folder / "vggish.pth", {"embeddings.0.weight": torch.randn(3, 2)})


@pytest.mark.parametrize("suffix", ["pkl", "safetensors"])
def test_parts_may_be_pickles_of_arrays_or_safetensors(tmp_path, suffix):
    source, target = small_vggish(tmp_path), tmp_path / f"vggish.{suffix}"
    convert_file(source, str(target), "AUDIO")
    assert_bit_identical(torch.load(source, weights_only=True), read_weights(str(target))["model"])
    if suffix == "pkl":
        content = pickle.loads(target.read_bytes())
        assert all(isinstance(x, np.ndarray) for x in content["model"].values())


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("out.pth", "released", "without .backbone"),
        ("out.pth", "CLIP", "without .classifier.clip.model"),
        ("out.safetensors", "own", "only the layouts AUDIO and CLIP"),
        ("out.pth", "elsewhere", "expected one of own, released, COCO, AUDIO, CLIP"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_no_file(tmp_path, name, layout, message):
    source = small_vggish(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        convert_file(source, str(tmp_path / name), layout)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["vggish.pth"]


def test_a_backbone_that_others_do_not_have_is_refused(tmp_path):
    state = make_model(head=False).state_dict()
    state["backbone.net.stages_0.weight"] = torch.zeros(1)
    torch.save({"model": state}, tmp_path / "own.pth")
    with pytest.raises(ValueError, match="stages_0.*plain ResNet or a Swin"):
        convert_file(str(tmp_path / "own.pth"), str(tmp_path / "out.pth"), "released")


def test_wrong_sources_are_one_line(tmp_path, tool, capsys):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"layers.0": torch.zeros(1)}, tmp_path / "other.pth")
    for name, words in (("text.pth", "readable"), ("other.pth", "unknown"), ("gone", "no weight")):
        with pytest.raises(SystemExit) as end:
            tool.run([str(tmp_path / name), str(tmp_path / "out.pth"), "--to", "own"])
        assert end.value.code == 1
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out.pth").exists()
