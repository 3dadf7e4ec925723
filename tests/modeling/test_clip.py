"""The frozen CLIP: its architecture, embeddings and cache, and that it is never trained."""

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
import torchvision
from detectron2.config import get_cfg

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.modeling import clip as clip_module
from ovavss_d2.modeling.clip import PROMPTS, FrozenClip, architecture, build_clip
from ovavss_d2.modeling.embedding_cache import EmbeddingCache
from tests.helpers.paths import FIXTURES
from tests.helpers.tiny_clip import ARCHITECTURE, tiny_clip, write_architecture

ORACLE_PROMPTS = FIXTURES / "oracle" / "vild_templates.json"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(built):
    return copy.deepcopy(built)  # some tests change its weights


def test_the_prompts_are_the_published_ones():
    assert list(PROMPTS) == json.loads(ORACLE_PROMPTS.read_text())


def test_a_name_is_the_normalized_mean_of_its_normalized_prompts(clip):
    tokens = open_clip.SimpleTokenizer(context_length=32)(
        [p.format("emergency-car") for p in PROMPTS]
    )
    expected = clip.model.encode_text(tokens, normalize=True).mean(0)
    ours = clip.encode_text(["cat", "emergency-car"])
    assert torch.allclose(ours[1], F.normalize(expected, dim=0), atol=1e-6)
    assert torch.allclose(ours.norm(dim=-1), torch.ones(2))


def test_long_names_and_many_names_do_not_change_a_name(clip):
    alone = clip.encode_text(["dog"])
    names = ["a very very long name of a thing " * 2, *map(str, range(20)), "dog"]
    clip.encode_text(names[:-1])
    separate = clip.encode_text(names)
    clip.model.load_state_dict(clip.model.state_dict())  # drops what is in memory
    together = clip.encode_text(names)
    assert torch.allclose(together[-1], alone[0], atol=1e-6)
    assert torch.allclose(separate, together, atol=1e-6)


def test_a_name_that_clip_would_cut_is_refused(clip):
    fits = "dog " * (32 - 2 - len(clip.tokenizer.encode(max(PROMPTS, key=len).format(""))))
    clip.encode_text([fits])
    with pytest.raises(ValueError, match="'dog dog.* has 33 tokens .* CLIP reads 32; shorten it"):
        clip.encode_text(["cat", fits + "dog"])


def counted(clip):
    """The names of each call that computes embeddings."""
    calls, embed = [], clip._embed
    clip._embed = lambda names: calls.append(names) or embed(names)
    return calls


def test_a_name_is_computed_once_until_the_weights_change(clip):
    calls = counted(clip)
    first = clip.encode_text(["cat", "dog", "cat"])
    clip.encode_text(["dog"])
    assert calls == [["cat", "dog"]] and torch.equal(first[0], first[2])
    state = {name: value + 0.1 for name, value in clip.state_dict().items()}
    torch.nn.Sequential(clip).load_state_dict({f"0.{name}": value for name, value in state.items()})
    assert not torch.allclose(clip.encode_text(["dog"])[0], first[1])


def test_it_never_trains(clip):
    torch.nn.Sequential(clip).train()
    assert not any(module.training for module in clip.modules())
    assert not any(p.requires_grad for p in clip.parameters())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    assert not clip.encode_images(images).requires_grad
    assert not clip.encode_text(["cat"]).requires_grad


def test_images_are_normalized_with_clips_statistics(clip):
    images = torch.rand(2, 3, clip.image_size, clip.image_size)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    by_hand = torchvision.transforms.functional.normalize(images, mean, std)
    expected = clip.model.encode_image(by_hand, normalize=True)
    assert torch.allclose(clip.encode_images(images), expected, atol=1e-6)
    assert expected.shape == (2, clip.embed_dim)


def test_quick_gelu_is_on_unless_the_file_says_otherwise(tmp_path):
    assert architecture(write_architecture(tmp_path))["quick_gelu"] is True
    assert architecture(write_architecture(tmp_path, quick_gelu=False))["quick_gelu"] is False
    assert architecture("ViT-S-32-alt")["quick_gelu"] is True


