"""Our network gives the released implementation's numbers, stage by stage, from the same weights.

Each stage gets the results of our previous stage, so errors add up. R50 is accelerated, Swin-B is
plain PyTorch.
"""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

from ovavss_d2.config import load_config
from ovavss_d2.modeling.audio_encoder import build_audio_encoder
from ovavss_d2.modeling.backbone import TimmBackbone
from ovavss_d2.modeling.mask_decoder import AudioConditionedMaskDecoder, AudioVisualHead
from ovavss_d2.modeling.ops.accelerate import accelerate
from ovavss_d2.weights.checkpoint import OVAVSSCheckpointer
from ovavss_d2.weights.layouts import AUDIO_LAYERS
from tests.helpers import full_size, parity

MODELS = parity.oracle_files("ovavss_*_oracle_seed*.npz")
CHANNELS = 8  # the oracle holds the first channels of each map
# One logit behind Swin-B's attention masks is less than 5e-6 from zero, so rounding decides its
# sign, and with it a bit of the mask: processors differ. The next logit is 2e-5 from zero.
SHIFTS = (0.0, -1e-5, 1e-5)
each_model = pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)


@functools.cache
def _network(path):
    cfg = parity.oracle_config(path)
    backbone = parity.fill(TimmBackbone(cfg, None), path, "backbone.", "backbone.")
    head = AudioVisualHead(cfg, backbone.output_shape())
    parity.fill(head, path, "sem_seg_head.", "sem_seg_head.")
    if "r50" in path.stem:
        accelerate(nn.ModuleList([backbone, head]))
    return cfg, backbone, head


@functools.cache
@torch.no_grad()
def _decoder_inputs(path):
    """The mask decoder's inputs, and {oracle's name: our array} for every stage before it."""
    arrays = parity.load_arrays(path)
    cfg, backbone, head = _network(path)
    stages = _sound(cfg, path, arrays)
    features = backbone(parity.normalized_frames(cfg, arrays["frames"]))
    stages |= {f"feat_{name}": x[:, :CHANNELS] for name, x in features.items()}
    mask_features, multi_scale, audio = head.pixel_decoder(features, stages["vggish"])
    stages |= {"mask_features": mask_features[:, :CHANNELS], "pixdec_audio": audio}
    stages |= {f"multi_scale_{i}": x[:, :CHANNELS] for i, x in enumerate(multi_scale)}
    return (mask_features, multi_scale, audio), stages


@functools.cache
@torch.no_grad()
def _stages(path, shift=0.0):
    """{oracle's name: our array} for every stage before the classifier.

    The logits that become attention masks are shifted, see `SHIFTS`.
    """
    inputs, stages = _decoder_inputs(path)
    decoder, allowed = _network(path)[2].predictor, AudioConditionedMaskDecoder._allowed
    decoder._allowed = lambda masks, shape: allowed(masks + shift, shape)
    outputs = decoder(*inputs, num_clips=1)
    first = outputs["aux_outputs"][0]
    return stages | {
        "aux0_logits": first["pred_logits"],
        "aux0_masks": first["pred_masks"],
        "pred_logits": outputs["pred_logits"],
        "pred_masks": outputs["pred_masks"],
    }


def _sound(cfg, path, arrays):
    encoder = build_audio_encoder(cfg)
    parity.fill(encoder, path, "audio_encoder.", "audio_encoder.")
    waveforms = parity.released_waveforms(arrays["audio"], len(arrays["frames"]))
    return {"log_mel": encoder.log_mel(waveforms), "vggish": encoder(waveforms)}


def _check(path, names, shift=0.0):
    stages = _stages(path, shift)
    assert set(names) <= set(stages)
    parity.assert_parity({name: stages[name] for name in names}, parity.load_arrays(path))


@each_model
def test_log_mel_and_vggish_equal_the_oracle(path):
    _check(path, ["log_mel", "vggish"])


@each_model
def test_backbone_maps_equal_the_oracle(path):
    _check(path, ["feat_res2", "feat_res3", "feat_res4", "feat_res5"])


@each_model
def test_pixel_decoder_equals_the_oracle(path):
    maps = ["multi_scale_0", "multi_scale_1", "multi_scale_2"]
    _check(path, ["pixdec_audio", "mask_features", *maps])


