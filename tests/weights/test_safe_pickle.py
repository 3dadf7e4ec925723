"""No code in a weight file is executed; the error names what the file refers to."""

import codecs
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from ovavss_d2.weights.checkpoint import OVAVSSCheckpointer
from ovavss_d2.weights.files import read_weights
from tests.helpers.small_weights import config_with, make_model

WEIGHTS = {"backbone.net.conv1.weight": torch.zeros(2)}


class Call:
    """Unpickled, it calls a function with the arguments."""

    def __init__(self, function, arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


COMMAND = Call(os.mkdir, ("executed",))


def plain_pickle(path, evil):
    path.write_bytes(pickle.dumps({"model": {"x": np.zeros(2), "y": evil}}))


def torch_file(path, evil):
    torch.save({"model": WEIGHTS, "optimizer": evil}, path)


def old_torch_file(path, evil):
    torch.save({"model": {"y": evil}}, path, _use_new_zipfile_serialization=False)


def with_hidden_member(path, evil, name="hidden.pkl"):
    torch.save({"model": WEIGHTS}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"model/{name}", pickle.dumps(evil))


def disguised_as_torchscript(path, evil):
    with_hidden_member(path, evil, "constants.pkl")


def torchscript_with_other_data(path, evil):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", pickle.dumps(()))
        archive.writestr("model/data.pkl", pickle.dumps(evil))


FORMATS = [
    plain_pickle, torch_file, old_torch_file, with_hidden_member, disguised_as_torchscript,
    torchscript_with_other_data,
]  # fmt: skip
each_format = pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not os.path.exists("executed")


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
@each_format
def test_a_command_is_refused_in_one_line(tmp_path, write, suffix):
    path = tmp_path / f"evil.{suffix}"
    write(path, COMMAND)
    for mapped in (False, True):
        with pytest.raises(ValueError, match="evil.*mkdir") as error:
            read_weights(str(path), mapped=mapped)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "evil",
    [Call(getattr, ("text", "upper")), Call(codecs.encode, ("text", "rot13")), np.float64],
    ids=["getattr", "codec", "float"],
)
def test_only_arrays_and_containers_are_allowed(tmp_path, evil):
    plain_pickle(tmp_path / "evil.pkl", evil)
    with pytest.raises(ValueError, match="evil"):
        read_weights(str(tmp_path / "evil.pkl"))


def test_the_command_runs_without_protection(tmp_path):
    pickle.loads(pickle.dumps(COMMAND))
    os.rmdir("executed")


@each_format
def test_training_does_not_resume_from_code(tmp_path, write):
    write(tmp_path / "model_0000001.pth", COMMAND)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    checkpointer = OVAVSSCheckpointer(
        make_model(), str(tmp_path), cfg=config_with(), trainer=nn.Linear(1, 1)
    )
    with pytest.raises(ValueError, match="not a readable weight file"):
        checkpointer.resume_or_load("", resume=True)


def test_torchscript_archives_are_read_without_their_code(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight16 = nn.Parameter(torch.randn(3, 2).half())
            self.register_buffer("count", torch.tensor(7))
            self.layers = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
            self.sizes = [1, 2]

        def forward(self, x):
            return self.layers(x)

    net = Net()
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.script(net), tmp_path / "net.pt")
    found = read_weights(str(tmp_path / "net.pt"))["model"]
    assert found.keys() == net.state_dict().keys()
    for name, x in net.state_dict().items():
        assert found[name].dtype == x.dtype and torch.equal(found[name], x)


LIMITED = """
import resource, sys, torch
from ovavss_d2.weights.files import read_weights
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        print(path, {x.numel() for x in read_weights(path)["model"].values()})
    except ValueError as error:
        print(error, flush=True)
"""
HUGE = 2**32
MEMORY_BOMBS = {
    "memo.pkl": b"\x80\x02}r\x00\x00\x00\x10.",
    "text_memo.pkl": b"}p999999999\n.",
    "frame.pkl": b"\x80\x04\x95" + HUGE.to_bytes(8, "little") + b"}.",
    "bytes.pkl": b"\x80\x04\x8e" + HUGE.to_bytes(8, "little") + b"x.",
    "bytearray.pkl": b"\x80\x05\x96" + HUGE.to_bytes(8, "little") + b"x.",
    "integer.pkl": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "array.pkl": pickle.dumps({"x": Call(np.ndarray, ((HUGE,), "u1")), "y": np.ones(7)}),
    "shape.pkl": pickle.dumps(np.ones(7)).replace(b"K\x07\x85", b"J\xff\xff\xff\x7f\x85"),
    "header.safetensors": HUGE.to_bytes(8, "little") + b"{}",
}


def test_memory_is_bounded_by_the_size_of_the_file(tmp_path):
    for name, content in MEMORY_BOMBS.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"model": WEIGHTS, "x": Call(bytearray, (HUGE,))}, tmp_path / "bytearray.pth")
    old = {"model": WEIGHTS, "x": Call(bytearray, (HUGE,))}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": {"x": torch.zeros(10**7)}}, tmp_path / "zeros")
    with (
        zipfile.ZipFile(tmp_path / "zeros") as source,
        zipfile.ZipFile(tmp_path / "zip.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for member in source.namelist():
            target.writestr(member, source.read(member))
    (tmp_path / "zeros").unlink()
    names = sorted(path.name for path in tmp_path.iterdir())
    command = [sys.executable, "-c", LIMITED, *names]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = found.stdout.splitlines()
    assert [name for name, line in zip(names, lines, strict=True) if name not in line] == []
    assert "array.pkl {0, 7}" in lines  # what the file calls has no content
    assert not [line for line in lines if "MemoryError" in line or "alloc" in line]


def test_arrays_in_a_torch_file_keep_their_content(tmp_path):
    content = {"model": WEIGHTS, "a": np.arange(6).reshape(2, 3).T, "b": np.float64(0.5)}
    torch.save(content, tmp_path / "arrays.pth")
    found = read_weights(str(tmp_path / "arrays.pth"))
    assert found["a"].tolist() == content["a"].tolist() and found["b"] == 0.5
