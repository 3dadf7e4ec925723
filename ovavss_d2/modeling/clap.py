"""CLAP: the audio classifier for real sounds, through `transformers` (extra `[clap]`).

Its files are those of `save_pretrained`: a folder, or a name on the model hub.
"""

import json
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor
from torch.nn import functional as F

from ovavss_d2.errors import BUILD_ERRORS, one_line, shortened
from ovavss_d2.modeling.audio_classifier import (
    AUDIO_CLASSIFIER_REGISTRY,
    AudioClassifier,
    common_settings,
)
from ovavss_d2.modeling.clip import FrozenClip, check_sizes
from ovavss_d2.modeling.embedding_cache import fingerprint
from ovavss_d2.vocabulary import SOUND_PROMPTS

DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError)
MAX_WORDS = 10_000  # whose embeddings are kept


def load_transformers() -> ModuleType:
    """The package; raises a ValueError if it is not installed, or too old."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            "MODEL.AUDIO_CLASSIFIER.NAME is 'CLAP', which needs the package transformers: "
            "pip install -e '.[clap]'"
        ) from error
    if int(transformers.__version__.split(".")[0]) < 5:
        raise ValueError(
            f"transformers is {transformers.__version__}, expected 5: pip install -e '.[clap]'"
        )
    return transformers


def _from_files(kind: Any, source: str, file: str, **options: object) -> Any:
    """`kind.from_pretrained` from a folder or the hub's cache, without a download.

    None if there is no such file.

    Raises:
        ValueError: it is damaged.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import StrictDataclassError

    folder = os.path.isdir(source)
    path = os.path.join(source, file) if folder else source and try_to_load_from_cache(source, file)
    if not isinstance(path, str) or not os.path.isfile(path):
        return None
    try:
        return kind.from_pretrained(source, local_files_only=True, **options)
    except (*DAMAGED, StrictDataclassError) as error:
        raise ValueError(f"'{path}' is damaged: {one_line(error)}") from error


def architecture(source: str) -> Any:
    """The `ClapConfig` of a model; without files, that of laion/clap-htsat-unfused."""
    kind = load_transformers().ClapConfig
    config = _from_files(kind, source, "config.json") or kind()
    towers = config.text_config.to_dict(), config.audio_config.to_dict()
    check_sizes(source, [*towers, {"embed_dim": config.projection_dim}])
    return config


def _feature_extractor(source: str, fused: bool) -> Any:
    """The feature extractor of a model; without files, that of laion's models."""
    kind = load_transformers().ClapFeatureExtractor
    truncation = "fusion" if fused else "rand_trunc"
    return _from_files(kind, source, "preprocessor_config.json") or kind(
        frequency_min=50, truncation=truncation, padding="repeatpad"
    )


def load_tokenizer(source: str) -> Callable:
    """The tokenizer of a model; a ValueError says that there is none, or that it is damaged."""
    kind = load_transformers().AutoTokenizer
    # No code of a folder is executed, and nobody is asked whether it may be.
    options = {"trust_remote_code": False}
    tokenizer = _from_files(kind, source, "tokenizer_config.json", **options)
    if tokenizer is None:
        raise ValueError(
            f"'{source}' has no tokenizer; set MODEL.AUDIO_CLASSIFIER.WEIGHTS to a name on the "
            "model hub, or to a folder with all files of one"
        )
    return tokenizer


@AUDIO_CLASSIFIER_REGISTRY.register()
class CLAP(AudioClassifier):
    """CLAP (arXiv 2211.06687) in the form of `transformers`, with its own tokenizer."""

    _words: dict[str, Tensor]  # embeddings of words
    _loaded_tokenizer: Callable | None

    @configurable
    def __init__(
        self, *, model: Any, source: str, rate: int, context: float, **settings: Any
    ) -> None:
        """
        Args:
            model: `transformers.ClapModel`.
            source: folder, or name on the model hub, of its tokenizer and feature extractor.
            rate: of the audio.
            context: its length in seconds.
            settings: see `AudioClassifier`.

        Raises:
            ValueError: the model takes another rate, or shorter audio.
        """
        super().__init__(model=model, embed_dim=model.config.projection_dim, **settings)
        self.source = source
        self.extract = _feature_extractor(source, model.config.audio_config.enable_fusion)
        if rate != self.extract.sampling_rate:
            raise ValueError(
                f"MODEL.AUDIO_CLASSIFIER.SAMPLE_RATE is {rate}, expected "
                f"{self.extract.sampling_rate} for '{source}'"
            )
        if context * rate > self.extract.nb_max_samples:
            raise ValueError(
                f"MODEL.AUDIO_CLASSIFIER.CONTEXT is {context:g}, expected at most "
                f"{self.extract.nb_max_samples / rate:g} seconds for '{source}'"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, clip: FrozenClip) -> dict[str, object]:
        keys = cfg.MODEL.AUDIO_CLASSIFIER
        config = architecture(keys.WEIGHTS)
        try:
            model = load_transformers().ClapModel(config)
        except BUILD_ERRORS as error:
            reason = shortened(one_line(error))
            raise ValueError(f"no CLAP can be built from '{keys.WEIGHTS}': {reason}") from error
        return {
            "model": model,
            "source": keys.WEIGHTS,
            "rate": keys.SAMPLE_RATE,
            "context": keys.CONTEXT,
            **common_settings(cfg),
        }

    @property
    def scale(self) -> float:
        return self.model.logit_scale_a.exp().item()  # type: ignore[operator, union-attr]

    @torch.no_grad()
    def embed_text(self, words: Sequence[str]) -> Tensor:
        """Embed K words by the mean over the prompts: unit vectors (K, D)."""
        if len(self._words) > MAX_WORDS:
            self._words.clear()
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        items = [fingerprint({}, word) for word in new]

        def compute(indices: list[int]) -> Tensor:
            return torch.cat([self._embed_word(new[i]) for i in indices])

        embeddings = self._lookup(self.cache, "text", items, len(new), compute)
        self._words.update(zip(new, embeddings, strict=True))
        return torch.stack([self._words[word] for word in words]).to(self.device)

    def _embed_word(self, word: str) -> Tensor:
        texts = [prompt.format(word) for prompt in SOUND_PROMPTS]
        tokens = self._tokenizer()(texts, padding=True, return_tensors="pt").to(self.device)
        output = self.model.get_text_features(**tokens)  # type: ignore[operator]
        embeddings = F.normalize(output.pooler_output.float(), dim=-1)
        return F.normalize(embeddings.mean(0, keepdim=True), dim=-1)

    def _embed_sound(self, sound: Tensor) -> Tensor:
        rate = self.extract.sampling_rate
        inputs = self.extract(sound[0].numpy(), sampling_rate=rate, return_tensors="pt")
        output = self.model.get_audio_features(**inputs.to(self.device))  # type: ignore[operator]
        return output.pooler_output.float()

    def _tokenizer(self) -> Callable:
        if self._loaded_tokenizer is None:  # with the first name: building needs no files
            self._loaded_tokenizer = load_tokenizer(self.source)
        return self._loaded_tokenizer

    def _facts(self) -> tuple[object, ...]:
        extractor = json.loads(self.extract.to_json_string())
        return (
            *super()._facts(),
            SOUND_PROMPTS,
            self.source,
            load_transformers().__version__,
            extractor,
        )

    def _forget(self, *_: object) -> None:
        super()._forget()
        self._words = {}
        self._loaded_tokenizer = None
