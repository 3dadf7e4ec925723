"""The layouts of weight files: how the weights' names tell them apart, and how names are converted.

Layouts: "own"; "released", checkpoints of the OV-AVSS authors; "COCO", Mask2Former's checkpoints;
"AUDIO", "CLIP" and "AUDIO_CLASSIFIER" (CLAP), files of one part of the model under that part's own
names.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

DECODER = "sem_seg_head.pixel_decoder.transformer."
RESNET_LAYERS = (
    ("shortcut.norm.", "downsample.1."),
    ("shortcut.", "downsample.0."),
    *((f"conv{k}.norm.", f"bn{k}.") for k in (1, 2, 3)),
    *((f"conv{k}.", f"conv{k}.") for k in (1, 2, 3)),
)
# (prefix in released and COCO files, prefix here), used in both directions; the first match counts.
# "#" is any number.
PREFIXES = [
    ("backbone.stem.conv1.norm.", "backbone.net.bn1."),
    ("backbone.stem.conv1.", "backbone.net.conv1."),
    *(
        (f"backbone.res{stage + 1}.#.{theirs}", f"backbone.net.layer{stage}.#.{ours}")
        for stage in (1, 2, 3, 4)
        for theirs, ours in RESNET_LAYERS
    ),
    ("backbone.patch_embed.", "backbone.net.patch_embed."),
    *(
        (f"backbone.layers.{i}.downsample.", f"backbone.net.layers_{i + 1}.downsample.")
        for i in range(4)
    ),
    ("backbone.layers.#.", "backbone.net.layers_#."),
    *((f"backbone.norm{i}.", f"backbone.norms.res{i + 2}.") for i in range(4)),
    (DECODER + "encoder.vl_layer.b_attn.gamma", DECODER + "fusion.gamma"),
    (DECODER + "encoder.vl_layer.b_attn.layer_norm", DECODER + "fusion.layer_norm"),
    (DECODER + "encoder.vl_layer.b_attn.attn.", DECODER + "fusion."),
    (DECODER + "encoder.layers.", DECODER + "layers."),
    ("audio_encoder.audio_backbone.", "audio_encoder."),
    ("clip_adapter.clip_model.", "classifier.clip.model."),
]
# Constants that other implementations save with their weights.
CONSTANTS = re.compile(
    r"criterion\.empty_weight$|(^|\.)pixel_(mean|std)$|\.relative_position_index$|(^|\.)attn_mask$"
    r"|num_batches_tracked$|(^|\.)(input_resolution|context_length|vocab_size)$"
)
CLASS_LAYER = "sem_seg_head.predictor.class_embed."
TEXT_HEAD = "classifier.text_head."
OLD_TEXT_HEAD = "classifier.query_head."  # its prefix in older checkpoints of this project
ORIGIN = "origin"  # key in a converted file: the layout that its weights came from
LAYOUTS = {
    "own": "this project's checkpoint",
    "released": "released OV-AVSS checkpoint",
    "COCO": "Mask2Former checkpoint",
    "AUDIO": "weights of the audio encoder",
    "CLIP": "weights of CLIP",
    "AUDIO_CLASSIFIER": "weights of CLAP",
    "unknown": "unknown layout",
}


@dataclass(frozen=True)
class Part:
    """A part of the model with a weight file of its own."""

    key: str  # MODEL.<key>.WEIGHTS names the file; also the name of its layout
    prefix: str  # of its parameters in the model
    # a parameter that only such a file has; empty: the file has the layout "COCO" or "own"
    example: str = ""


PARTS = (
    Part("AUDIO", "audio_encoder.", "embeddings.0.weight"),
    Part("CLIP", "classifier.clip.model.", "text_projection"),
    Part("SILENT_LOCALIZER", "silent_localizer."),
    Part("AUDIO_CLASSIFIER", "audio_classifier.model.", "audio_projection.linear1.weight"),
)
PART_PREFIXES = {part.key: part.prefix for part in PARTS if part.example}
# Prefixes of this project's names whose weights a layout holds; "own" may hold any.
HOLDS = {
    "own": (),
    "released": ("backbone.", "sem_seg_head.", PART_PREFIXES["AUDIO"], PART_PREFIXES["CLIP"]),
    "COCO": ("backbone.", "sem_seg_head."),
    **{key: (prefix,) for key, prefix in PART_PREFIXES.items()},
}
# Audio layers of the segmentation head, which Mask2Former does not have.
AUDIO_LAYERS = re.compile(r"\.fusion\.|\.audio_query_embed\.|\.audio_proj\.|\.(v2a|a2a)\.")


def layout_of(names: Iterable[str]) -> str:
    """The layout of weights with these names, a key of `LAYOUTS`."""
    names = set(names)
    if any(name.startswith(("backbone.net.", "classifier.")) for name in names):
        return "own"
    if any(name.startswith(("clip_adapter.", "audio_encoder.audio_backbone.")) for name in names):
        return "released"
    if any(name.startswith("sem_seg_head.") for name in names):
        return "COCO"
    if any(name.startswith(("audio_encoder.", "audio_classifier.")) for name in names):
        return "own"
    return next((part.key for part in PARTS if part.example in names), "unknown")


def to_own_layout(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Convert weights of any layout to this project's names.

    Returns:
        The weights under this project's names; and, under their original names, the constants,
        which the model does not use.
    """
    layout = layout_of(state)
    if layout == "own":
        return {_current_name(name): value for name, value in state.items()}, {}
    weights, unused = {}, {}
    for name, value in state.items():
        ours = _own_name(name, layout)
        if CONSTANTS.search(ours):
            unused[name] = value
        else:
            weights[ours] = value
    return weights, unused


