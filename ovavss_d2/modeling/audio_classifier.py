"""Names from sound: which names of any vocabulary are heard around each frame.

Shape letters: see `modeling/__init__.py`; S are the samples around a frame (`AudioContext`).
"""

from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.modeling.audio_encoder import LogMelEncoder
from ovavss_d2.modeling.clip import MAX_LOGIT_SCALE, FrozenClip
from ovavss_d2.modeling.embedding_cache import EmbeddingCache, fingerprint
from ovavss_d2.modeling.text_classifier import class_vocabulary
from ovavss_d2.vocabulary import name_key, synonyms_of

AUDIO_CLASSIFIER_REGISTRY = Registry("AUDIO_CLASSIFIER")
AUDIO_CLASSIFIER_REGISTRY.__doc__ = """
Audio classifiers: `AudioClassifier` modules built from a config and the model's `FrozenClip`.

`model` holds the weights, which `MODEL.AUDIO_CLASSIFIER.WEIGHTS` names; they are never trained.
`embed_text(words)` and `embed_audio(audio)` give unit vectors (K, D) and (T, D), and `scale`
multiplies their cosines. Audio is float (T, S) in [-1, 1], mono, at MODEL.AUDIO_CLASSIFIER's
SAMPLE_RATE.
"""


def build_audio_classifier(cfg: CfgNode, clip: FrozenClip) -> "AudioClassifier | None":
    """Build the classifier that `MODEL.AUDIO_CLASSIFIER.NAME` names; None if it is empty.

    Raises:
        ValueError: there is no classifier with this name, or a setting does not fit it.
    """
    check_audio_classifier(cfg)
    name = cfg.MODEL.AUDIO_CLASSIFIER.NAME
    return AUDIO_CLASSIFIER_REGISTRY.get(name)(cfg, clip) if name else None


def check_audio_classifier(cfg: CfgNode) -> None:
    """Raise a ValueError if the settings for names from sound do not fit together."""
    keys = cfg.MODEL.AUDIO_CLASSIFIER
    if not keys.NAME:
        if cfg.MODEL.SILENT_LOCALIZER.ENABLED:
            raise ValueError(
                "MODEL.SILENT_LOCALIZER.ENABLED is True, but no MODEL.AUDIO_CLASSIFIER.NAME says "
                "which objects sound; set it to CLAP"
            )
        return
    if keys.NAME not in AUDIO_CLASSIFIER_REGISTRY:
        known = ", ".join(sorted(key for key, _ in AUDIO_CLASSIFIER_REGISTRY))
        raise ValueError(f"MODEL.AUDIO_CLASSIFIER.NAME is '{keys.NAME}', expected one of: {known}")
    if not keys.BACKGROUND_NAMES:
        raise ValueError(
            "MODEL.AUDIO_CLASSIFIER.BACKGROUND_NAMES is empty; give sounds such as 'silence'"
        )
    if keys.CONTEXT <= 0:
        raise ValueError(f"MODEL.AUDIO_CLASSIFIER.CONTEXT is {keys.CONTEXT:g}, expected above 0")
    if cfg.TEST.SCORING == "released":
        raise ValueError(
            "TEST.SCORING is 'released', which has no objectness; names from sound need 'score'"
        )


