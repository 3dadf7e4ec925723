"""Weight files in every format are read; other files are errors of one line."""

import pickle

import numpy as np
import pytest
import torch

from ovavss_d2.weights.files import read_weights


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_every_pickle_protocol_are_read(tmp_path, protocol):
    path = tmp_path / "arrays.pkl"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path.write_bytes(pickle.dumps({"model": {"x": array, "module.y": array.T}}, protocol))
    state = read_weights(str(path))["model"]
    assert state["x"].tolist() == array.tolist()
    assert state["y"].tolist() == array.T.tolist()


@pytest.mark.parametrize("suffix", ["pkl", "pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_broken_files_are_one_line_errors(tmp_path, suffix, content):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken") as error:
        read_weights(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (bytes(100), "it is empty"),
        (b" \r\n", "it is empty"),
        (b"<!DOCTYPE html>\r\n<html>", "it is a text file that starts with '<!DOCTYPE html>'"),
        (b"version https://git-lfs.github.com\noid", "starts with 'version https://git-lfs"),
        (b"\xff\xfe" * 50, "not a readable weight file: (?!it is)"),  # binary, not a text
    ],
)
def test_failed_downloads_are_described(tmp_path, content, reason):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_weights(str(tmp_path / "weights.pth"))


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="not a readable weight file: .*directory"):
        read_weights(str(tmp_path))


@pytest.mark.parametrize("content", [{"model": {}}, {"epoch": 3}, [1, 2]])
def test_files_without_weights_are_an_error(tmp_path, content):
    path = tmp_path / "empty.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(str(path))


ODD = {
    "sparse": torch.eye(3).to_sparse(),
    "complex": torch.ones(3, dtype=torch.complex64),
    "meta": torch.ones(3, device="meta"),
    "uint16": torch.ones(3, dtype=torch.uint16),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
    "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "huge": torch.zeros(1).expand(10**6, 10**6),
    "text": np.array(["a", "b"]),
    "objects": np.array([{}, None], dtype=object),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("suffix", ["pth", "pkl"])
def test_weights_of_another_kind_are_one_line(tmp_path, kind, suffix):
    path = tmp_path / f"odd.{suffix}"
    content = {"model": {"x": ODD[kind], "y": torch.zeros(1)}}
    if suffix == "pth":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"x": ODD[kind], "y": np.zeros(1)}))
    with pytest.raises(ValueError, match="odd") as error:
        read_weights(str(path))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_torch_file_may_have_any_suffix(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.save({"weight": torch.ones(2)}, path)
    for mapped in (False, True):
        assert read_weights(str(path), mapped=mapped)["model"]["weight"].sum() == 2
