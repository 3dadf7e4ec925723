"""Audio encoders: a second of sound to one embedding.

Shape letters: N sounds (B * T), S samples at 16 kHz, A channels of an embedding. A log-mel
example is (N, 1, 96, 64): 96 frames of 10 ms by 64 mel bands.
"""

import functools

import torch
from detectron2.config import configurable
from detectron2.utils.registry import Registry
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.media.audio_format import (
    EXAMPLE_SAMPLES,
    EXAMPLE_WINDOWS,
    FFT_LENGTH,
    LOG_OFFSET,
    MEL_BANDS,
    MEL_MAX_HZ,
    MEL_MIN_HZ,
    SAMPLE_RATE,
    WINDOW_HOP,
    WINDOW_LENGTH,
)
from ovavss_d2.modeling.audio_cache import AudioFeatureCache

AUDIO_ENCODER_REGISTRY = Registry("AUDIO_ENCODER")
AUDIO_ENCODER_REGISTRY.__doc__ = """
Audio encoders: modules made from a config, with `forward(waveforms, valid=None)`.

waveforms: float Tensor (N, S) in [-1, 1], mono at 16 kHz, S at least 15,600.
valid: bool Tensor (N,); where False, the log-mel example is replaced by zeros.
Both may lie on any device. Returns (N, A) on the encoder's; `output_dim` is A.
"""

TYPICAL_LEVEL, TYPICAL_SPREAD = -2.0, 2.0  # of log-mel values, silence being -4.6
HIDDEN = 128  # between the two linear layers of LogMelEncoder


def build_audio_encoder(cfg) -> nn.Module:
    """The encoder that `MODEL.AUDIO.ENCODER` names.

    Raises:
        ValueError: there is no encoder of this name.
    """
    name = cfg.MODEL.AUDIO.ENCODER
    if name not in AUDIO_ENCODER_REGISTRY:
        known = ", ".join(sorted(key for key, _ in AUDIO_ENCODER_REGISTRY))
        raise ValueError(f"MODEL.AUDIO.ENCODER is '{name}', expected one of: {known}")
    return AUDIO_ENCODER_REGISTRY.get(name)(cfg)


def attach_cache(encoder: "AudioEncoder", cfg) -> None:
    """Let an encoder keep its embeddings in the folder `MODEL.AUDIO.CACHE`, if that is set.

    For data sets, whose sounds come again; what a demo hears comes once.

    Raises:
        ValueError: the encoder is trained.
    """
    folder = cfg.MODEL.AUDIO.CACHE
    if not folder:
        return
    if not encoder.frozen:
        raise ValueError(
            f"MODEL.AUDIO.CACHE is '{folder}', but the encoder is trained: set MODEL.AUDIO.FREEZE "
            "True, or leave the cache empty"
        )
    encoder.cache = AudioFeatureCache(folder)


