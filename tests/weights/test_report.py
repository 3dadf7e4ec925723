"""Downloaded weight files are identified and checked without building a model."""

import shutil
import zipfile
from dataclasses import replace

import pytest
import torch

from ovavss_d2.weights.download import file_sum
from ovavss_d2.weights.published import PUBLISHED
from ovavss_d2.weights.report import check_file
from tests.helpers import full_size
from tests.helpers.scripts import load_script
from tests.helpers.tiny_world import ROOT


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/check_weights.py")


def vggish():
    return full_size.part("r50", "AUDIO")


@pytest.mark.parametrize(
    ("kind", "size", "words"),
    [
        ("released", "r50", "ResNet-50, CLIP ViT-B/16, for configs/ovavss_R50.yaml"),
        ("COCO", "r50", "ResNet-50, for configs/ovavss_R50.yaml and configs/zero_shot_R50"),
        ("AUDIO", "r50", "as MODEL.AUDIO.WEIGHTS"),
        ("CLIP", "r50", "ViT-B/16, for"),
        ("released", "swinb", "Swin-B"),
        ("COCO", "swinb", "Swin-B"),
    ],
)
def test_published_layouts_are_named_with_their_config(tmp_path, kind, size, words):
    report = check_file(full_size.write(tmp_path, kind, size))
    text = "\n".join(report.lines)
    assert words in text
    assert ("configs/ovavss_swin.yaml" if size == "swinb" else "configs/ovavss_") in text
    assert report.problems == []


def test_missing_weights_and_other_sizes_are_problems(tmp_path):
    state = vggish()
    del state["embeddings.4.bias"]
    report = check_file(full_size.save(tmp_path / "vggish.pth", state))
    assert report.problems[0].startswith("17 weights")
    assert "expected 18 weights" in report.problems[0]
    state = full_size.part("r50", "CLIP")
    state["visual.positional_embedding"] = torch.zeros(50, 768)
    report = check_file(full_size.save(tmp_path / "clip.pt", state))
    assert any("expected 302 weights" in problem for problem in report.problems)


def test_nan_is_a_problem(tmp_path):
    state = vggish() | {"features.0.bias": torch.full((64,), float("nan"))}
    report = check_file(full_size.save(tmp_path / "vggish.pth", state))
    assert report.problems == ["1 weights are not finite, such as 'features.0.bias'"]


def test_a_damaged_file_is_a_problem(tmp_path):
    path = tmp_path / "vggish.pth"
    full_size.save(path, {name: torch.full((99,), 0.1) for name in vggish()})
    content = bytearray(path.read_bytes())
    index = content.rindex(torch.full((99,), 0.1).numpy().tobytes()[:64])
    content[index] ^= 1
    path.write_bytes(content)
    assert any("damaged" in problem for problem in check_file(str(path)).problems)


def test_a_compressed_member_that_is_damaged_is_a_problem(tmp_path):
    path = tmp_path / "vggish.pth"
    full_size.save(path, {"embeddings.0.weight": torch.zeros(9)})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vggish/note", b"note" * 99)
        offset = archive.getinfo("vggish/note").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 41 : offset + 45] = b"\xff" * 4  # the compressed data
    path.write_bytes(content)
    assert any("damaged" in problem for problem in check_file(str(path)).problems)


def test_a_file_with_a_published_name_must_have_the_published_sum(tmp_path, monkeypatch):
    path = full_size.save(tmp_path / "vggish-10086976.pth", vggish())
    report = check_file(path)
    assert any("expected 10086976" in problem for problem in report.problems)
    same = replace(PUBLISHED["vggish"], sums={"sha256": file_sum(path, "sha256")[:8]})
    monkeypatch.setitem(PUBLISHED, "vggish", same)
    assert check_file(path).problems == []
    shutil.copy(path, tmp_path / "ViT-B-16.pt")
    problems = check_file(str(tmp_path / "ViT-B-16.pt")).problems
    assert any("expected the weights of CLIP" in problem for problem in problems)


def test_the_command_ends_with_1_if_a_file_is_wrong(tmp_path, tool, capsys):
    good = full_size.save(tmp_path / "audio.pth", vggish())
    tool.run([good])
    assert "VGGish, for configs" in capsys.readouterr().out
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(SystemExit) as end:
        tool.run([good, str(tmp_path / "page.pth"), str(tmp_path / "gone.pth")])
    said = capsys.readouterr().out
    assert end.value.code == 1
    assert said.count("WRONG: ") == 2 and "no weight file" in said


def test_a_config_names_the_files_to_check(tmp_path, tool, capsys):
    tool.run(["--config-file", f"{ROOT}/configs/ovavss_swin.yaml"])
    said = capsys.readouterr().out
    for name in ("model_final_83d103.pkl", "vggish-10086976.pth", "ViT-L-14-336-quickgelu openai"):
        assert name in said
    assert said.count("not downloaded yet") == 3


def test_the_docs_name_every_published_file():
    with open(f"{ROOT}/docs/WEIGHTS.md", encoding="utf-8") as file:
        text = file.read()
    assert [name for name in PUBLISHED if f"`{name}`" not in text] == []
