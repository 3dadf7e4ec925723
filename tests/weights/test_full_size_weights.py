"""Published files at full size load completely into the model of their configuration."""

import logging

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY

from ovavss_d2.weights.checkpoint import OVAVSSCheckpointer, load_inference_config, load_weights
from tests.helpers import full_size
from tests.helpers.small_weights import to_release
from tests.helpers.tiny_world import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter.*")
CONFIGS = {"r50": f"{ROOT}/configs/ovavss_R50.yaml", "swinb": f"{ROOT}/configs/ovavss_swin.yaml"}


def config(size, model="", audio="", clip=""):
    options = ["MODEL.WEIGHTS", model, "MODEL.AUDIO.WEIGHTS", audio, "MODEL.CLIP.WEIGHTS", clip]
    return load_inference_config(CONFIGS[size], options)


def build(cfg, device="meta"):
    """The whole model; "meta" takes no memory, "cpu" is not initialized."""
    with torch.device("meta"):
        model = META_ARCH_REGISTRY.get("OVAVSS")(cfg)
    return model if device == "meta" else model.to_empty(device=device)


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_a_released_checkpoint_fills_the_whole_model(tmp_path, caplog, size):
    cfg = config(size, full_size.write(tmp_path, "released", size))
    model = build(cfg)
    with caplog.at_level(logging.INFO):
        load_weights(model, cfg)
    assert "(released OV-AVSS checkpoint)" in caplog.text
    stay = [r.getMessage() for r in caplog.records if "keep their initial values" in r.getMessage()]
    assert len(stay) == 1 and stay[0].endswith(": classifier.text_head (5)")
    assert "but not in the model" not in caplog.text
    assert cfg.TEST.SCORING == cfg.MODEL.AUDIO.PAIRING == "released"
    assert model.classifier.choice == "crop"


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_mask2former_and_the_files_of_parts_fill_all_but_new_layers(tmp_path, caplog, size):
    audio, clip, path = (full_size.write(tmp_path, x, size) for x in ("AUDIO", "CLIP", "COCO"))
    cfg = config(size, audio=audio, clip=clip)
    model = build(cfg)
    checkpointer = OVAVSSCheckpointer(model, cfg=cfg, trainer=torch.nn.Linear(1, 1))
    with caplog.at_level(logging.INFO):
        checkpointer.resume_or_load(path, resume=False)
    lines = [r.getMessage() for r in caplog.records]
    loaded = [line for line in lines if line.startswith("Loaded from")]
    assert [line.split("(")[1].split(")")[0] for line in loaded] == [
        "Mask2Former checkpoint",
        "weights of the audio encoder",
        "weights of CLIP",
    ]
    assert "but not in the model" not in caplog.text
    (stay,) = [line for line in lines if "keep their initial values" in line]
    # the text head, early fusion, and query audio
    assert stay.endswith(
        "classifier.text_head (5), sem_seg_head.pixel_decoder (18), sem_seg_head.predictor (73)"
    )


ZERO_SHOT = {"r50": "zero_shot_R50.yaml", "swinb": "zero_shot_swin.yaml"}
COMBINED = {"r50": "combined_R50.yaml", "swinb": "combined_swin.yaml"}


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_mask2former_fills_the_whole_localizer_of_the_training_free_model(tmp_path, caplog, size):
    path, clip = (full_size.write(tmp_path, kind, size) for kind in ("COCO", "CLIP"))
    options = ["MODEL.WEIGHTS", path, "MODEL.CLIP.WEIGHTS", clip, "MODEL.AUDIO_CLASSIFIER.NAME", ""]
    cfg = load_inference_config(ZERO_SHOT[size], options)
    load_weights(build(cfg), cfg)
    assert "keep their initial values" not in caplog.text
    assert "but not in the model" not in caplog.text


@pytest.mark.parametrize("size", ["r50", "swinb"])
def test_mask2former_fills_the_silent_localizer_of_a_released_model(tmp_path, caplog, size):
    path, silent = (full_size.write(tmp_path, kind, size) for kind in ("released", "COCO"))
    options = ["MODEL.WEIGHTS", path, "MODEL.SILENT_LOCALIZER.WEIGHTS", silent]
    cfg = load_inference_config(COMBINED[size], [*options, "MODEL.AUDIO_CLASSIFIER.WEIGHTS", ""])
    model = build(cfg)
    with pytest.raises(
        ValueError, match=r"audio_classifier are .* MODEL\.AUDIO_CLASSIFIER\.WEIGHTS"
    ):
        load_weights(model, cfg)
    caplog.clear()
    clap = model.audio_classifier.model.state_dict()
    clap = {name: torch.zeros(()).expand(x.shape) for name, x in clap.items()}
    sounds = full_size.save(tmp_path / "clap.pth", clap)
    cfg.merge_from_list(["MODEL.AUDIO_CLASSIFIER.WEIGHTS", sounds])
    load_weights(model, cfg)
    assert cfg.TEST.SCORING == "score" and cfg.MODEL.AUDIO.PAIRING == "released"
    (stay,) = [line for line in caplog.messages if "keep their initial values" in line]
    assert "silent_localizer" not in stay
    assert "but not in the model" not in caplog.text
    cfg = load_inference_config(COMBINED[size], [*options, "MODEL.SILENT_LOCALIZER.WEIGHTS", path])
    with pytest.raises(ValueError, match="belongs to another model"):
        load_weights(model, cfg)


def test_every_number_of_a_released_checkpoint_is_where_it_belongs(tmp_path):
    cfg = config("r50", full_size.write(tmp_path, "released"))
    model = build(cfg, "cpu")
    load_weights(model, cfg)
    held = {name: x for name, x in model.state_dict().items() if "text_head" not in name}
    theirs = to_release(held)
    assert theirs.keys() == full_size.released("r50").keys()
    assert [n for n, x in theirs.items() if not (x == full_size.number_for(n)).all()] == []


@pytest.mark.parametrize(("size", "other"), [("r50", "swinb"), ("swinb", "r50")])
def test_the_other_size_is_an_error_that_says_so(tmp_path, size, other):
    cfg = config(size, full_size.write(tmp_path, "released", other))
    with pytest.raises(ValueError, match="another (model|backbone)") as error:
        load_weights(build(cfg), cfg)
    assert "\n" not in str(error.value)
