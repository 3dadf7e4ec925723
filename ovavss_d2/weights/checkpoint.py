"""Loading checkpoints: this project's own, the released OV-AVSS ones, and pretrained parts.

The layout of a file is recognized from its content (`weights/layouts.py`).
"""

import functools
import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from torch import Tensor, nn

from ovavss_d2.config import keys_set_by, load_config
from ovavss_d2.files import atomic_path, write_torch
from ovavss_d2.modeling.audio_classifier import check_audio_classifier
from ovavss_d2.modeling.clap import load_transformers
from ovavss_d2.modeling.text_classifier import PIXEL_CLASSIFIERS
from ovavss_d2.weights.download import is_address
from ovavss_d2.weights.files import is_finite, read_weights
from ovavss_d2.weights.layouts import (
    CLASS_LAYER,
    CONSTANTS,
    HOLDS,
    LAYOUTS,
    ORIGIN,
    PARTS,
    TEXT_HEAD,
    Part,
    count_by_module,
    layout_of,
    to_own_layout,
)
from ovavss_d2.weights.newest import TAG, newest_checkpoint
from ovavss_d2.weights.sources import WeightSource, fetch_weights, weight_sources

logger = logging.getLogger(__name__)

# The settings that the released weights were trained for.
RELEASED_SETTINGS = {
    "MODEL.CLASSIFIER.NAME": "crop",
    "MODEL.CLASSIFIER.BACKGROUND_NAMES": [],
    "MODEL.AUDIO.PAIRING": "released",
    "TEST.SCORING": "released",
    "TEST.SILENCE_RMS": 0.0,
}
MASK_MODULES = ("backbone.", "sem_seg_head.", "audio_encoder.")  # the masks depend on these
REQUIRED_PARTS = ("SILENT_LOCALIZER", "AUDIO_CLASSIFIER")  # if the model has them


def check_weight_files(cfg: CfgNode) -> None:
    """Download the weight files of a config that are missing, before the model is built.

    The file of a part (audio encoder, CLIP) is not needed if `MODEL.WEIGHTS` holds that part.

    Raises:
        FileNotFoundError: a file is missing, and no name or address says where it is.
        ValueError: a package is missing, or settings do not fit together.
        OSError: a download failed.
    """
    check_audio_classifier(cfg)
    if cfg.MODEL.AUDIO_CLASSIFIER.NAME == "CLAP":
        load_transformers()
    sources = weight_sources(cfg)
    whole = [source for source in sources if source.key == "MODEL.WEIGHTS"]
    if whole and not whole[0].is_name():  # the content of published files is known
        fetch_weights(whole)
    fetch_weights([source for source in sources if not _is_in(source, whole)])


def _is_in(source: WeightSource, whole: list[WeightSource]) -> bool:
    """Whether a part without a file is in the file of the whole model."""
    part = next((part for part in PARTS if source.key == f"MODEL.{part.key}.WEIGHTS"), None)
    if source.transformers:  # its other files are needed in any case
        return False
    if part is None or not whole or whole[0].is_name() or os.path.isfile(source.value):
        return False
    weights, _ = to_own_layout(read_weights(whole[0].fetch(), mapped=True)["model"])
    return any(name.startswith(part.prefix) for name in weights)