def _current_name(name: str) -> str:
    if name.startswith(OLD_TEXT_HEAD):
        return TEXT_HEAD + name.removeprefix(OLD_TEXT_HEAD)
    return name


def to_layout(
    weights: Mapping[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Convert weights with this project's names to a layout; the inverse of `to_own_layout`.

    Returns:
        The weights that the layout can hold, under its names; and the others, under ours.

    Raises:
        ValueError: a part that the layout requires is missing, or the backbone has no names in it.
    """
    _check_convertible(weights, layout)
    renamed, unused = {}, {}
    for name, value in weights.items():
        if _layout_holds(layout, name, value):
            renamed[_name_in_layout(name, layout)] = value
        else:
            unused[name] = value
    return renamed, unused


def _check_convertible(weights: Mapping[str, Tensor], layout: str) -> None:
    examples = {part.prefix: part.prefix + part.example for part in PARTS}
    required = [examples.get(prefix, prefix) for prefix in HOLDS[layout]]
    absent = [start for start in required if not any(name.startswith(start) for name in weights)]
    if absent:
        raise ValueError(
            f"cannot write a {LAYOUTS[layout]} without '{absent[0]}': these weights have none"
        )
    if layout not in ("released", "COCO"):
        return
    for name in weights:
        if _name_in_layout(name, layout).startswith("backbone.net."):
            raise ValueError(
                f"'{name}' has no name in a {LAYOUTS[layout]}: expected a plain ResNet or a Swin"
            )


def _layout_holds(layout: str, name: str, value: Tensor) -> bool:
    if layout == "own":
        return True
    # Mask2Former's class layer has more classes than "object".
    not_coco = AUDIO_LAYERS.search(name) or (name.startswith(CLASS_LAYER) and len(value) == 2)
    return name.startswith(HOLDS[layout]) and not (layout == "COCO" and not_coco)


def _own_name(name: str, layout: str) -> str:
    if layout in PART_PREFIXES:
        return PART_PREFIXES[layout] + name.removeprefix(PART_PREFIXES[layout])
    return _rename(name, PREFIXES)


def _name_in_layout(name: str, layout: str) -> str:
    if layout == "own":
        return name
    if layout in PART_PREFIXES:
        return name.removeprefix(PART_PREFIXES[layout])
    return _rename(name, [(ours, theirs) for theirs, ours in PREFIXES])


def _rename(name: str, prefixes: Sequence[tuple[str, str]]) -> str:
    for source, target in prefixes:
        match = _pattern(source).match(name)
        if match:
            return match.expand(target.replace("#", r"\1")) + name[match.end() :]
    return name


@functools.cache
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\#", r"(\d+)"))


def count_by_module(names: Iterable[str]) -> str:
    """Number of parameters per module, on one line: "backbone.net (265), ..."."""
    counts = Counter(".".join(name.split(".")[:2]) for name in sorted(names))
    return ", ".join(f"{module} ({n})" for module, n in counts.items())
