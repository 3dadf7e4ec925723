"""Checkpoints: the project's own, the released OV-AVSS ones, and training's start weights.

A file's layout is told by its content (`weight_layouts`).
"""

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ovavss_d2.config import keys_set_by, load_config
from ovavss_d2.weights.files import read_weights, require_file
from ovavss_d2.weights.layouts import (
    CONSTANTS,
    LAYOUTS,
    ORIGIN,
    PARTS,
    QUERY_HEAD,
    Part,
    by_part,
    convert_release,
    layout_of,
)

logger = logging.getLogger(__name__)

# What the released weights were made for; `config_for_use` says when it counts.
RELEASED_SETTINGS = {
    "MODEL.CLASSIFIER.NAME": "crop",
    "MODEL.CLASSIFIER.BACKGROUND_NAMES": [],
    "MODEL.AUDIO.PAIRING": "released",
    "TEST.SCORING": "released",
    "TEST.SILENCE_RMS": 0.0,
}
LOCALISER = ("backbone.", "sem_seg_head.", "audio_encoder.")  # what a mask depends on


def check_weight_files(cfg) -> None:
    """Make sure that every weight file of a config is there, before anything is built.

    A file for the sound or for CLIP may be missing where `MODEL.WEIGHTS` holds that part.

    Raises:
        FileNotFoundError: one is missing.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights:
        require_file(weights, "MODEL.WEIGHTS")
    for part in PARTS:
        path = cfg.MODEL[part.key].WEIGHTS
        try:
            if path:
                require_file(path, f"MODEL.{part.key}.WEIGHTS")
        except FileNotFoundError:
            if not weights or "://" in weights or not _holds(weights, part.prefix):
                raise


def _holds(path: str, prefix: str) -> bool:
    weights = convert_release(read_weights(path, mapped=True)["model"])
    return any(name.startswith(prefix) for name in weights)


def config_for_use(config_file: str, opts: Sequence[str] = ()):
    """Read a config to use its weights, not to train them.

    A released checkpoint brings `RELEASED_SETTINGS`, except for keys that the YAML or `opts` set.

    Args:
        config_file: path of a YAML file.
        opts: pairs `KEY VALUE ...` that override it.

    Returns:
        A `CfgNode`, not frozen.

    Raises:
        FileNotFoundError: there is no such config file.
        ValueError: the config is wrong, or its weights cannot be read.
    """
    cfg = load_config(config_file, opts)
    if os.path.isfile(cfg.MODEL.WEIGHTS) and _was_released(
        read_weights(cfg.MODEL.WEIGHTS, mapped=True)
    ):
        chosen = keys_set_by(config_file, opts)
        for key, value in RELEASED_SETTINGS.items():
            if key not in chosen:
                cfg.merge_from_list([key, value])
    return cfg


def _was_released(content: dict[str, Any]) -> bool:
    """Whether weights are the released ones, perhaps converted into another layout."""
    return "released" in (layout_of(content["model"]), content.get(ORIGIN))


def load_weights(model: nn.Module, cfg) -> None:
    """Load `MODEL.WEIGHTS` and the parts' own files for use, not for training.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, or it is of another model.
    """
    OVAVSSCheckpointer(model, cfg=cfg).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)


class OVAVSSCheckpointer(DetectionCheckpointer):
    """`DetectionCheckpointer` that knows the layouts and never runs code of a file.

    Parts that a checkpoint does not hold are read from their own files (`MODEL.AUDIO.WEIGHTS`,
    `MODEL.CLIP.WEIGHTS`). Without training state beside the model (no checkpointables) the weights
    are for use: then they have to cover all that masks depend on, and a query head without weights
    stays out of use.
    """

    def __init__(self, model, save_dir: str = "", *, cfg, save_to_disk=None, **checkpointables):
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.cfg = cfg
        self.part_files = {part.key: cfg.MODEL[part.key].WEIGHTS for part in PARTS}
        self._source = ""
        self._missing: set[str] = set()
        self._left_over: set[str] = set()

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        """Load a checkpoint, then the parts that it does not hold.

        Args:
            path: the file; empty for the parts alone.

        Returns:
            What else the checkpoint holds.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file cannot be read, or it is of another model.
        """
        if path:
            require_file(path, "MODEL.WEIGHTS")
        self._source, self._left_over = path, set()
        self._missing = {name for name in self.model.state_dict() if not CONSTANTS.search(name)}
        rest = super().load(path, *args, **kwargs)
        for part in PARTS:
            self._load_part(part)
        if path and not self.checkpointables:
            self._check_complete()
            self._choose_classifier()
        _report(self._missing, "Not in any weight file, they stay as initialised")
        _report(self._left_over, "In a weight file without a place in the model")
        return rest

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_weights(f)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        if _was_released(checkpoint) and not self.checkpointables:
            self._report_settings()
        state = checkpoint.pop("model")
        layout = layout_of(state)
        for part in PARTS:
            if layout == part.key:
                raise ValueError(
                    f"'{self._source}' holds the weights of a part, expected those of the model; "
                    f"name it as MODEL.{part.key}.WEIGHTS"
                )
        self._load_state(convert_release(state), self._source, layout)

    def _report_settings(self) -> None:
        own: list[str] = []
        other: list[str] = []
        for key, released in RELEASED_SETTINGS.items():
            value = functools.reduce(getattr, key.split("."), self.cfg)
            (own if value == released else other).append(f"{key} {value}")
        # A warning, because it is to be seen where no log is set up, too.
        logger.warning(
            "Released weights: the settings they were made for are %s%s",
            ", ".join(own) or "not used",
            f"; set by you: {', '.join(other)}" if other else "",
        )

    def _load_part(self, part: Part) -> None:
        """Fill a part from its own file, if the model has it and the checkpoint has not."""
        path = self.part_files[part.key]
        if not path or not any(name.startswith(part.prefix) for name in self._missing):
            return
        require_file(path, f"MODEL.{part.key}.WEIGHTS")
        state = convert_release(read_weights(self.path_manager.get_local_path(path))["model"])
        prefixed = {part.prefix + name.removeprefix(part.prefix): x for name, x in state.items()}
        self._load_state(prefixed, path, part.key)

    def _load_state(self, state: dict[str, Tensor], source: str, layout: str) -> None:
        """Copy what fits by name into the model.

        Raises:
            ValueError: nothing fits, a size differs, or the backbone is another one.
        """
        own = self.model.state_dict()
        fitting = {name: x for name, x in state.items() if name in own}
        if not fitting:
            raise ValueError(
                f"'{source}' has nothing in common with the model: its {len(state)} weights have "
                f"names such as '{next(iter(state), '')}'; check that it belongs to this config"
            )
        _check_sizes(fitting, own, source)
        left_over = {x for x in state.keys() - own.keys() if not CONSTANTS.search(x)}
        self._missing -= fitting.keys()
        _check_backbone(fitting, left_over | self._missing, source)
        self._left_over |= left_over
        self.model.load_state_dict(fitting, strict=False)
        logger.info("Loaded from '%s' (%s): %s", source, LAYOUTS[layout], by_part(fitting))

    def _check_complete(self) -> None:
        """Raise a ValueError if masks would depend on other weights than the files'."""
        missing = {name for name in self._missing if name.startswith(LOCALISER)}
        odd = sorted(missing | {x for x in self._left_over if x.startswith("sem_seg_head.")})
        if odd:
            raise ValueError(
                f"'{self._source}' does not hold this model: {len(odd)} weights are missing or "
                f"left over, such as '{odd[0]}'; check that it belongs to this config"
            )

    def _choose_classifier(self) -> None:
        if any(name.startswith(QUERY_HEAD) for name in self._missing):
            if self.model.classifier.choice != "crop":
                logger.info("The weights have no query classifier head: names come from crops.")
            self.model.classifier.use("crop")


def _check_sizes(fitting: dict[str, Tensor], own: dict[str, Tensor], source: str) -> None:
    wrong = [name for name, x in fitting.items() if x.shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"'{source}' is of another model: {len(wrong)} weights have another size, such as "
            f"'{name}' {tuple(fitting[name].shape)}, expected {tuple(own[name].shape)}; "
            "check that it belongs to this config"
        )


def _check_backbone(fitting: dict[str, Tensor], odd: set[str], source: str) -> None:
    """A backbone is taken as a whole or not at all."""
    wrong = sorted(name for name in odd if name.startswith("backbone."))
    if wrong and any(name.startswith("backbone.") for name in fitting):
        raise ValueError(
            f"'{source}' has another backbone: {len(wrong)} weights are missing or left over, such "
            f"as '{wrong[0]}'; check MODEL.TIMM.NAME"
        )


def _report(names: set[str], what: str) -> None:
    if names:
        logger.warning("%s: %s", what, by_part(names))
