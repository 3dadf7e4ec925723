"""Checkpoints of every layout load completely, or the error is one line."""

import logging
import re
import resource
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from ovavss_d2.modeling.audio_encoder import build_audio_encoder
from ovavss_d2.weights.checkpoint import OVAVSSCheckpointer, check_weight_files, load_weights
from tests.helpers.full_size import save
from tests.helpers.small import small_config
from tests.helpers.small_weights import (
    config_with,
    differing,
    make_model,
    released_state,
    to_release,
)


@pytest.fixture
def source():
    return make_model()


def test_the_old_name_of_the_text_head_is_recognized(source, tmp_path):
    state = {name.replace("text_head", "query_head"): x for name, x in source.state_dict().items()}
    assert len(state.keys() - source.state_dict().keys()) == 2
    model = make_model()
    load_weights(model, config_with(save(tmp_path / "old.pth", {"model": state})))
    assert not differing(model, source) and model.classifier.choice == "ensemble"


def test_training_starts_from_a_coco_pickle_and_inference_does_not(source, tmp_path):
    state = {
        name: x.numpy()
        for name, x in released_state(source).items()
        if name.startswith(("backbone.", "sem_seg_head."))
        and not re.search("audio|b_attn|v2a|a2a|class_embed", name)
    }
    state["sem_seg_head.predictor.class_embed.weight"] = np.zeros((81, 32), np.float32)
    state["sem_seg_head.predictor.class_embed.bias"] = np.zeros(81, np.float32)
    path = save(tmp_path / "model_final.pkl", state)
    model = make_model()
    checkpointer = OVAVSSCheckpointer(model, cfg=config_with(), trainer=nn.Linear(1, 1))
    checkpointer.resume_or_load(path, resume=False)
    assert not differing(model, source, "backbone.")
    assert not differing(model, source, "sem_seg_head.predictor.mask_embed")
    assert differing(model, source, "sem_seg_head.predictor.class_embed")
    assert model.classifier.choice == "ensemble"
    with pytest.raises(ValueError, match="missing"):
        load_weights(make_model(), config_with(path))


SILENT = {"FUSION__ENABLED": False, "MASK_FORMER__AUDIO_QUERIES": False}


@pytest.mark.parametrize("own", [False, True], ids=["COCO", "own"])
def test_a_model_without_query_audio_takes_the_class_layer_of_coco(tmp_path, own):
    source = make_model(head=False, MASK_FORMER__NUM_CLASSES=80, **SILENT)
    weights = source.state_dict()
    state = {k: x for k, x in weights.items() if k.startswith(("backbone.", "sem_seg_head."))}
    path = save(tmp_path / "coco.pth", {"model": state if own else to_release(state)})
    model = make_model(head=False, MASK_FORMER__NUM_CLASSES=80, **SILENT)
    model.audio_encoder = nn.Module()
    load_weights(model, config_with(path))
    assert not differing(model, source, "backbone.")
    assert not differing(model, source, "sem_seg_head.")
    other = make_model(**SILENT)
    checkpointer = OVAVSSCheckpointer(other, cfg=config_with(), trainer=nn.Linear(1, 1))
    checkpointer.resume_or_load(path, resume=False)  # for training
    assert not differing(other, source, "sem_seg_head.predictor.mask_embed")
    assert len(other.sem_seg_head.predictor.class_embed.bias) == 2


def test_own_checkpoints_resume_without_the_files_of_parts(source, tmp_path):
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


def test_parts_that_the_checkpoint_lacks_come_from_their_own_files(source, tmp_path):
    audio = save(tmp_path / "vggish.pth", source.audio_encoder.state_dict())
    clip = save(tmp_path / "clip.pt", source.classifier.clip.model.state_dict())
    rest = ("sem_seg", "backbone", "classifier.text")
    state = {name: x for name, x in source.state_dict().items() if name.startswith(rest)}
    model = make_model()
    load_weights(model, config_with(save(tmp_path / "main.pth", state), audio, clip))
    assert not differing(model, source)
    assert model.classifier.choice == "ensemble"


@pytest.mark.parametrize("form", ["safetensors", "torchscript"])
def test_clip_weights_may_be_safetensors_or_openais_archive(source, tmp_path, form):
    if form == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "clip.safetensors"
        save_file(source.classifier.clip.model.state_dict(), path)
    else:
        path = tmp_path / "ViT.pt"
        torch.jit.save(torch.jit.trace(source.classifier.clip.model, torch.zeros(1, 3)), path)
    model = make_model()
    load_weights(model, config_with(clip=path))
    assert not differing(model, source, "classifier.clip.model.weight")


def test_the_file_of_a_part_is_recognized_as_model_weights(source, tmp_path):
    path = save(tmp_path / "vggish.pth", source.audio_encoder.state_dict())
    with pytest.raises(ValueError, match="MODEL.AUDIO.WEIGHTS"):
        load_weights(make_model(), config_with(path))


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
    path = save(tmp_path / "model.pth", {"model": source.state_dict()})
    with pytest.raises(ValueError, match=message) as error:
        load_weights(make_model(**changes), config_with(path))
    assert "\n" not in str(error.value)


def test_batch_norms_that_were_trained_can_be_frozen(tmp_path):
    source = make_model(TIMM__FREEZE_NORM=False)
    assert any(name.endswith("num_batches_tracked") for name in source.state_dict())
    path = save(tmp_path / "model.pth", {"model": source.state_dict()})
    frozen = make_model(TIMM__FREEZE_NORM=True)
    load_weights(frozen, config_with(path))
    assert not differing(frozen, source)


