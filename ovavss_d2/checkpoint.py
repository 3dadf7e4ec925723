"""Checkpoints: the project's own, the released OV-AVSS ones, and training's start weights.

A file's layout is told by its content. Names of other layouts are turned into ours by `RULES`.
"""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ovavss_d2.weight_files import read_weights, require_file

logger = logging.getLogger(__name__)

# (pattern of a released name, our name); the first that matches counts.
RULES = [
    (r"backbone\.stem\.conv1\.norm\.", r"backbone.net.bn1."),
    (r"backbone\.stem\.conv1\.", r"backbone.net.conv1."),
    (r"backbone\.res(\d)\.(\d+)\.shortcut\.norm\.", r"backbone.net.layer{0}.\2.downsample.1."),
    (r"backbone\.res(\d)\.(\d+)\.shortcut\.", r"backbone.net.layer{0}.\2.downsample.0."),
    (r"backbone\.res(\d)\.(\d+)\.conv(\d)\.norm\.", r"backbone.net.layer{0}.\2.bn\3."),
    (r"backbone\.res(\d)\.(\d+)\.conv(\d)\.", r"backbone.net.layer{0}.\2.conv\3."),
    (r"backbone\.patch_embed\.", r"backbone.net.patch_embed."),
    (r"backbone\.layers\.(\d)\.downsample\.", r"backbone.net.layers_{1}.downsample."),
    (r"backbone\.layers\.(\d)\.", r"backbone.net.layers_\1."),
    (r"backbone\.norm(\d)\.", r"backbone.norms.res{2}."),
    (r"(.*\.transformer\.)encoder\.vl_layer\.b_attn\.(attn\.)?", r"\1fusion."),
    (r"(.*\.transformer\.)encoder\.layers\.", r"\1layers."),
    (r"audio_encoder\.audio_backbone\.", r"audio_encoder."),
    (r"clip_adapter\.clip_model\.", r"classifier.clip.model."),
]
SHIFTS = {"{0}": -1, "{1}": 1, "{2}": 2}  # stages are counted from another start there
# Constants of other implementations, which are no weights.
CONSTANTS = re.compile(
    r"criterion\.empty_weight$|(^|\.)pixel_(mean|std)$|\.relative_position_index$|(^|\.)attn_mask$"
    r"|num_batches_tracked$|(^|\.)(input_resolution|context_length|vocab_size)$"
)
CLASS_LAYER = "sem_seg_head.predictor.class_embed."
LAYOUTS = {
    "own": "this project's checkpoint",
    "released": "released OV-AVSS checkpoint",
    "COCO": "Mask2Former checkpoint",
    "AUDIO": "weights of the audio encoder",
    "CLIP": "weights of CLIP",
    "unknown": "unknown layout",
}
LOCALISER = ("backbone.", "sem_seg_head.", "audio_encoder.")  # what a mask depends on
QUERY_HEAD = "classifier.query_head."


@dataclass(frozen=True)
class Part:
    """A part of the model with a weight file of its own."""

    key: str  # the config key that names the file
    prefix: str  # of its parameters in the model
    mark: str  # a parameter that tells such a file


PARTS = (
    Part("AUDIO", "audio_encoder.", "embeddings.0.weight"),
    Part("CLIP", "classifier.clip.model.", "text_projection"),
)


def layout_of(state: dict[str, Tensor]) -> str:
    """What wrote these weights, a key of `LAYOUTS`."""
    names = state.keys()
    if any(name.startswith(("backbone.net.", "classifier.")) for name in names):
        return "own"
    if any(name.startswith(("clip_adapter.", "audio_encoder.audio_backbone.")) for name in names):
        return "released"
    if any(name.startswith("sem_seg_head.") for name in names):
        return "COCO"
    return next((part.key for part in PARTS if part.mark in names), "unknown")


def convert_release(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of the released OV-AVSS or of Mask2Former our names; our own names stay.

    Args:
        state: weights by name.

    Returns:
        The same tensors; constants and a class layer that is not object / no object are left out.
    """
    if layout_of(state) == "own":
        return dict(state)
    converted = {_our_name(name): value for name, value in state.items()}
    layer = converted.get(CLASS_LAYER + "weight")
    foreign_classes = layer is not None and layout_of(state) == "COCO" and len(layer) != 2
    return {
        name: value
        for name, value in converted.items()
        if not CONSTANTS.search(name) and not (foreign_classes and name.startswith(CLASS_LAYER))
    }


def _our_name(name: str) -> str:
    for pattern, replacement in RULES:
        match = re.match(pattern, name)
        if match:
            for place, shift in SHIFTS.items():
                if place in replacement:
                    replacement = replacement.replace(place, str(int(match[1]) + shift))
            return match.expand(replacement) + name[match.end() :]
    return name


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
    return any(name.startswith(prefix) for name in convert_release(read_weights(path)["model"]))


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
        state = checkpoint.pop("model")
        layout = layout_of(state)
        for part in PARTS:
            if layout == part.key:
                raise ValueError(
                    f"'{self._source}' holds the weights of a part, expected those of the model; "
                    f"name it as MODEL.{part.key}.WEIGHTS"
                )
        self._load_state(convert_release(state), self._source, layout)

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
        left_over = state.keys() - own.keys()
        self._missing -= fitting.keys()
        _check_backbone(fitting, left_over | self._missing, source)
        self._left_over |= left_over
        self.model.load_state_dict(fitting, strict=False)
        logger.info("Loaded from '%s' (%s): %s", source, LAYOUTS[layout], _by_part(fitting))

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
    odd = sorted(name for name in odd if name.startswith("backbone."))
    if odd and any(name.startswith("backbone.") for name in fitting):
        raise ValueError(
            f"'{source}' has another backbone: {len(odd)} weights are missing or left over, such "
            f"as '{odd[0]}'; check MODEL.TIMM.NAME"
        )


def _by_part(names) -> str:
    """Numbers of parameters by the first two places of their names, in one line."""
    counts = Counter(".".join(name.split(".")[:2]) for name in sorted(names))
    return ", ".join(f"{part} ({n})" for part, n in counts.items())


def _report(names: set[str], what: str) -> None:
    if names:
        logger.warning("%s: %s", what, _by_part(names))