class AudioClassifier(nn.Module):
    """Base class: probabilities from embeddings, and the cache.

    Each name competes with the background names alone, so any number of names can be heard at once.

    Attributes:
        model: the weights; frozen.
        cache: embeddings of words on disk, or None.
        audio_cache: those of sounds, for evaluation.
    """

    audio_cache: EmbeddingCache | None
    _key: str | None  # of the embeddings in the cache

    def __init__(
        self,
        *,
        model: nn.Module,
        embed_dim: int,
        background_names: Sequence[str],
        cache: EmbeddingCache | None = None,
    ) -> None:
        """
        Args:
            model: with weights for audio, and possibly for text.
            embed_dim: D.
            background_names: sounds that compete with every name and are never in the results.
            cache: embeddings of words on disk.

        """
        super().__init__()
        self.model = model.requires_grad_(False)
        self.embed_dim = embed_dim
        self.background_names = tuple(background_names)
        self.cache, self.audio_cache = cache, None
        self._forget()
        self.model.register_load_state_dict_post_hook(self._forget)
        self.eval()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def scale(self) -> float:
        return MAX_LOGIT_SCALE

    def train(self, mode: bool = True) -> "AudioClassifier":
        """Stay in evaluation mode, also inside a model in training mode."""
        return super().train(False)

    def embed_text(self, words: Sequence[str]) -> Tensor:
        """Unit vectors (K, D) of K words."""
        raise NotImplementedError

    def _embed_sound(self, sound: Tensor) -> Tensor:
        """The embedding (1, D) of one sound (1, S)."""
        raise NotImplementedError

    @torch.no_grad()
    def name_probabilities(self, audio: Tensor, names: Sequence[str]) -> Tensor:
        """Probability that each name is heard around each frame.

        As for masks, a class is as likely as its most likely synonym.

        Args:
            audio: (T, S), see `AUDIO_CLASSIFIER_REGISTRY`.
            names: K different names; synonyms of one class are joined by "|".

        Returns:
            float32 (T, K), each from 0 to 1 independently of the others.
        """
        vocabulary = class_vocabulary(tuple(names), (), ())
        words = (*vocabulary.words, *self.background_names)
        with torch.autocast(self.device.type, enabled=False):
            logits = self.scale * self.embed_audio(audio) @ self.embed_text(words).t()
        of_names, of_background = logits.split(
            [len(vocabulary.words), len(self.background_names)], dim=1
        )
        others = torch.tensor(self._other_sounds(names), device=logits.device)  # (K, B)
        background = of_background[:, None].where(others, -torch.inf).logsumexp(-1)
        return (vocabulary.class_logits(of_names) - background).sigmoid()

    def _other_sounds(self, names: Sequence[str]) -> list[list[bool]]:
        """Which background names are not synonyms of each name; all, if none would be left."""
        keys = [name_key(name) for name in self.background_names]
        rows = []
        for name in names:
            own = set(map(name_key, synonyms_of(name)))
            others = [key not in own for key in keys]
            rows.append(others if any(others) else [True] * len(keys))
        return rows

    def embed_audio(self, audio: Tensor) -> Tensor:
        """Unit vectors (T, D) of the audio (T, S).

        Sounds are embedded one by one, so that the cache does not depend on their order.
        """
        sounds = audio.float().cpu()
        items = [fingerprint({"samples": sound}) for sound in sounds] if self.audio_cache else []

        def compute(indices: list[int]) -> Tensor:
            return torch.cat([self._embed_sound(sounds[i : i + 1]) for i in indices])

        embeddings = self._lookup(self.audio_cache, "audio", items, len(sounds), compute)
        return F.normalize(embeddings, dim=-1)

    def _lookup(
        self,
        cache: EmbeddingCache | None,
        kind: str,
        items: list[str],
        count: int,
        compute: Callable[[list[int]], Tensor],
    ) -> Tensor:
        """Embeddings (N, D) from the cache, if there is one, and computed ones."""
        if not count:
            return torch.zeros(0, self.embed_dim, device=self.device)
        if cache is None:
            return compute(list(range(count)))
        if self._key is None:
            self._key = fingerprint(self.model.state_dict(), *self._facts(), self.device.type)
        key = f"{self._key}-{kind}"
        return cache.lookup(key, items, self.embed_dim, compute).to(self.device)

    def _facts(self) -> tuple[object, ...]:
        """What embeddings depend on besides the weights."""
        return (type(self).__qualname__,)

    def _forget(self, *_: object) -> None:
        """Drop the key in the cache when weights are loaded."""
        self._key = None


@AUDIO_CLASSIFIER_REGISTRY.register()
class LogMelClassifier(AudioClassifier):
    """A small encoder whose embeddings are in the text space of the model's CLIP.

    It takes one second at 16 kHz. The toy world trains it (toy/audio_classifier.py).
    """

    @configurable
    def __init__(self, *, clip: FrozenClip, width: int, **settings: object) -> None:
        dim = clip.embed_dim
        encoder = LogMelEncoder(width=width, output_dim=dim, freeze=True)
        super().__init__(model=encoder, embed_dim=dim, **settings)  # type: ignore[arg-type]
        self._clip = (clip,)  # in a tuple, because it is not a part of this module

    @classmethod
    def from_config(cls, cfg: CfgNode, clip: FrozenClip) -> dict[str, object]:
        keys = cfg.MODEL.AUDIO_CLASSIFIER
        if (keys.SAMPLE_RATE, keys.CONTEXT) != (SAMPLE_RATE, 1):
            raise ValueError(
                f"MODEL.AUDIO_CLASSIFIER has CONTEXT {keys.CONTEXT:g} at SAMPLE_RATE "
                f"{keys.SAMPLE_RATE}, expected 1 at {SAMPLE_RATE} for LogMelClassifier"
            )
        return {"clip": clip, "width": keys.WIDTH, **common_settings(cfg)}

    def embed_text(self, words: Sequence[str]) -> Tensor:
        """Unit vectors (K, D) of K words."""
        return self._clip[0].encode_text(words)

    def _embed_sound(self, sound: Tensor) -> Tensor:
        encoder = self.model
        assert isinstance(encoder, LogMelEncoder)
        return encoder.encode(encoder.log_mel(sound.to(self.device)))


def common_settings(cfg: CfgNode) -> dict[str, object]:
    """Arguments of `AudioClassifier` from a config."""
    folder = cfg.MODEL.EMBEDDING_CACHE
    return {
        "background_names": cfg.MODEL.AUDIO_CLASSIFIER.BACKGROUND_NAMES,
        "cache": EmbeddingCache(folder) if folder else None,
    }