def test_a_config_with_a_resnet_builds_it(tmp_path):
    tower = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.MODEL.CLIP.ARCHITECTURE = write_architecture(tmp_path, vision_cfg=tower)
    clip = FrozenClip(cfg)
    assert clip.image_size == 64
    assert clip.encode_images(torch.rand(1, 3, 64, 64)).shape == (1, ARCHITECTURE["embed_dim"])
    assert all(name.startswith("model.") for name in clip.state_dict())


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("no-such-clip", None, ValueError, "is unknown"),
        ("", None, ValueError, "is unknown"),
        ("hf-hub:none/none", None, ValueError, "is unknown"),
        ("local-dir:/tmp", None, ValueError, "is unknown"),
        (
            "timm.json",
            json.dumps({**ARCHITECTURE, "vision_cfg": {"timm_model_name": "hf-hub:a/b"}}),
            ValueError,
            "'hf-hub:a/b', which timm does not know",
        ),
        ("text.json", json.dumps({**ARCHITECTURE, "text_cfg": 1}), ValueError, "lacks embed_dim"),
        ("missing.json", None, FileNotFoundError, "no CLIP architecture file"),
        ("broken.json", "{", ValueError, "broken JSON"),
        ("deep.json", "[" * 100_000, ValueError, "broken JSON"),
        ("other.json", '{"a": 1}', ValueError, "lacks embed_dim"),
        ("list.json", "[]", ValueError, "lacks embed_dim"),
        ("flat.json", json.dumps({**ARCHITECTURE, "embed_dim": 0}), ValueError, "embed_dim is 0"),
        ("inner.json", '{"model_cfg": []}', ValueError, "lacks embed_dim"),
        (
            "deep.json",
            json.dumps({**ARCHITECTURE, "text_cfg": {"layers": 10**30}}),
            ValueError,
            "layers is 1e.30, expected 1 to 500",
        ),
        ("own.json", json.dumps({**ARCHITECTURE, "custom_text": True}), ValueError, "text tower"),
    ],
)
def test_a_wrong_architecture_is_reported_in_one_line(tmp_path, name, content, error, message):
    if name.endswith(".json"):
        name = str(tmp_path / name)
    if content is not None:
        Path(name).write_text(content)
    with pytest.raises(error, match=message) as raised:
        architecture(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("changes", [{"embed_dim": "x"}, {"other": 1}])
def test_an_architecture_that_no_clip_can_have_is_one_line(tmp_path, changes):
    with pytest.raises(ValueError, match="no CLIP can be built from MODEL.CLIP") as error:
        build_clip(write_architecture(tmp_path, **changes))
    assert "\n" not in str(error.value)


def cached_clip(folder, cache):
    clip = tiny_clip(folder)
    clip.cache = EmbeddingCache(cache)
    return clip


def test_another_run_finds_the_embeddings_on_disk(tmp_path):
    first = cached_clip(tmp_path, tmp_path / "cache").encode_text(["cat", "dog"])
    again = cached_clip(tmp_path, tmp_path / "cache")
    calls = counted(again)
    assert torch.equal(again.encode_text(["dog", "cat"]), first[[1, 0]]) and not calls
    again.encode_text(["cat", "cow"])
    assert calls == [["cow"]]


def test_embeddings_of_other_weights_prompts_or_models_are_not_found(tmp_path, monkeypatch):
    clip = cached_clip(tmp_path, tmp_path / "cache")
    first = clip.encode_text(["cat"])
    state = copy.deepcopy(clip.state_dict())
    clip.load_state_dict({**state, "model.text_projection": -state["model.text_projection"]})
    assert not torch.allclose(clip.encode_text(["cat"]), first)
    clip.load_state_dict({**state, "model.visual.proj": state["model.visual.proj"] + 1})
    assert torch.equal(clip.encode_text(["cat"]), first)  # the image encoder does not matter
    assert len(list((tmp_path / "cache").iterdir())) == 2
    monkeypatch.setattr(clip_module, "PROMPTS", ("a sound of {}",))
    clip.load_state_dict(state)
    assert not torch.allclose(clip.encode_text(["cat"]), first)
    other = cached_clip(tmp_path, tmp_path / "cache")
    other.description = {"heads": 1}
    other.encode_text(["cat"])
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_half_precision_is_used_where_the_device_has_it(clip, monkeypatch):
    images = torch.rand(3, 3, 32, 32)
    exact = clip.encode_images(images)
    clip.precision = "half"
    monkeypatch.setattr(clip_module, "half_type", lambda device: torch.bfloat16)
    rounded = clip.encode_images(images)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert torch.allclose(rounded, exact, atol=0.05)
    monkeypatch.setattr(clip_module, "half_type", lambda device: None)
    assert torch.equal(clip.encode_images(images), exact)


def test_an_unknown_precision_is_refused(clip):
    with pytest.raises(ValueError, match="'int8', expected one of float32, half"):
        FrozenClip(model=clip.model, tokenizer=None, precision="int8")