def load_inference_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Read a config whose weights are used and not trained.

    With a released checkpoint the `RELEASED_SETTINGS` apply, except for keys that the YAML or
    `opts` set.

    Raises:
        FileNotFoundError: there is no such config file.
        ValueError: the config is wrong, or its weights cannot be read.
    """
    cfg = load_config(config_file, opts)
    weights = WeightSource(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS")
    # Published files are not released OV-AVSS weights; a missing file is reported later.
    known = is_address(weights.value) or os.path.exists(weights.value)
    if known and _is_released(read_weights(weights.fetch(), mapped=True)):
        set_by_user = keys_set_by(config_file, opts)
        for key, value in _released_settings(cfg).items():
            if key not in set_by_user:
                cfg.merge_from_list([key, value])
    return cfg


def _released_settings(cfg: CfgNode) -> dict[str, Any]:
    """`RELEASED_SETTINGS`, without the scoring if names are also heard: that needs objectness."""
    heard = bool(cfg.MODEL.AUDIO_CLASSIFIER.NAME)
    return {k: value for k, value in RELEASED_SETTINGS.items() if not heard or k != "TEST.SCORING"}


def _is_released(content: dict[str, Any]) -> bool:
    """Whether weights are the released ones, possibly converted to another layout."""
    return "released" in (layout_of(content["model"]), content.get(ORIGIN))


def load_weights(model: nn.Module, cfg: CfgNode) -> None:
    """Load `MODEL.WEIGHTS` and the files of the parts for inference.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, or belongs to another model.
    """
    OVAVSSCheckpointer(model, cfg=cfg).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)


class OVAVSSCheckpointer(DetectionCheckpointer):
    """`DetectionCheckpointer` that reads all layouts and never executes code from a file.

    Under its final name a checkpoint is always complete, and a training resumes from the newest
    complete one.

    Parts that a checkpoint does not hold are loaded from their own files (`MODEL.AUDIO.WEIGHTS`,
    `MODEL.CLIP.WEIGHTS`). Without checkpointables (optimizer and the like) the weights are for
    inference: then they must include everything that masks depend on, and a text head without
    weights is not used.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, cfg: CfgNode, **checkpointables: Any
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.cfg = cfg
        self._newest: str | None = None  # checkpoint in `save_dir`, once it is known
        self._source = ""
        self._missing: set[str] = set()
        self._unused: set[str] = set()

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<name>.pth` with the model, the checkpointables and `kwargs`.

        Raises:
            OSError: it cannot be written, for example because the disk is full.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Writing the checkpoint '%s'", path)
        states = {key: value.state_dict() for key, value in self.checkpointables.items()}
        write_torch(path, {"model": self.model.state_dict(), **states, **kwargs})
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with atomic_path(os.path.join(self.save_dir, TAG)) as hidden:
            hidden.write_text(last_filename_basename)
        self._newest = os.path.join(self.save_dir, last_filename_basename)

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """See `newest_checkpoint`."""
        if self._newest is None:
            self._newest = newest_checkpoint(self.save_dir)
        return self._newest

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint (none if `path` is empty), then the parts that it does not hold.

        Returns:
            The other content of the checkpoint.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file cannot be read, or belongs to another model.
        """
        self._source, self._unused = path, set()
        if path:
            path = WeightSource(path, "MODEL.WEIGHTS").fetch()
        self._missing = {name for name in self.model.state_dict() if not CONSTANTS.search(name)}
        rest = super().load(path, *args, **kwargs)
        for part in PARTS:
            self._load_part(part)
        if path and not self.checkpointables:
            self._check_complete()
            self._choose_classifier()
        _warn(self._missing, "Not in any weight file, they keep their initial values")
        _warn(self._unused, "In a weight file but not in the model")
        return rest

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_weights(f)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        if _is_released(checkpoint) and not self.checkpointables:
            self._report_settings()
        state = checkpoint.pop("model")
        layout = layout_of(state)
        if any(layout == part.key for part in PARTS):
            raise ValueError(
                f"'{self._source}' holds the {LAYOUTS[layout]}, expected those of the whole model; "
                f"set MODEL.{layout}.WEIGHTS to it"
            )
        self._load_state(to_own_layout(state)[0], self._source, layout)

    def _report_settings(self) -> None:
        settings = []
        for key, released in _released_settings(self.cfg).items():
            value = functools.reduce(getattr, key.split("."), self.cfg)
            settings.append(f"{key} {value}" + ("" if value == released else " (set by you)"))
        # A warning, because it is shown even where logging is not configured.
        logger.warning("Released weights are used with %s", ", ".join(settings))

    def _load_part(self, part: Part) -> None:
        """Load a part from its own file if the model has the part and the checkpoint does not."""
        key = f"MODEL.{part.key}.WEIGHTS"
        source = next((source for source in weight_sources(self.cfg) if source.key == key), None)
        if source is None or not any(name.startswith(part.prefix) for name in self._missing):
            return
        content = read_weights(source.fetch())["model"]
        state, _ = to_own_layout(content)
        if part.key == "SILENT_LOCALIZER":
            state = {name: x for name, x in state.items() if name.startswith(HOLDS["COCO"])}
        prefixed = {part.prefix + name.removeprefix(part.prefix): x for name, x in state.items()}
        self._load_state(prefixed, source.value, layout_of(content))

    def _load_state(self, state: dict[str, Tensor], source: str, layout: str) -> None:
        """Copy the weights whose names the model has; a class layer of other classes is left out.

        Raises:
            ValueError: there are none, a shape differs, the backbone is another one, or weights are
                not finite.
        """
        own = self.model.state_dict()
        state = {name: x for name, x in state.items() if not _has_other_classes(name, x, own)}
        matching = {name: x for name, x in state.items() if name in own}
        if not matching:
            raise ValueError(
                f"'{source}' has nothing in common with the model: its {len(state)} weights have "
                f"names such as '{next(iter(state), '')}'; check that it belongs to this config"
            )
        _check_shapes(matching, own, source)
        _check_finite(matching, own, source)
        unused = {name for name in state.keys() - own.keys() if not CONSTANTS.search(name)}
        self._missing -= matching.keys()
        _check_backbone(matching, unused | self._missing, source)
        self._unused |= unused
        self.model.load_state_dict(matching, strict=False)
        logger.info("Loaded from '%s' (%s): %s", source, LAYOUTS[layout], count_by_module(matching))

    def _check_complete(self) -> None:
        """Raise a ValueError if weights that results depend on are not those of the files."""
        for part in PARTS:
            untrained = any(name.startswith(part.prefix) for name in self._missing)
            if untrained and part.key in REQUIRED_PARTS:
                raise ValueError(
                    f"some weights of {part.prefix.split('.')[0]} are missing; set "
                    f"MODEL.{part.key}.WEIGHTS to a file with all of them"
                )
        missing = {name for name in self._missing if name.startswith(MASK_MODULES)}
        unused = {name for name in self._unused if name.startswith("sem_seg_head.")}
        mismatched = sorted(missing | unused)
        if mismatched:
            raise ValueError(
                f"'{self._source}' does not hold this model: {len(mismatched)} weights are missing "
                f"or unused, such as '{mismatched[0]}'; check that it belongs to this config"
            )

    def _choose_classifier(self) -> None:
        classifier = self.model.classifier
        untrained = any(name.startswith(TEXT_HEAD) for name in self._missing)
        if untrained and classifier.choice not in PIXEL_CLASSIFIERS:
            logger.info("The weights have no text head: masks are named from crops.")
            classifier.use("crop")


def _has_other_classes(name: str, x: Tensor, own: dict[str, Tensor]) -> bool:
    return name.startswith(CLASS_LAYER) and name in own and len(x) != len(own[name])


def _check_shapes(matching: dict[str, Tensor], own: dict[str, Tensor], source: str) -> None:
    wrong = [name for name, x in matching.items() if x.shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"'{source}' belongs to another model: {len(wrong)} weights have another shape, such "
            f"as '{name}' {tuple(matching[name].shape)}, expected {tuple(own[name].shape)}; "
            "check that it belongs to this config"
        )


def _check_finite(matching: dict[str, Tensor], own: dict[str, Tensor], source: str) -> None:
    wrong = [name for name, x in matching.items() if not is_finite(x.to(own[name].dtype))]
    if wrong:
        raise ValueError(
            f"'{source}': {len(wrong)} weights hold NaN or infinity, such as '{wrong[0]}'; "
            "use an earlier checkpoint"
        )


def _check_backbone(matching: dict[str, Tensor], mismatched: set[str], source: str) -> None:
    """Raise a ValueError if a backbone fits only in part."""
    wrong = sorted(name for name in mismatched if name.startswith("backbone."))
    if wrong and any(name.startswith("backbone.") for name in matching):
        raise ValueError(
            f"'{source}' has another backbone: {len(wrong)} weights are missing or unused, such "
            f"as '{wrong[0]}'; check MODEL.TIMM.NAME"
        )


def _warn(names: Collection[str], message: str) -> None:
    if names:
        logger.warning("%s: %s", message, count_by_module(names))