@each_model
def test_first_prediction_equals_the_oracle(path):
    _check(path, ["aux0_logits", "aux0_masks"])


@each_model
def test_last_prediction_equals_the_oracle(path):
    """With one of the signs of the logit that rounding decides."""
    for shift in SHIFTS[:-1]:
        try:
            return _check(path, ["pred_logits", "pred_masks"], shift)
        except AssertionError:
            continue
    _check(path, ["pred_logits", "pred_masks"], SHIFTS[-1])


@each_model
def test_two_clips_in_a_batch_give_the_numbers_of_one(path):
    cfg, _, head = _network(path)
    arrays, stages = parity.load_arrays(path), _stages(path)
    small = {name: (2, s.channels, 64 // s.stride, 96 // s.stride) for name, s in _shapes(path)}
    torch.manual_seed(0)
    features = {name: torch.randn(shape) for name, shape in small.items()}
    audio = stages["vggish"][: len(arrays["frames"])][:2]
    with torch.no_grad():
        alone = head(features, audio, num_clips=1)
        twice = head(
            {name: x.repeat(2, 1, 1, 1) for name, x in features.items()},
            audio.repeat(2, 1),
            num_clips=2,
        )
    for clip in twice["pred_masks"]:
        assert parity.relative_error(clip, alone["pred_masks"][0].numpy()) < 1e-4


@pytest.mark.parametrize("path", MODELS[:1], ids=lambda path: path.stem)
def test_training_free_masks_equal_those_of_the_decoder_without_its_audio(path, tmp_path):
    """The decoder is the one that the oracle proves, with its audio layers bypassed."""
    state = parity.released_state(path, ["backbone.", "sem_seg_head."])
    torch.manual_seed(0)
    for name, size in {"weight": (81, 256), "bias": (81,)}.items():
        state[f"sem_seg_head.predictor.class_embed.{name}"] = torch.randn(size)
    coco = {name: x.numpy() for name, x in state.items() if not AUDIO_LAYERS.search(name)}
    cfg = load_config("zero_shot_R50.yaml")
    cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES = len(
        state["sem_seg_head.predictor.query_feat.weight"]
    )
    silent = nn.Module()
    silent.backbone = TimmBackbone(cfg, None)
    silent.sem_seg_head = AudioVisualHead(cfg, silent.backbone.output_shape())
    file = full_size.save(tmp_path / "coco.pkl", coco)
    OVAVSSCheckpointer(silent, cfg=cfg, trainer=nn.Linear(1, 1)).load(file)
    _, backbone, head = _network(path)
    audio_head = copy.deepcopy(head)
    audio_head.pixel_decoder.transformer.fusion = None
    audio_head.predictor.audio_queries = audio_head.predictor.time_encoding = False
    frame = parity.normalized_frames(cfg, parity.load_arrays(path)["frames"][:1])
    with torch.no_grad():
        expected = audio_head(backbone(frame), torch.randn(1, 128), num_clips=1)
        found = silent.sem_seg_head(silent.backbone(frame), torch.zeros(1, 128), num_clips=1)
    assert parity.relative_error(found["pred_masks"], expected["pred_masks"]) < parity.TOLERANCE
    logits = found["pred_queries"] @ state["sem_seg_head.predictor.class_embed.weight"].T
    logits += state["sem_seg_head.predictor.class_embed.bias"]
    torch.testing.assert_close(found["pred_logits"], logits)


def _shapes(path):
    return _network(path)[1].output_shape().items()


def test_a_perturbed_oracle_is_noticed():
    arrays = parity.load_arrays(MODELS[0])
    stages = {name: torch.as_tensor(arrays[name]) for name in ("vggish", "pred_masks")}
    parity.assert_parity(stages, arrays)
    for name in stages:
        perturbed = {**arrays, name: arrays[name] * np.float32(1 + 2e-4)}
        with pytest.raises(AssertionError, match=name):
            parity.assert_parity(stages, perturbed)


def test_an_empty_oracle_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="OVAVSS_ORACLE"):
        parity.oracle_files("ovavss_*.npz", tmp_path)
