"""Weight files, and checkpoints of a model."""

import functools
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from ovavss_d2.weights.checkpoint import load_weights
from ovavss_d2.weights.files import read_weights
from ovavss_d2.weights.report import check_file
from tests.fuzz.case import ANY, REFUSED, Case, Kind, maybe_damaged
from tests.helpers.small import small_config
from tests.helpers.small_weights import make_model

ODD_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "nan": lambda x: x * float("nan"), "inf": lambda x: x / 0, "empty": lambda x: x[:0],
    "scalar": lambda x: x.flatten()[0], "sparse": lambda x: x.to_sparse(),
    "complex": lambda x: x.to(torch.complex64), "bool": lambda x: x > 3,
    "bfloat16": lambda x: x.bfloat16(), "meta": lambda x: x.to("meta"),
    "quantized": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "strided": lambda x: x.transpose(0, 1), "int": lambda x: x.long(),
    "float8": lambda x: x.to(torch.float8_e4m3fn), "objects": lambda x: np.array([None, "a"]),
    "text": lambda x: "text", "list": lambda x: [1.0], "none": lambda x: None,
}  # fmt: skip
HOSTILE = {
    "memo": bytes.fromhex("80027d72000000102e"), "empty": b"", "zeros": b"\0" * 4096,
    "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 33) + b"a.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"a.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}.",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.", "system": b"cos\nsystem\n(S'true'\ntR.",
    "large array": b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x3ftR.",
    "nested": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".", "page": b"<!DOCTYPE html>not found",
    "header": struct.pack("<Q", 1 << 40) + b"{}",
    "size": struct.pack("<Q", 60)
    + b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}',
}  # fmt: skip
FORMS = ("pickle", "torch", "old torch", "safetensors", "torchscript")


@functools.cache
def weight_bytes(form: str, odd: str | None) -> bytes:
    """A file of two weights in a form, one of them odd."""
    x = torch.arange(12.0).reshape(3, 4)
    state = {"a.weight": ODD_TENSORS[odd](x) if odd else x, "a.bias": torch.ones(2)}
    target = io.BytesIO()
    if form == "pickle":
        numbers = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
        return pickle.dumps(numbers, protocol=2)
    if form == "safetensors":
        return save_safetensors({key: value.contiguous() for key, value in state.items()})
    if form == "torchscript":
        module = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 3)})
        with torch.no_grad():
            module["a"].weight.copy_(x)
        torch.jit.save(torch.jit.script(module["a"]), target)
    else:
        torch.save({"model": state}, target, _use_new_zipfile_serialization=form == "torch")
    return target.getvalue()


@functools.cache
def zip_of_zeros() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x/data.pkl", b"\0" * (1100 << 20))
        archive.writestr("x/version", "3")
    return target.getvalue()


@st.composite
def weight_files(draw: Callable) -> Case:
    """A weight file of any form under any name; the reader recognizes the content."""
    path = draw(st.sampled_from(["w.pth", "w.pkl", "w.pt", "w.safetensors"]))
    if draw(st.integers(0, 3)) == 0:
        hostile = draw(st.sampled_from([*HOSTILE, "zip"]))
        content = zip_of_zeros() if hostile == "zip" else HOSTILE[hostile]
        return Case({path: content}, {"path": path}, REFUSED)
    form = draw(st.sampled_from(FORMS))
    odd = draw(st.none() | st.sampled_from(sorted(ODD_TENSORS))) if "torch" in form[-5:] else None
    expected: Any = ANY if odd else {"sum": 66.0}
    return draw(maybe_damaged(Case({path: weight_bytes(form, odd)}, {"path": path}, expected)))


def check_weights(expected: dict[str, Any] | None, path: str) -> None:
    state = read_weights(path)["model"]
    assert state and all(isinstance(x, torch.Tensor) for x in state.values())
    check_file(path)
    if expected is not None:
        found = next(x for name, x in state.items() if name.endswith("weight"))
        assert found.shape == (3, 4) and found.sum() == expected["sum"]


@functools.cache
def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_model()


@st.composite
def checkpoints(draw: Callable) -> Case:
    """The weights of the model of `make_model`, one of them odd, or damaged bytes."""
    state: dict[str, Any] = dict(_model().state_dict())
    odd = draw(st.none() | st.sampled_from(sorted(ODD_TENSORS)))
    if odd:
        name = draw(st.sampled_from([name for name, x in sorted(state.items()) if x.ndim > 1]))
        state[name] = ODD_TENSORS[odd](state[name])
    content = io.BytesIO()
    torch.save({"model": state}, content)
    refused = ("nan", "inf", "text", "none", "list", "empty", "scalar", "meta")
    expected = {} if odd is None else REFUSED if odd in refused else ANY
    return draw(maybe_damaged(Case({"w.pth": content.getvalue()}, {}, expected)))


def check_checkpoint(expected: dict[str, Any] | None) -> None:
    cfg, model = small_config(), make_model()
    cfg.MODEL.WEIGHTS = "w.pth"
    load_weights(model, cfg)
    assert all(x.isfinite().all() for x in model.state_dict().values()), "not finite"
    if expected is not None:
        own = model.state_dict()
        assert all(torch.equal(x, own[name]) for name, x in _model().state_dict().items())


KINDS = {
    "weights": Kind(weight_files(), check_weights),
    "checkpoint": Kind(checkpoints(), check_checkpoint, 4),
}
