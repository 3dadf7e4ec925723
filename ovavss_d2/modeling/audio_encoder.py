"""Audio encoders: one embedding per second of audio.

In the shapes N counts sounds, one per frame. A log-mel example is (1, 96, 64): 96 windows, 10 ms
apart, by 64 mel bands.
"""

import logging

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.media.audio_format import EXAMPLE_WINDOWS, MEL_BANDS
from ovavss_d2.modeling.embedding_cache import EmbeddingCache, fingerprint
from ovavss_d2.modeling.log_mel import log_mel_examples

logger = logging.getLogger(__name__)

AUDIO_ENCODER_REGISTRY = Registry("AUDIO_ENCODER")
AUDIO_ENCODER_REGISTRY.__doc__ = """
Audio encoders: modules built from a config, with `forward(waveforms, valid=None)`.

waveforms: float Tensor (N, S) in [-1, 1], mono at 16 kHz, S at least 15,600.
valid: bool Tensor (N,); where it is False, the log-mel example is replaced by zeros.
Both can be on any device. Returns (N, A) on the device of the encoder; `output_dim` is A.
"""

LOG_MEL_MEAN, LOG_MEL_STD = -2.0, 2.0  # typical values; silence is -4.6
HIDDEN_DIM = 128  # between the two linear layers of LogMelEncoder
CACHE_VERSION = 2  # to be raised when log-mel examples are computed in another way


def build_audio_encoder(cfg: CfgNode) -> nn.Module:
    """Build the encoder that `MODEL.AUDIO.ENCODER` names.

    Raises:
        ValueError: there is no encoder with this name.
    """
    name = cfg.MODEL.AUDIO.ENCODER
    if name not in AUDIO_ENCODER_REGISTRY:
        known = ", ".join(sorted(key for key, _ in AUDIO_ENCODER_REGISTRY))
        raise ValueError(f"MODEL.AUDIO.ENCODER is '{name}', expected one of: {known}")
    return AUDIO_ENCODER_REGISTRY.get(name)(cfg)


def attach_cache(encoder: "AudioEncoder", cfg: CfgNode) -> None:
    """Let a frozen encoder keep its embeddings in the folder `MODEL.EMBEDDING_CACHE`.

    For training and evaluation, where each sound is needed several times.
    """
    folder = cfg.MODEL.EMBEDDING_CACHE
    if folder and encoder.frozen:
        encoder.cache = EmbeddingCache(folder)
    elif folder:
        logger.info("The audio encoder is trained: its embeddings are not cached.")


