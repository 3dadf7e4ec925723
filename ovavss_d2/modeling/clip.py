"""The frozen CLIP model (open_clip): embeddings of names and images.

In the shapes N counts images or crops, and `size` is the side of the image encoder's input.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import open_clip
import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn

from ovavss_d2.errors import BUILD_ERRORS, one_line, shortened
from ovavss_d2.files import read_json
from ovavss_d2.modeling.embedding_cache import EmbeddingCache, fingerprint
from ovavss_d2.vocabulary import PROMPTS

logger = logging.getLogger(__name__)

MAX_LOGIT_SCALE = 100.0  # the largest scale of cosines that CLIP was trained with
NAMES_PER_PASS = 16  # bounds the memory of the text encoder, and what an interruption loses
PRECISIONS = ("float32", "half")
MAX_LAYERS, MAX_SIZE = 500, 1_000_000  # of an architecture, far above those of real models


def architecture(name: str, weights: str = "") -> dict:
    """The arguments of `open_clip.CLIP`.

    Quick-GELU is as the pretrained tag says; without a tag it is on unless the file says otherwise.

    Args:
        name: one of open_clip's architectures, or the path of a JSON file in the same form, or in
            that of `open_clip_config.json` on model hubs.
        weights: a pretrained tag of open_clip, or anything else.

    Raises:
        FileNotFoundError: there is no such JSON file.
        ValueError: the architecture is unknown, is not that of an OpenAI-style CLIP, or does not
            fit the tag.
    """
    if name.endswith(".json"):
        config = _read(name)
        config = config.get("model_cfg", config)
    elif name.replace("/", "-") in open_clip.list_models():  # "hf-hub:..." would be downloaded
        config = open_clip.get_model_config(name)
    else:
        raise ValueError(
            f"MODEL.CLIP.ARCHITECTURE is '{name}', which is unknown; expected a name of "
            "open_clip.list_models() or a .json file"
        )
    towers = [config.get(k) for k in ("vision_cfg", "text_cfg")] if isinstance(config, dict) else []
    if not towers or "embed_dim" not in config or not all(isinstance(x, dict) for x in towers):
        raise ValueError(
            f"'{name}' lacks embed_dim, vision_cfg or text_cfg; expected an open_clip model config"
        )
    check_sizes(name, [*towers, {"embed_dim": config["embed_dim"]}])
    if config.get("custom_text") or "hf_model_name" in config["text_cfg"]:
        raise ValueError(
            f"CLIP architecture '{name}' has a custom text tower, expected an OpenAI-style CLIP"
        )
    tag = open_clip.get_pretrained_cfg(name, weights)
    quick_gelu = tag.get("quick_gelu", False) if tag else True
    if tag and config.get("quick_gelu", quick_gelu) != quick_gelu:
        raise ValueError(
            f"CLIP architecture '{name}' {'lacks' if quick_gelu else 'has'} quick GELU, and the "
            f"weights '{weights}' {'need' if quick_gelu else 'were trained without'} it; expected "
            f"'{name.removesuffix('-quickgelu')}'"
        )
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}  # never downloads
    backbone = vision.get("timm_model_name")
    if backbone is not None and not timm.is_model(backbone):
        raise ValueError(f"'{name}': timm_model_name is '{backbone}', which timm does not know")
    return {"quick_gelu": quick_gelu, **config, "vision_cfg": vision}


def check_sizes(name: str, towers: list[Any]) -> None:
    """Raise a ValueError for sizes that no model has, and that would take memory or time."""
    for tower in towers:
        for key, value in tower.items():
            limit = MAX_LAYERS if "layers" in key else MAX_SIZE
            for number in value if isinstance(value, list) else [value]:
                least = 1 if key in ("embed_dim", "layers", "width") else 0
                if isinstance(number, int | float) and not least <= number <= limit:
                    raise ValueError(
                        f"'{name}': {key} is {number:.4g}, expected {least} to {limit}"
                    )


def color_statistics(name: str, weights: str = "") -> dict[str, Sequence[float]]:
    """Mean and standard deviation of RGB in [0, 1] for CLIP; arguments as for `architecture`."""
    known = _read(name).get("preprocess_cfg") if name.endswith(".json") else None
    known = known or open_clip.get_pretrained_cfg(name, weights)
    statistics = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    for key in statistics:
        values: Any = known.get(key, statistics[key]) if isinstance(known, dict) else None
        try:
            red, green, blue = map(float, values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"'{name}': preprocess_cfg has no {key} of three numbers") from error
        statistics[key] = red, green, blue
    return statistics


def _read(path: str) -> dict:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"no CLIP architecture file at '{path}'; check MODEL.CLIP.ARCHITECTURE"
        )
    config = read_json(path, "check MODEL.CLIP.ARCHITECTURE")
    return config if isinstance(config, dict) else {}


def build_clip(name: str, weights: str = "") -> tuple[open_clip.CLIP, open_clip.SimpleTokenizer]:
    """Build a CLIP with random weights and its tokenizer; arguments as for `architecture`.

    open_clip's factory is not used because it would look for weights.
    """
    config = architecture(name, weights)
    length = config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    try:
        return open_clip.CLIP(**config), open_clip.SimpleTokenizer(context_length=length)
    except BUILD_ERRORS as error:
        raise ValueError(
            f"no CLIP can be built from MODEL.CLIP.ARCHITECTURE '{name}': "
            f"{shortened(one_line(error))}"
        ) from error


def half_type(device: torch.device) -> torch.dtype | None:
    """The 16-bit type in which a device computes faster than in float32, or None."""
    if device.type == "cuda":
        return torch.float16
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if fast else None


class FrozenClip(nn.Module):
    """CLIP as a fixed function from names and images to unit vectors; it is never trained.

    Attributes:
        model: the `open_clip.CLIP`.
        embed_dim: D.
        image_size: side of the image encoder's input in pixels.
    """

    mean: Tensor  # (3, 1, 1)
    std: Tensor
    _names: dict[str, Tensor]  # (D,) each
    _last: tuple[tuple[str, ...], Tensor] | None  # names and embeddings of the last call
    _key: str | None  # fingerprint of the text encoder

    @configurable
    def __init__(
        self,
        *,
        model: open_clip.CLIP,
        tokenizer: open_clip.SimpleTokenizer,
        precision: str = "float32",
        cache: EmbeddingCache | None = None,
        description: dict | None = None,
        mean: Sequence[float] = OPENAI_DATASET_MEAN,
        std: Sequence[float] = OPENAI_DATASET_STD,
    ) -> None:
        """
        Args:
            model: `open_clip.CLIP`.
            tokenizer: that of the model.
            precision: of the image encoder: "float32", or "half" where the device has it.
            cache: text embeddings on disk, in addition to those in memory.
            description: what text embeddings depend on besides the weights, for the cache.
            mean, std: of RGB in [0, 1].

        Raises:
            ValueError: there is no such precision.
        """
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(
                f"MODEL.CLIP.PRECISION is '{precision}', expected one of {', '.join(PRECISIONS)}"
            )
        self.precision, self.cache, self.description = precision, cache, description
        self.model = model.requires_grad_(False)
        self.tokenizer = tokenizer
        for name, values in ("mean", mean), ("std", std):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self._forget_names()
        self.model.register_load_state_dict_post_hook(self._forget_names)
        self.eval()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """Read MODEL.CLIP and MODEL.EMBEDDING_CACHE."""
        keys, folder = cfg.MODEL.CLIP, cfg.MODEL.EMBEDDING_CACHE
        model, tokenizer = build_clip(keys.ARCHITECTURE, keys.WEIGHTS)
        return {
            "model": model,
            "tokenizer": tokenizer,
            "precision": keys.PRECISION,
            "cache": EmbeddingCache(folder) if folder else None,
            "description": architecture(keys.ARCHITECTURE, keys.WEIGHTS),
            **color_statistics(keys.ARCHITECTURE, keys.WEIGHTS),
        }

    @property
    def embed_dim(self) -> int:
        return self.model.text_projection.shape[-1]

    @property
    def image_size(self) -> int:
        size = self.model.visual.image_size
        return size[0] if isinstance(size, tuple) else size

    def train(self, mode: bool = True) -> "FrozenClip":
        """Stay in evaluation mode, also inside a model in training mode."""
        return super().train(False)

    @torch.no_grad()
    def encode_text(self, names: Sequence[str]) -> Tensor:
        """Embed K names by the mean over the prompts: float32 (K, D) of unit length.

        Each name is computed once.

        Raises:
            ValueError: see `check_names`.
        """
        names = tuple(names)
        if self._last is None or self._last[0] != names:
            new = [name for name in dict.fromkeys(names) if name not in self._names]
            self.check_names(new)
            for start in range(0, len(new), NAMES_PER_PASS):
                part = new[start : start + NAMES_PER_PASS]
                self._names.update(zip(part, self._embed_or_read(part), strict=True))
            embeddings = torch.stack([self._names[name] for name in names])
            self._last = names, embeddings.to(self.mean.device)
        return self._last[1].to(self.mean.device)

    def check_names(self, names: Sequence[str]) -> None:
        """Check that the text encoder reads the names to their ends.

        Raises:
            ValueError: a name and its prompt have more tokens than the encoder's context.
        """
        for name in names:
            tokens = 2 + len(self.tokenizer.encode(max(PROMPTS, key=len).format(name)))
            if tokens > self.tokenizer.context_length:
                raise ValueError(
                    f"the name '{name[:40]}' ({len(name)} characters) has {tokens} tokens with its "
                    f"prompt, but CLIP reads {self.tokenizer.context_length}; shorten it"
                )

    def _embed_or_read(self, names: list[str]) -> Tensor:
        if self.cache is None:
            return self._embed(names).cpu()
        if self._key is None:
            text_encoder = {
                name: tensor
                for name, tensor in self.model.state_dict().items()
                if not name.startswith(("visual.", "logit_"))
            }
            facts = self.description, PROMPTS, open_clip.__version__
            self._key = fingerprint(text_encoder, *facts)
        items = [fingerprint({}, name) for name in names]

        def compute(indices: list[int]) -> Tensor:
            return self._embed([names[i] for i in indices])

        model = f"{self._key}-{self.mean.device.type}"
        return self.cache.lookup(model, items, self.embed_dim, compute)

    def _forget_names(self, *_: object) -> None:
        """Drop embeddings when weights are loaded: they belong to the previous ones."""
        self._names, self._last, self._key = {}, None, None

    def _embed(self, names: list[str]) -> Tensor:
        texts = [prompt.format(name) for name in names for prompt in PROMPTS]
        embeddings = self._encode(self.tokenizer(texts).to(self.mean.device)).float()
        return F.normalize(embeddings.unflatten(0, (len(names), len(PROMPTS))).mean(1), dim=-1)

    def _encode(self, tokens: Tensor) -> Tensor:
        """Encode tokens (K, context length) to (K, D), without the padding after the longest text.

        The causal attention never reaches the padding: the results are equal, several times faster.
        """
        length = int(tokens.argmax(1).max()) + 1  # the end of text is the highest token
        shorter = {
            "positional_embedding": self.model.positional_embedding[:length],
            "attn_mask": self.model.attn_mask[:length, :length],
        }
        inputs = {"image": None, "text": tokens[:, :length]}
        with torch.autocast(tokens.device.type, enabled=False):  # in full precision, once per name
            encoded = torch.func.functional_call(self.model, shorter, kwargs=inputs)
        return encoded["text_features"] if isinstance(encoded, dict) else encoded[1]

    @torch.no_grad()
    def encode_images(self, crops: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], (N, 3, size, size): float32 (N, D) of unit length."""
        with self.in_precision():
            embeddings = self.model.encode_image((crops - self.mean) / self.std)
        return F.normalize(embeddings.float(), dim=-1)

    def in_precision(self) -> AbstractContextManager:
        """Context in which the image encoder computes, see `precision`."""
        device = self.mean.device
        half = half_type(device) if self.precision == "half" else None
        return torch.autocast(device.type, dtype=half, enabled=half is not None)
