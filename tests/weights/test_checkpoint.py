"""Checkpoints: every layout finds its places, no file is executed, errors are one line."""

import json
import logging
import os
import pickle
import re
import shutil

import numpy as np
from tests.helpers import parity
import pytest
import torch
from tests.helpers.small import small_config
from tests.helpers.small_weights import config_with, differing, make_model, released_state
from torch import nn

from ovavss_d2.weights.checkpoint import (
    OVAVSSCheckpointer,
    check_weight_files,

    load_weights,
)
from ovavss_d2.modeling.audio_encoder import VGGish, build_audio_encoder
from ovavss_d2.modeling.backbone import TimmBackbone
from ovavss_d2.modeling.mask_decoder import AudioVisualHead
from ovavss_d2.weights.files import read_weights
from ovavss_d2.weights.layouts import to_own_layout


@pytest.fixture
def source():
    torch.manual_seed(1)
    return make_model()


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_the_released_layout_is_ours_after_conversion_name_by_name(size):
    path = parity.BUNDLED / f"ovavss_{size}_release_names.json"
    listed = {name: torch.empty(shape, device="meta") for name, shape in _names(path).items()}
    converted = {k: tuple(v.shape) for k, v in to_own_layout(listed)[0].items()}
    ours = _full_size(size)
    clip = {k for k in converted if k.startswith("classifier.clip.model.")}
    assert len(clip) == len([k for k in listed if k.startswith("clip_adapter.")])
    assert {k: v for k, v in converted.items() if k not in clip} == ours


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_the_coco_layout_fits_without_its_class_layer(size):
    path = parity.BUNDLED / f"mask2former_coco_{size}_names.json"
    listed = {name: torch.empty(shape, device="meta") for name, shape in _names(path).items()}
    converted = {k: tuple(v.shape) for k, v in to_own_layout(listed)[0].items()}
    ours = _full_size(size)
    assert converted.items() <= ours.items()
    assert len(converted) == len(listed) - 2
    missing = {".".join(name.split(".")[:1]) for name in ours.keys() - converted.keys()}
    assert missing == {"audio_encoder", "sem_seg_head"}


def _names(path):
    return json.loads(path.read_text())


def _full_size(size):
    """{name: shape} of the full-size model without CLIP, built without memory."""
    files = parity.oracle_files(f"ovavss_{size}_oracle_*.npz", parity.BUNDLED)
    cfg = parity.oracle_config(files[0])
    cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES = 100
    with torch.device("meta"):
        model = nn.Module()
        model.backbone = TimmBackbone(cfg, None)
        model.sem_seg_head = AudioVisualHead(cfg, model.backbone.output_shape())
        model.audio_encoder = VGGish(freeze=True)
    return {name: tuple(x.shape) for name, x in model.state_dict().items()}


def test_a_released_checkpoint_fills_all_but_the_text_head(source, tmp_path, caplog):
    path = tmp_path / "released.pth"
    torch.save({"model": released_state(source)}, path)
    model = make_model()
    with caplog.at_level(logging.INFO):
        load_weights(model, config_with(path))
    assert differing(model, source) == [
        "classifier.text_head.weight",
        "classifier.text_head.bias",
    ]
    assert model.classifier.choice == "crop"
    assert "released OV-AVSS checkpoint" in caplog.text
    assert "classifier.text_head (2)" in caplog.text


def test_the_old_name_of_the_text_head_in_own_checkpoints_is_understood(source, tmp_path):
    state = {name.replace("text_head", "query_head"): x for name, x in source.state_dict().items()}
    assert len(state.keys() - source.state_dict().keys()) == 2
    torch.save({"model": state}, tmp_path / "old.pth")
    model = make_model()
    load_weights(model, config_with(tmp_path / "old.pth"))
    assert not differing(model, source) and model.classifier.choice == "ensemble"


