"""Weight keys: a path, an address, or the name of published weights, to a local file."""

import difflib
import logging
import os
from dataclasses import dataclass

import open_clip
from detectron2.config import CfgNode
from open_clip.pretrained import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, download_pretrained_from_hf

from ovavss_d2.exported import HUB_NAME, MODEL_FILE
from ovavss_d2.weights.download import (
    DownloadError,
    cache_folder,
    cached_path,
    download,
    is_address,
)
from ovavss_d2.weights.layouts import PARTS
from ovavss_d2.weights.published import HUB_MODELS, PUBLISHED, by_file_name

logger = logging.getLogger(__name__)

MODEL_FILES = ("model.safetensors", "pytorch_model.bin")  # the weights in a model of transformers


@dataclass(frozen=True)
class WeightSource:
    """The value of a weight key.

    Attributes:
        value: a path, an address, or a name.
        key: full name of the key.
        clip: for `MODEL.CLIP.WEIGHTS`: the architecture, whose pretrained tags are names too.
        transformers: for CLAP: models on the hub, and folders in the same form, are sources too.
    """

    value: str
    key: str
    clip: str = ""
    transformers: bool = False

    def local_file(self) -> str | None:
        """The path of the file if no download is needed."""
        if self.transformers and not os.path.isfile(self.value):
            return self._transformers_file()
        if os.path.isdir(self.value):
            path = os.path.join(self.value, MODEL_FILE)
            if not os.path.isfile(path):
                raise FileNotFoundError(
                    f"the folder '{self.value}' ({self.key}) holds no {MODEL_FILE}, expected a "
                    "file, or a folder of tools/export_model.py"
                )
            return path
        if os.path.isfile(self.value):
            return self.value
        if self._is_hub_file():
            return _cached_on_hub(self._pretrained()["hf_hub"])
        cached = cached_path(self._address(), file=self._published_file())
        return str(cached) if cached.is_file() else None

    def fetch(self) -> str:
        """The path of the file, which is downloaded if it is not in the cache.

        Raises:
            FileNotFoundError: there is no such file or name.
            OSError: the download failed.
        """
        path = self.local_file()
        if path is not None:
            return path
        if self.transformers and self.is_name():
            return _fetch_model(self.value, self.key)
        if self._is_hub_file():
            return _fetch_from_hub(self._pretrained()["hf_hub"], self.key)
        address, published = self._address(), PUBLISHED.get(self.value)
        target = cached_path(address, file=self._published_file())
        return str(download(address, target, sums=published.sums if published else None))

    def is_name(self) -> bool:
        """Whether the value is a published name, which means the same on every machine."""
        if self.transformers:
            return bool(HUB_NAME.fullmatch(self.value)) and not os.path.exists(self.value)
        return bool(self._pretrained()) if self.clip else self.value in PUBLISHED

    def describe(self) -> str:
        """Name, size, license and address of the download, in one line."""
        published = None if self.clip else PUBLISHED.get(self.value)
        if published:
            facts = f"about {published.megabytes} MB, license {published.license}, "
            return f"{self.key} {self.value}: {facts}{published.address}"
        if self.transformers and self.is_name():
            facts = HUB_MODELS.get(self.value, "license and size")
            return f"{self.key}: {facts} at hf.co/{self.value}"
        if self._is_hub_file():
            repository = self._pretrained()["hf_hub"].strip("/")
            return f"{self.key} {self.clip} {self.value}: license and size at hf.co/{repository}"
        return f"{self.key}: {self._address()}"

    def _transformers_file(self) -> str | None:
        """The weights in a folder or in the cache of the hub."""
        if self.is_name():
            return _cached_on_hub(self.value, MODEL_FILES)
        paths = [os.path.join(self.value, file) for file in MODEL_FILES]
        path = next(filter(os.path.isfile, paths), None)
        if path is None:
            raise FileNotFoundError(
                f"no model '{self.value}' ({self.key}), expected a name on the model hub such as "
                f"laion/clap-htsat-unfused, or a folder with {' or '.join(MODEL_FILES)}"
            )
        return path

    def _published_file(self) -> str:
        return PUBLISHED[self.value].file if self.value in PUBLISHED else ""

    def _pretrained(self) -> dict:
        """open_clip's description of a pretrained tag; empty if the value is not a tag."""
        return open_clip.get_pretrained_cfg(self.clip, self.value) if self.clip else {}

    def _is_hub_file(self) -> bool:
        return bool(self._pretrained().get("hf_hub"))

    def _address(self) -> str:
        """The address of a download.

        Raises:
            FileNotFoundError: the value is neither an address nor a name.
        """
        if is_address(self.value):
            return self.value
        if self.is_name():
            return self._pretrained().get("url") or PUBLISHED[self.value].address
        raise FileNotFoundError(self._unknown())

    def _unknown(self) -> str:
        known = open_clip.list_pretrained_tags_by_model(self.clip) if self.clip else list(PUBLISHED)
        close = difflib.get_close_matches(self.value, known, n=3) or known
        names = f"the names {', '.join(close)}" if close else "no names"
        hint = _where_to_get(os.path.basename(self.value))
        return (
            f"no weight file or name '{self.value}' ({self.key}); expected a path, an https:// "
            f"address, or one of {names}{hint}"
        )


