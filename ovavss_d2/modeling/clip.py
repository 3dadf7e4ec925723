"""The frozen CLIP model that knows the names (open_clip).

Shapes: N images or crops, K names, D embedding size, S image size of the tower.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import open_clip
import torch
import torch.nn.functional as F
from detectron2.config import configurable
from torch import Tensor, nn

from ovavss_d2.modeling.text_cache import TextCache, fingerprint
from ovavss_d2.vocabulary import PROMPTS

logger = logging.getLogger(__name__)

MAX_LOGIT_SCALE = 100.0  # the largest scale of cosines that CLIP was trained with
NAMES_PER_PASS = 16  # bounds the memory of the text tower
NAMES_PER_FILE = 1024  # of the cache on disk: a run that is cut short keeps what it has
PRECISIONS = ("float32", "half")


def architecture(name: str) -> dict:
    """Describe a CLIP model.

    Args:
        name: one of open_clip's architectures, or the path of a JSON file in the same form.

    Returns:
        The arguments of `open_clip.CLIP`; quick-GELU is on unless they say otherwise.

    Raises:
        FileNotFoundError: there is no such JSON file.
        ValueError: unknown architecture, or a file of another form.
    """
    config = _read(name) if name.endswith(".json") else open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f"CLIP architecture '{name}' is unknown: expected a name of open_clip.list_models() "
            "or a .json file"
        )
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise ValueError(
            f"'{name}' lacks embed_dim, vision_cfg or text_cfg: expected an open_clip model config"
        )
    if config.get("custom_text") or "hf_model_name" in config["text_cfg"]:
        raise ValueError(
            f"CLIP architecture '{name}' has a text tower of its own: expected an OpenAI-style CLIP"
        )
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}  # never downloads
    return {"quick_gelu": True, **config, "vision_cfg": vision}


def _read(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"no CLIP architecture file at '{path}'; check MODEL.CLIP.ARCHITECTURE"
        )
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"'{path}' is not valid JSON: {error}") from error


def build_clip(name: str) -> tuple[open_clip.CLIP, open_clip.SimpleTokenizer]:
    """Build an untrained CLIP of an `architecture`, and its tokenizer.

    The class is used directly because open_clip's factory would look for weights; those come with
    the model's checkpoint or from MODEL.CLIP.WEIGHTS.
    """
    config = architecture(name)
    length = config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    return open_clip.CLIP(**config), open_clip.SimpleTokenizer(context_length=length)


def half_type(device: torch.device) -> torch.dtype | None:
    """The 16-bit type that a device multiplies fast, None if it has none."""
    if device.type == "cuda":
        return torch.float16
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None


class FrozenClip(nn.Module):
    """CLIP as a fixed function from names and crops to unit vectors.

    It is never trained nor put in training mode.

    Attributes:
        model: the `open_clip.CLIP`.
        embed_dim: D.
        image_size: S.
    """

    mean: Tensor  # (3, 1, 1)
    std: Tensor
    _names: dict[str, Tensor]  # (D,) each
    _last: tuple[tuple[str, ...] | None, Tensor | None]  # what was asked for last, and the answer

    @configurable
    def __init__(
        self,
        *,
        model: open_clip.CLIP,
        tokenizer: Callable[[list[str]], Tensor],
        mean: Sequence[float],
        std: Sequence[float],
        precision: str = "float32",
        cache: TextCache | None = None,
        description: dict | None = None,
    ):
        """
        Args:
            model: `open_clip.CLIP`.
            tokenizer: callable, list of K texts to int64 (K, length).
            mean, std: of RGB in [0, 1], three numbers each.
            precision: of the image tower: "float32", or "half" where the device has it.
            cache: text embeddings on disk, None: in memory alone.
            description: what the text embeddings depend on besides the weights; part of their key
                in the cache.

        Raises:
            ValueError: no such precision.
        """
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(
                f"MODEL.CLIP.PRECISION is '{precision}': expected one of {', '.join(PRECISIONS)}"
            )
        self.precision, self.cache, self.description = precision, cache, description
        self.model = model.requires_grad_(False)
        self.tokenizer = tokenizer
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._forget_names()
        self.model.register_load_state_dict_post_hook(self._forget_names)
        self.eval()

    @classmethod
    def from_config(cls, cfg):
        """Read MODEL.CLIP.ARCHITECTURE, PRECISION and TEXT_CACHE."""
        keys = cfg.MODEL.CLIP
        model, tokenizer = build_clip(keys.ARCHITECTURE)
        return {
            "model": model,
            "tokenizer": tokenizer,
            "mean": open_clip.OPENAI_DATASET_MEAN,
            "std": open_clip.OPENAI_DATASET_STD,
            "precision": keys.PRECISION,
            "cache": TextCache(keys.TEXT_CACHE) if keys.TEXT_CACHE else None,
            "description": architecture(keys.ARCHITECTURE),
        }

    @property
    def embed_dim(self) -> int:
        return self.model.text_projection.shape[-1]

    @property
    def image_size(self) -> int:
        size = self.model.visual.image_size
        return size[0] if isinstance(size, tuple) else size

    def train(self, mode: bool = True) -> "FrozenClip":
        """Stay in evaluation mode, whatever the model around does."""
        return super().train(False)

    @torch.no_grad()
    def encode_text(self, names: Sequence[str]) -> Tensor:
        """Embed names by the mean over the prompts, names verbatim. Each name is computed once.

        Args:
            names: K strings.

        Returns:
            float32 (K, D) of unit length, on the model's device.
        """
        names = tuple(names)
        known, embeddings = self._last
        if embeddings is None or names != known:
            self._learn([name for name in dict.fromkeys(names) if name not in self._names])
            embeddings = torch.stack([self._names[name] for name in names]).to(self.mean.device)
            self._last = names, embeddings
        return embeddings.to(self.mean.device)

    def _learn(self, missing):
        """Have embeddings of these names, from the cache where it holds them."""
        if self.cache and missing:
            self._key = self._key or self._cache_key()
            self._names.update(self.cache.find(self._key, missing))
            missing = [name for name in missing if name not in self._names]
        for start in range(0, len(missing), NAMES_PER_FILE):
            new = {}
            part = missing[start : start + NAMES_PER_FILE]
            for first in range(0, len(part), NAMES_PER_PASS):
                chunk = part[first : first + NAMES_PER_PASS]
                new.update(zip(chunk, self._embed(chunk).cpu(), strict=True))
            self._names.update(new)
            if self.cache:
                self.cache.add(self._key, new)

    def _cache_key(self):
        text_tower = {
            name: tensor
            for name, tensor in self.model.state_dict().items()
            if not name.startswith(("visual.", "logit_"))
        }
        return fingerprint(text_tower, self.description, PROMPTS, open_clip.__version__)

    def _forget_names(self, *_):
        """Called when weights are loaded: what is known was embedded with others."""
        self._names, self._last, self._key = {}, (None, None), None

    def _embed(self, names):
        texts = [prompt.format(name) for name in names for prompt in PROMPTS]
        embeddings = self._encode(self.tokenizer(texts).to(self.mean.device)).float()
        return F.normalize(embeddings.unflatten(0, (len(names), len(PROMPTS))).mean(1), dim=-1)

    def _encode(self, tokens):
        """Text tower (K, context length) to (K, D), without the padding behind the longest text.

        Its causal attention never looks there: results are equal, several times faster.
        """
        length = int(tokens.argmax(1).max()) + 1  # the end of text is the highest token
        shorter = {
            "positional_embedding": self.model.positional_embedding[:length],
            "attn_mask": self.model.attn_mask[:length, :length],
        }
        inputs = {"image": None, "text": tokens[:, :length]}
        with torch.autocast(tokens.device.type, enabled=False):  # once per name: in full precision
            encoded = torch.func.functional_call(self.model, shorter, kwargs=inputs)
        return encoded["text_features"] if isinstance(encoded, dict) else encoded[1]

    @torch.no_grad()
    def encode_images(self, crops: Tensor) -> Tensor:
        """Embed images.

        Args:
            crops: float (N, 3, S, S), RGB in [0, 1].

        Returns:
            float32 (N, D) of unit length.
        """
        with self.in_precision():
            embeddings = self.model.encode_image((crops - self.mean) / self.std)
        return F.normalize(embeddings.float(), dim=-1)

    def in_precision(self) -> AbstractContextManager:
        """Context in which the image tower computes, see `precision`."""
        device = self.mean.device
        half = half_type(device) if self.precision == "half" else None
        return torch.autocast(device.type, dtype=half, enabled=half is not None)