def test_a_coco_pickle_starts_the_training_of_the_rest(source, tmp_path, caplog):
    state = released_state(source)
    state = {
        name: x.numpy()
        for name, x in state.items()
        if name.startswith(("backbone.", "sem_seg_head."))
        and not re.search("audio|b_attn|v2a|a2a|class_embed", name)
    }
    state["sem_seg_head.predictor.class_embed.weight"] = np.zeros((81, 32), np.float32)
    state["sem_seg_head.predictor.class_embed.bias"] = np.zeros(81, np.float32)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": state, "__author__": "third_party"}))
    model = make_model()
    checkpointer = OVAVSSCheckpointer(model, cfg=config_with(), trainer=nn.Linear(1, 1))
    checkpointer.resume_or_load(str(path), resume=False)
    assert not differing(model, source, "backbone.")
    assert not differing(model, source, "sem_seg_head.predictor.mask_embed")
    assert differing(model, source, "sem_seg_head.predictor.class_embed")
    assert model.classifier.choice == "ensemble"
    assert "Mask2Former checkpoint" not in caplog.text or "fusion" not in caplog.text
    with pytest.raises(ValueError, match="missing"):
        load_weights(make_model(), config_with(path))  # start weights are not for use


def test_own_checkpoints_resume_and_the_parts_files_are_left_alone(source, tmp_path):
    counter = nn.Linear(2, 2)
    OVAVSSCheckpointer(source, str(tmp_path), cfg=config_with(), trainer=counter).save(
        "model_0000007", iteration=7, best=np.float64(0.5)
    )
    model, other = make_model(), nn.Linear(2, 2)
    cfg = config_with(audio=tmp_path / "nowhere.pth")
    checkpointer = OVAVSSCheckpointer(model, str(tmp_path), cfg=cfg, trainer=other)
    rest = checkpointer.resume_or_load("ignored.pth", resume=True)
    assert rest == {"iteration": 7, "best": 0.5}
    assert torch.equal(other.weight, counter.weight)
    assert not differing(model, source)


def test_parts_come_from_their_own_files_where_the_checkpoint_lacks_them(source, tmp_path):
    audio, clip, main = tmp_path / "vggish.pth", tmp_path / "clip.pt", tmp_path / "main.pth"
    torch.save(source.audio_encoder.state_dict(), audio)
    torch.save(source.classifier.clip.model.state_dict(), clip)
    state = source.state_dict()
    torch.save(
        {k: v for k, v in state.items() if k.startswith(("sem_seg", "backbone", "classifier.text"))},
        main,
    )
    model = make_model()
    load_weights(model, config_with(main, audio, clip))
    assert not differing(model, source)
    assert model.classifier.choice == "ensemble"


def test_parts_are_read_without_a_checkpoint_too(source, tmp_path):
    audio = tmp_path / "vggish.pth"
    torch.save(source.audio_encoder.state_dict(), audio)
    model = make_model()
    load_weights(model, config_with(audio=audio))
    assert not differing(model, source, "audio_encoder.")
    assert differing(model, source, "backbone.")


@pytest.mark.parametrize("form", ["safetensors", "torchscript"])
def test_clip_weights_may_be_safetensors_or_openais_archive(source, tmp_path, form):
    if form == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "clip.safetensors"
        save_file(source.classifier.clip.model.state_dict(), path)
    else:
        path = tmp_path / "ViT.pt"
        torch.jit.save(torch.jit.trace(source.classifier.clip.model, torch.zeros(1, 3)), path)
        # Parameters that a trace does not use are kept.
    model = make_model()
    load_weights(model, config_with(clip=path))
    assert not differing(model, source, "classifier.clip.model.weight")


def test_vggishs_file_is_recognised_in_the_wrong_place(source, tmp_path):
    path = tmp_path / "vggish.pth"
    torch.save(source.audio_encoder.state_dict(), path)
    with pytest.raises(ValueError, match="MODEL.AUDIO.WEIGHTS"):
        load_weights(make_model(), config_with(path))


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_code_in_a_file_is_refused_and_not_executed(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"evil.{suffix}"
    content = {"model": {"backbone.net.conv1.weight": Evil()}}
    if suffix == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="evil") as error:
        read_weights(str(path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


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
def test_broken_files_are_said_in_one_line(tmp_path, suffix, content):
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
    ],
)
def test_what_a_failed_download_left_is_said(tmp_path, content, reason):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_weights(str(tmp_path / "weights.pth"))