def mel_matrix() -> Tensor:
    """Triangles on the HTK mel scale, linear in mel: (FFT bins, mel bands); no DC bin."""

    def mel(hz):
        return 1127.0 * torch.log1p(hz / 700.0)

    limits = mel(torch.tensor([MEL_MIN_HZ, MEL_MAX_HZ], dtype=torch.float64))
    edges = torch.linspace(limits[0], limits[1], MEL_BANDS + 2, dtype=torch.float64)
    hz = torch.arange(FFT_LENGTH // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT_LENGTH
    bins = mel(hz)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Window and mel weights, float64 because quiet bands would lose digits."""
    window = torch.hann_window(WINDOW_LENGTH, periodic=True, dtype=torch.float64)
    precision = torch.float32 if device.type == "mps" else torch.float64
    return window.to(device, precision), mel_matrix().to(device, precision)


class LogMel(nn.Module):
    """VGGish's input: log-mel examples of 0.96 s from the start of each sound."""

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """
        Args:
            waveforms: (N, S) in [-1, 1] at 16 kHz.

        Returns:
            (N, 1, 96, 64): log(mel + 0.01) of the first 96 frames.

        Raises:
            ValueError: the sounds are shorter than an example.
        """
        if waveforms.dim() != 2 or waveforms.shape[1] < EXAMPLE_SAMPLES:
            raise ValueError(
                f"sounds of shape {tuple(waveforms.shape)}, expected (N, S) with S at least "
                f"{EXAMPLE_SAMPLES} (0.975 s at 16 kHz); pad them with zeros"
            )
        window, weights = _tables(waveforms.device)
        frames = waveforms[:, :EXAMPLE_SAMPLES].to(window).unfold(1, WINDOW_LENGTH, WINDOW_HOP)
        spectrum = torch.fft.rfft(frames * window, n=FFT_LENGTH)
        # spectrum.abs() is safe against overflow, and three times as slow
        magnitude = (spectrum.real.square() + spectrum.imag.square()).sqrt()
        return torch.log(magnitude @ weights + LOG_OFFSET).float()[:, None]


class AudioEncoder(nn.Module):
    """What the encoders share: waveforms to log-mel examples, being frozen, and the cache.

    A subclass has `output_dim` and `encode(log_mel (N, 1, 96, 64)) -> (N, A)`. A frozen encoder
    takes one example at a time, in single precision: so an embedding does not depend, not even in
    its last digit, on what it shares a batch with, nor on whether it comes out of `cache`.
    """

    output_dim: int

    def __init__(self):
        super().__init__()
        self.log_mel = LogMel()
        self.cache: AudioFeatureCache | None = None

    def freeze(self) -> None:
        """No gradient from now on."""
        self.requires_grad_(False)

    @property
    def frozen(self) -> bool:
        """Whether no weight is trained."""
        return not any(weight.requires_grad for weight in self.parameters())

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
        """See `AUDIO_ENCODER_REGISTRY`."""
        device = next(self.parameters()).device
        if not self.frozen:
            return self.encode(self._heard(waveforms.to(device), valid))

        def embed_one(i: int) -> Tensor:
            count = None if valid is None else valid[i : i + 1]
            return self.encode(self._heard(waveforms[i : i + 1].to(device), count))[0]

        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            if self.cache is not None:
                return self.cache.embed(self, waveforms, valid, embed_one)
            # double precision, rounded to single: the same in any batch
            log_mel = self._heard(waveforms.to(device), valid)
            return torch.cat([self.encode(one) for one in log_mel.split(1)])

    def _heard(self, waveforms: Tensor, valid: Tensor | None) -> Tensor:
        """Log-mel examples (N, 1, 96, 64), zeros for what does not count."""
        log_mel = self.log_mel(waveforms)
        return log_mel if valid is None else log_mel * valid.view(-1, 1, 1, 1).to(log_mel)

    def encode(self, log_mel: Tensor) -> Tensor:
        """Embed log-mel examples (N, 1, 96, 64) -> (N, A)."""
        raise NotImplementedError


@AUDIO_ENCODER_REGISTRY.register()
class VGGish(AudioEncoder):
    """VGGish without its PCA (Hershey et al., ICASSP 2017).

    Its parameters are called as in `vggish-10086976.pth`.
    """

    output_dim = 128

    @configurable
    def __init__(self, *, freeze: bool = True):
        super().__init__()
        channels = (1, 64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")
        self.features = nn.Sequential(*_convolutions(channels))
        embeddings, size = [], 512 * (EXAMPLE_WINDOWS // 16) * (MEL_BANDS // 16)
        for width in (4096, 4096, self.output_dim):
            embeddings += [nn.Linear(size, width), nn.ReLU(inplace=True)]
            size = width
        self.embeddings = nn.Sequential(*embeddings)
        _widen_default_start(self)
        if freeze:
            self.freeze()

    @classmethod
    def from_config(cls, cfg):
        if cls.output_dim != cfg.MODEL.AUDIO.DIM:
            raise ValueError(
                f"MODEL.AUDIO.DIM is {cfg.MODEL.AUDIO.DIM}, VGGish has {cls.output_dim}"
            )
        return {"freeze": cfg.MODEL.AUDIO.FREEZE}

    def encode(self, log_mel: Tensor) -> Tensor:
        maps = self.features(log_mel)  # (N, 512, time 6, frequency 4)
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


@torch.no_grad()
def _widen_default_start(module: nn.Module) -> None:
    """From torch's start weights to He's: sounds stay apart through the ReLUs even where no weights
    are loaded, as on the toy world."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.mul_(6**0.5)  # variance 1 / (3 fan-in) to 2 / fan-in
            layer.get_parameter("bias").zero_()


def _convolutions(channels) -> list[nn.Module]:
    layers: list[nn.Module] = []
    current = channels[0]
    for width in channels[1:]:
        if width == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(current, width, 3, padding=1), nn.ReLU(inplace=True)]
            current = width
    return layers


@AUDIO_ENCODER_REGISTRY.register()
class LogMelEncoder(AudioEncoder):
    """A small trainable convolution net; averages time away, keeps the place in frequency.

    It has no normalisation layer, so that loudness, and with it silence, is told apart, and a
    sound's embedding does not depend on the batch.
    """

    @configurable
    def __init__(self, *, width: int, output_dim: int, freeze: bool = False):
        """
        Args:
            width: channels of the first convolution; the next have two and four times as many.
            output_dim: A.
            freeze: no gradient.
        """
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
            nn.Linear(4 * width * MEL_BANDS // 4, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, output_dim),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))
        if freeze:
            self.freeze()

    @classmethod
    def from_config(cls, cfg):
        keys = cfg.MODEL.AUDIO
        return {"width": keys.WIDTH, "output_dim": keys.DIM, "freeze": keys.FREEZE}

    def encode(self, log_mel: Tensor) -> Tensor:
        maps = self.convolutions((log_mel - TYPICAL_LEVEL) / TYPICAL_SPREAD)
        return self.embedding(F.adaptive_avg_pool2d(maps, (1, None)).flatten(1))