class AudioEncoder(nn.Module):
    """Base class of the encoders: log-mel examples, freezing, and the cache.

    A subclass has `output_dim` and `encode`. A frozen encoder takes one example at a time, in
    single precision, so that an embedding is the same to the last bit in any batch, and whether it
    is computed or read from `cache`.

    Attributes:
        output_dim: A.
        cache: embeddings on disk, or None; used while the encoder is frozen.
    """

    output_dim: int
    log_mel = staticmethod(log_mel_examples)

    def __init__(self) -> None:
        super().__init__()
        self.cache: EmbeddingCache | None = None
        self._cache_key: tuple[tuple, str] = (), ""  # state of the weights, and their fingerprint

    @property
    def frozen(self) -> bool:
        """Whether no weight is trained."""
        return not any(weight.requires_grad for weight in self.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
        """See `AUDIO_ENCODER_REGISTRY`."""
        if valid is None:
            valid = torch.ones(len(waveforms), dtype=torch.bool)
        if not self.frozen:
            return self.encode(self._examples(waveforms, valid))
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if self.cache is None:
                return self._encode_separately(waveforms, valid)
            return self._encode_cached(self.cache, waveforms, valid)

    def encode(self, log_mel: Tensor) -> Tensor:
        """Embed log-mel examples (N, 1, 96, 64): (N, A)."""
        raise NotImplementedError

    def _examples(self, waveforms: Tensor, valid: Tensor) -> Tensor:
        """Log-mel examples (N, 1, 96, 64), zeros where not valid."""
        log_mel = self.log_mel(waveforms.to(self.device))
        return log_mel * valid.view(-1, 1, 1, 1).to(log_mel)

    def _encode_separately(self, waveforms: Tensor, valid: Tensor) -> Tensor:
        # log-mel values do not depend on the batch: they are rounded from double precision
        examples = self._examples(waveforms, valid).split(1)
        return torch.cat([self.encode(example) for example in examples])

    def _encode_cached(self, cache: EmbeddingCache, waveforms: Tensor, valid: Tensor) -> Tensor:
        sounds = zip(waveforms.cpu(), valid.tolist(), strict=True)
        items = [fingerprint({"samples": samples}, flag) for samples, flag in sounds]

        def compute(indices: list[int]) -> Tensor:
            return self._encode_separately(waveforms[indices], valid[indices])

        return cache.lookup(self._fingerprint(), items, self.output_dim, compute).to(self.device)

    def _fingerprint(self) -> str:
        """The key in the cache; it is computed again after a weight has been written or moved."""
        weights = self.state_dict()
        state = tuple((x.data_ptr(), x._version, x.device) for x in weights.values())
        if state != self._cache_key[0]:
            facts = CACHE_VERSION, type(self).__qualname__, self.device.type
            self._cache_key = state, fingerprint(weights, *facts)
        return self._cache_key[1]


@AUDIO_ENCODER_REGISTRY.register()
class NoAudio(AudioEncoder):
    """Zeros, for a model that neither fuses audio nor lets its queries attend to it."""

    zero: Tensor  # (A,)

    @configurable
    def __init__(self, *, output_dim: int) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.register_buffer("zero", torch.zeros(output_dim), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, int]:
        return {"output_dim": cfg.MODEL.AUDIO.DIM}

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
        """Zeros (N, A)."""
        return self.zero.expand(len(waveforms), -1)


@AUDIO_ENCODER_REGISTRY.register()
class VGGish(AudioEncoder):
    """VGGish without its PCA (Hershey et al., ICASSP 2017).

    Its parameters have the names that they have in `vggish-10086976.pth`.
    """

    output_dim = 128

    @configurable
    def __init__(self, *, freeze: bool = True) -> None:
        super().__init__()
        features: list[nn.Module] = []
        channels = 1
        for width in (64, None, 128, None, 256, 256, None, 512, 512, None):
            if width is None:
                features.append(nn.MaxPool2d(2, 2))
            else:
                features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*features)
        embeddings, size = [], channels * (EXAMPLE_WINDOWS // 16) * (MEL_BANDS // 16)
        for width in (4096, 4096, self.output_dim):
            embeddings += [nn.Linear(size, width), nn.ReLU(inplace=True)]
            size = width
        self.embeddings = nn.Sequential(*embeddings)
        _use_he_initialization(self)
        self.requires_grad_(not freeze)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        if cls.output_dim != cfg.MODEL.AUDIO.DIM:
            raise ValueError(
                f"MODEL.AUDIO.DIM is {cfg.MODEL.AUDIO.DIM}, expected {cls.output_dim} for VGGish"
            )
        return {"freeze": cfg.MODEL.AUDIO.FREEZE}

    def encode(self, log_mel: Tensor) -> Tensor:
        maps = self.features(log_mel)  # (N, 512, time 6, frequency 4)
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


@torch.no_grad()
def _use_he_initialization(module: nn.Module) -> None:
    """Scale PyTorch's initial weights to those of He et al. (2015), without biases: so embeddings
    of different sounds differ even where no weights are loaded, as in the toy world."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.mul_(6**0.5)  # variance 1 / (3 fan-in) to 2 / fan-in
            layer.get_parameter("bias").zero_()


@AUDIO_ENCODER_REGISTRY.register()
class LogMelEncoder(AudioEncoder):
    """A small convolutional network; it averages over time and keeps the frequencies apart.

    It has no normalization layer: embeddings differ by loudness, which separates silence, and do
    not depend on the batch. Its convolutions have `width` channels, then twice and four times that.
    """

    @configurable
    def __init__(self, *, width: int, output_dim: int, freeze: bool = False) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=(2, 1), padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.embedding = nn.Sequential(
            nn.Linear(4 * width * MEL_BANDS // 4, HIDDEN_DIM),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN_DIM, output_dim),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))
        self.requires_grad_(not freeze)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        keys = cfg.MODEL.AUDIO
        return {"width": keys.WIDTH, "output_dim": keys.DIM, "freeze": keys.FREEZE}

    def encode(self, log_mel: Tensor) -> Tensor:
        maps = self.convolutions((log_mel - LOG_MEL_MEAN) / LOG_MEL_STD)
        return self.embedding(F.adaptive_avg_pool2d(maps, (1, None)).flatten(1))
