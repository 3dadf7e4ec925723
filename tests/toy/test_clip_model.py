"""The toy world's stand-in for CLIP: its crops, its masks, its loss and its files."""

import json

import numpy as np
import open_clip
import pytest
import torch

from ovavss_d2.modeling.clip import FrozenClip, build_clip
from ovavss_d2.modeling.text_classifier import CropClassifier
from ovavss_d2.toy import clip_model
from ovavss_d2.toy.masks import bare_masks, rough_masks
from ovavss_d2.vocabulary import TOY_NAMES


@pytest.fixture(scope="module")
def pictures():
    return clip_model.draw_pictures(np.random.default_rng(0), 30)


def perfect_masks(pictures):
    index, classes = pictures.objects.unbind(1)
    return (pictures.ids[index] == classes[:, None, None]).float()


def test_pictures_hold_all_classes_also_novel_ones(pictures):
    assert pictures.objects[:, 1].unique().numel() > 25
    assert perfect_masks(pictures).flatten(1).any(1).all()


def test_rough_masks_lie_about_the_object_and_are_never_empty(pictures):
    masks = perfect_masks(pictures)
    rough = rough_masks(masks)
    assert rough.shape == masks.shape
    assert rough.min() >= 0 and rough.max() <= 1
    binary = (rough > 0.5).float()
    assert binary.flatten(1).any(1).all()
    overlap = (binary * masks).sum((1, 2)) / torch.maximum(binary, masks).sum((1, 2))
    assert 0.6 < overlap.mean() < 0.95
    assert (overlap == 1).float().mean() < 0.5


def test_bare_masks_touch_no_object(pictures):
    index = pictures.objects[:, 0]
    bare, usable = bare_masks(perfect_masks(pictures), pictures.ids[index] == 0)
    assert usable.float().mean() > 0.7
    assert (bare * (pictures.ids[index] > 0)).sum() == 0


def test_crops_are_cut_as_the_classifier_cuts_them(pictures):
    seen = []

    class Spy:
        image_size = 64

        def encode_images(self, crops):
            seen.append(crops)
            return crops.new_zeros(len(crops), 2)

    masks = rough_masks(perfect_masks(pictures))[:1]
    logits = torch.special.logit(masks, eps=1e-6)[:, None]  # one query in one frame
    frame = pictures.frames[pictures.objects[0, 0]][None]
    CropClassifier(clip=Spy(), batch_size=8).similarities(logits, frame, torch.zeros(3, 2))
    crops = clip_model.cut(frame, masks, torch.tensor([False]))
    assert torch.allclose(crops, seen[0], atol=1e-4)


def logits_for(classes, right=8.0):
    """Logits of crops that know their captions, with 10 background names and 3 strangers."""
    logits = torch.zeros(len(classes), 41 + 10 + 3)
    for row, class_id in zip(logits, classes, strict=True):
        if class_id:
            row[[class_id - 1, 30 + (class_id - 1) % 5, 35 + (class_id - 1) // 5]] = 2 * right
        row[41:51] = right
    return logits


def test_the_loss_is_small_for_right_captions_and_large_for_wrong_ones():
    classes = torch.tensor([1, 17, 0, 30])
    right = clip_model.contrastive_loss(logits_for([1, 17, 0, 30]), classes)
    for wrong in ([2, 17, 0, 30], [1, 17, 4, 30], [0, 17, 0, 30]):
        assert clip_model.contrastive_loss(logits_for(wrong), classes) > right + 1
    assert right < 4


def test_it_is_written_in_open_clips_form_and_loads_through_the_code_for_the_real_one(tmp_path):
    clip_model.train_toy_clip(tmp_path, steps=3, pictures=6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy_clip.json", "toy_clip.pt"]
    weights = torch.load(tmp_path / "toy_clip.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    model, tokenizer = build_clip(str(tmp_path / "toy_clip.json"))
    model.load_state_dict(weights)
    clip = FrozenClip(
        model=model,
        tokenizer=tokenizer,
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
    )
    assert clip.encode_text(TOY_NAMES).shape == (30, 64)
    assert clip.encode_images(torch.rand(2, 3, 64, 64)).shape == (2, 64)
    config = json.loads((tmp_path / "toy_clip.json").read_text())
    assert weights["logit_scale"].exp().item() == pytest.approx(100, rel=1e-4)
    assert config["text_cfg"]["context_length"] == len(weights["positional_embedding"])


def test_open_clips_own_factory_takes_the_files(tmp_path):
    clip_model.train_toy_clip(tmp_path, steps=2, pictures=4)
    open_clip.add_model_config(tmp_path / "toy_clip.json")
    model = open_clip.create_model("toy_clip", pretrained=str(tmp_path / "toy_clip.pt"))
    kept = torch.load(tmp_path / "toy_clip.pt", weights_only=True)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in kept.items())


def test_finished_weights_are_kept(tmp_path):
    for name in ("toy_clip.json", "toy_clip.pt"):
        (tmp_path / name).write_text("mine")
    clip_model.train_toy_clip(tmp_path, steps=2, pictures=4)
    assert (tmp_path / "toy_clip.pt").read_text() == "mine"