def test_a_binary_file_is_not_called_a_text(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"\xff\xfe" * 50)
    with pytest.raises(ValueError, match="not a readable weight file: (?!it is)"):
        read_weights(str(tmp_path / "weights.pth"))


def test_what_cannot_be_opened_is_said_as_well(tmp_path):
    with pytest.raises(ValueError, match="not a readable weight file: .*directory"):
        read_weights(str(tmp_path))


@pytest.mark.parametrize("content", [{"model": {}}, {"epoch": 3}, [1, 2]])
def test_files_without_weights_are_an_error(tmp_path, content):
    path = tmp_path / "empty.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MASK_FORMER__NUM_OBJECT_QUERIES": 9}, "another shape, such as .*query_feat"),
        ({"MASK_FORMER__DEC_LAYERS": 4}, "missing or unused"),
        ({"MASK_FORMER__DEC_LAYERS": 2}, "missing or unused"),
        (
            {"TIMM__KWARGS": {"layers": [1, 2, 1, 1], "channels": [8, 16, 24, 32]}},
            "another backbone",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_an_error(source, tmp_path, changes, message):
    path = tmp_path / "model.pth"
    torch.save({"model": source.state_dict()}, path)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(make_model(**changes), config_with(path))
    assert "\n" not in str(error.value)


def test_batch_norms_that_were_trained_can_be_frozen(tmp_path):
    source, path = make_model(TIMM__FREEZE_NORM=False), tmp_path / "model.pth"
    assert any(name.endswith("num_batches_tracked") for name in source.state_dict())
    torch.save({"model": source.state_dict()}, path)
    frozen = make_model(TIMM__FREEZE_NORM=True)
    load_weights(frozen, config_with(path))
    assert not differing(frozen, source)


def test_a_checkpoint_with_nothing_in_common_is_an_error(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="nothing in common"):
        load_weights(make_model(), config_with(path))


@pytest.mark.parametrize(
    ("place", "name", "message"),
    [
        ("model", "model_final_83d103.pkl", "Mask2Former's model zoo.*Swin-B"),
        ("audio", "vggish-10086976.pth", "torchvggish"),
        ("clip", "ViT-L-14-336px.pt", "OpenAI"),
        ("model", "mine.pth", "mine.pth"),
    ],
)
def test_a_missing_file_is_named_with_its_origin_before_anything_is_built(place, name, message):
    with pytest.raises(FileNotFoundError, match=message) as error:
        check_weight_files(config_with(**{place: f"weights/{name}"}))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_parts_files_may_be_missing_where_the_checkpoint_holds_the_part(source, tmp_path):
    whole, head = tmp_path / "whole.pth", tmp_path / "head.pth"
    torch.save({"model": source.state_dict()}, whole)
    torch.save({"model": source.sem_seg_head.state_dict(prefix="sem_seg_head.")}, head)
    check_weight_files(config_with(whole, "nowhere/vggish.pth", "nowhere/clip.pt"))
    with pytest.raises(FileNotFoundError, match="vggish"):
        check_weight_files(config_with(head, "nowhere/vggish.pth"))
    shutil.copy(whole, tmp_path / "clip.pt")
    check_weight_files(config_with(head, "", tmp_path / "clip.pt"))


def test_the_log_mel_encoder_is_part_of_a_checkpoint(tmp_path):
    encoder = build_audio_encoder(small_config())
    state = {f"audio_encoder.{name}": x for name, x in encoder.state_dict().items()}
    path = tmp_path / "encoder.pth"
    torch.save(state, path)
    model = nn.Module()
    model.audio_encoder = build_audio_encoder(small_config())
    load_weights(model, config_with(audio=path))
    assert not differing(model.audio_encoder, encoder)