def test_a_checkpoint_with_nothing_in_common_is_an_error(tmp_path):
    path = save(tmp_path / "other.pth", {"layers.0.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="nothing in common"):
        load_weights(make_model(), config_with(path))


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("model", "model_final_83d103.pkl", "is mask2former_swin_base"),
        ("audio", "vggish-10086976.pth", "is vggish"),
        ("clip", "ViT-L-14-336px.pt", "is openai"),
        ("model", "mine.pth", "mine.pth"),
    ],
)
def test_a_missing_file_is_named_with_its_name_before_anything_is_built(key, name, message):
    with pytest.raises(FileNotFoundError, match=message) as error:
        check_weight_files(config_with(**{key: f"weights/{name}"}))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_the_file_of_a_part_may_be_missing_if_the_checkpoint_holds_it(source, tmp_path):
    whole = save(tmp_path / "whole.pth", {"model": source.state_dict()})
    head = save(tmp_path / "head.pth", source.sem_seg_head.state_dict(prefix="sem_seg_head."))
    check_weight_files(config_with(whole, "nowhere/vggish.pth", "nowhere/clip.pt"))
    with pytest.raises(FileNotFoundError, match="vggish"):
        check_weight_files(config_with(head, "nowhere/vggish.pth"))
    shutil.copy(whole, tmp_path / "clip.pt")
    check_weight_files(config_with(head, "", tmp_path / "clip.pt"))


def test_a_part_loads_without_a_checkpoint(tmp_path):
    encoder = build_audio_encoder(small_config())
    state = {f"audio_encoder.{name}": x for name, x in encoder.state_dict().items()}
    model = nn.Module()
    model.audio_encoder = build_audio_encoder(small_config())
    load_weights(model, config_with(audio=save(tmp_path / "encoder.pth", state)))
    assert not differing(model.audio_encoder, encoder)


def test_a_weight_that_is_not_finite_is_named(source, tmp_path):
    state = source.state_dict()
    for value in (float("nan"), float("inf"), 1e300):  # the last one is infinite as float32
        changed = state["backbone.net.conv1.weight"].double()
        changed[-1, -1, -1, -1] = value
        changed = {**state, "backbone.net.conv1.weight": changed}
        path = save(tmp_path / "model.pth", {"model": changed})
        with pytest.raises(
            ValueError, match="NaN or infinity, such as 'backbone.net.conv1.weight'"
        ):
            load_weights(make_model(), config_with(path))


@pytest.fixture
def trained(source, tmp_path):
    """A folder with the checkpoints of iterations 1 and 3, and how to resume from it."""
    checkpointer = OVAVSSCheckpointer(source, str(tmp_path), cfg=config_with())
    for iteration in (1, 3):
        checkpointer.save(f"model_{iteration:07}", iteration=iteration)

    def resume():
        checkpointer = OVAVSSCheckpointer(make_model(), str(tmp_path), cfg=config_with())
        content = checkpointer.resume_or_load("", resume=True)
        return content.get("iteration"), checkpointer.has_checkpoint()

    return tmp_path, resume


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "empty": lambda folder: (folder / "model_0000003.pth").write_bytes(b""),
    "cut": lambda folder: cut(folder / "model_0000003.pth"),
    "missing": lambda folder: (folder / "model_0000003.pth").unlink(),
    "a folder": lambda folder: (folder / "last_checkpoint").write_text("."),
}
DAMAGED_TAG = {
    "empty": lambda tag: tag.write_text(""),
    "binary": lambda tag: tag.write_bytes(bytes(range(256))),
    "missing": lambda tag: tag.unlink(),
    "other": lambda tag: tag.write_text("model_0000009.pth"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_training_resumes_from_the_newest_whole_checkpoint(trained, damage, caplog):
    folder, resume = trained
    assert resume() == (3, True)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    DAMAGE[damage](folder)
    assert resume() == (3 if damage == "a folder" else 1, True)
    (line,) = [record for record in caplog.records if "resuming from" in record.getMessage()]
    assert "\n" not in line.getMessage()


@pytest.mark.parametrize("damage", DAMAGED_TAG)
def test_the_newest_checkpoint_is_found_without_its_name(trained, damage, caplog):
    folder, resume = trained
    (folder / "model_final.pth").write_bytes(b"")
    torch.save({"model": make_model().state_dict()}, folder / "converted.pth")
    DAMAGED_TAG[damage](folder / "last_checkpoint")
    assert resume() == (3, True)
    assert "model_0000003.pth', the newest whole checkpoint" in caplog.text


def test_damaged_checkpoints_alone_are_an_error(trained):
    folder, resume = trained
    for path in folder.glob("*.pth"):
        cut(path)
    with pytest.raises(ValueError, match="cannot resume: .*model_0000003.pth' is not a") as error:
        resume()
    assert "\n" not in str(error.value)
    (folder / "last_checkpoint").unlink()  # before the first checkpoint was complete
    assert resume() == (None, False)


def test_a_checkpoint_that_does_not_fit_on_the_disk_changes_nothing(trained, source):
    folder, resume = trained
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*model_0000005.pth"):
            OVAVSSCheckpointer(source, str(folder), cfg=config_with()).save("model_0000005")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