def _where_to_get(file: str) -> str:
    published = by_file_name(file)
    if published is None:
        return ""
    names = [name for name, known in PUBLISHED.items() if known is published]
    return f"; the name of '{file}' is {names[0] if names else 'openai'}"


def _cached_on_hub(
    repository: str, files: tuple[str, ...] = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        path = try_to_load_from_cache(repository.strip("/"), file)
        if isinstance(path, str):
            return path
    return None


def _fetch_from_hub(repository: str, key: str) -> str:
    """Download the weights of a hub repository of open_clip; the library keeps a cache."""
    repository = repository.strip("/")
    try:
        return download_pretrained_from_hf(repository)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DownloadError(
            f"cannot download {repository} from the hub ({reason}); download https://huggingface.co/"
            f"{repository}/resolve/main/{HF_SAFE_WEIGHTS_NAME} and set {key} to its path"
        ) from error


def _fetch_model(repository: str, key: str) -> str:
    """Download a model in the form of `transformers`: first its small files, then the weights."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        snapshot_download(repository, allow_patterns=["*.json", "*.txt"])
        try:
            return hf_hub_download(repository, MODEL_FILES[0])
        except EntryNotFoundError:
            return hf_hub_download(repository, MODEL_FILES[1])
    except (OSError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DownloadError(
            f"cannot download {repository} from the hub ({reason}); download all files of "
            f"https://huggingface.co/{repository} to a folder and set {key} to it"
        ) from error


def weight_sources(cfg: CfgNode) -> list[WeightSource]:
    """The weight keys of a config that are set."""
    sources = [WeightSource(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS")]
    for part in PARTS:
        clip = cfg.MODEL.CLIP.ARCHITECTURE if part.key == "CLIP" else ""
        name = cfg.MODEL.AUDIO_CLASSIFIER.NAME
        if part.key == "AUDIO_CLASSIFIER" and not name:
            continue
        if part.key == "SILENT_LOCALIZER" and not cfg.MODEL.SILENT_LOCALIZER.ENABLED:
            continue
        clap = part.key == "AUDIO_CLASSIFIER" and name == "CLAP"
        key = f"MODEL.{part.key}.WEIGHTS"
        sources.append(WeightSource(cfg.MODEL[part.key].WEIGHTS, key, clip, clap))
    return [source for source in sources if source.value]


def fetch_weights(sources: list[WeightSource]) -> None:
    """Download the files that are not on this machine, after one line about each."""
    missing = [source for source in sources if source.local_file() is None]
    if missing:
        lines = [f"  {source.describe()}" for source in missing]
        # A warning, because it is shown even where logging is not configured.
        logger.warning("Downloading to '%s':\n%s", cache_folder(), "\n".join(lines))
    for source in missing:
        source.fetch()
