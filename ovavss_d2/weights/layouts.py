"""The layouts that weights come in: how each is told by its names, and its names in this project.

Layouts: "own"; "released", the OV-AVSS authors'; "COCO", Mask2Former's start weights; "AUDIO" and
"CLIP", those of a part alone, under the part's own names.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

DECODER = "sem_seg_head.pixel_decoder.transformer."
# (start of a foreign name, start of ours), for both directions; the first that matches counts.
# {stage} is a number; {stage+1} is one more on that side.
RENAMINGS = [
    ("backbone.stem.conv1.norm.", "backbone.net.bn1."),
    ("backbone.stem.conv1.", "backbone.net.conv1."),
    *(
        ("backbone.res{stage+1}.{block}." + theirs, "backbone.net.layer{stage}.{block}." + ours)
        for theirs, ours in (
            ("shortcut.norm.", "downsample.1."),
            ("shortcut.", "downsample.0."),
            ("conv{k}.norm.", "bn{k}."),
            ("conv{k}.", "conv{k}."),
        )
    ),
    ("backbone.patch_embed.", "backbone.net.patch_embed."),
    ("backbone.layers.{stage}.downsample.", "backbone.net.layers_{stage+1}.downsample."),
    ("backbone.layers.{stage}.", "backbone.net.layers_{stage}."),
    ("backbone.norm{stage}.", "backbone.norms.res{stage+2}."),
    *(
        (DECODER + "encoder." + theirs, DECODER + ours)
        for theirs, ours in (
            ("vl_layer.b_attn.gamma", "fusion.gamma"),
            ("vl_layer.b_attn.layer_norm", "fusion.layer_norm"),
            ("vl_layer.b_attn.attn.", "fusion."),
            ("layers.", "layers."),
        )
    ),
    ("audio_encoder.audio_backbone.", "audio_encoder."),
    ("clip_adapter.clip_model.", "classifier.clip.model."),
]
# Constants of other implementations, which are no weights.
CONSTANTS = re.compile(
    r"criterion\.empty_weight$|(^|\.)pixel_(mean|std)$|\.relative_position_index$|(^|\.)attn_mask$"
    r"|num_batches_tracked$|(^|\.)(input_resolution|context_length|vocab_size)$"
)
PLACE = re.compile(r"\{(\w+)(?:\+(\d))?\}")  # of a number in a template
CLASS_LAYER = "sem_seg_head.predictor.class_embed."
QUERY_HEAD = "classifier.query_head."
ORIGIN = "origin"  # key of a converted file that names the layout its weights came in
LAYOUTS = {
    "own": "this project's checkpoint",
    "released": "released OV-AVSS checkpoint",
    "COCO": "Mask2Former checkpoint",
    "AUDIO": "weights of the audio encoder",
    "CLIP": "weights of CLIP",
    "unknown": "unknown layout",
}


@dataclass(frozen=True)
class Part:
    """A part of the model with a weight file of its own."""

    key: str  # the config key that names the file, and its layout
    prefix: str  # of its parameters in the model
    mark: str  # a parameter that tells such a file


PARTS = (
    Part("AUDIO", "audio_encoder.", "embeddings.0.weight"),
    Part("CLIP", "classifier.clip.model.", "text_projection"),
)
# What a file of a layout holds, by the starts of our names.
WHOLE = ("backbone.", "sem_seg_head.", *(part.prefix for part in PARTS))
HOLDS = {
    "own": (),  # any part
    "released": WHOLE,
    "COCO": ("backbone.", "sem_seg_head."),
    **{part.key: (part.prefix,) for part in PARTS},
}
# The sound has no place in Mask2Former's model.
SOUND_IN_HEAD = re.compile(r"\.fusion\.|\.audio_query_embed\.|\.audio_proj\.|\.(v2a|a2a)\.")


def layout_of(names: Iterable[str]) -> str:
    """What wrote weights of these names, a key of `LAYOUTS`."""
    names = set(names)
    if any(name.startswith(("backbone.net.", "classifier.")) for name in names):
        return "own"
    if any(name.startswith(("clip_adapter.", "audio_encoder.audio_backbone.")) for name in names):
        return "released"
    if any(name.startswith("sem_seg_head.") for name in names):
        return "COCO"
    if any(name.startswith("audio_encoder.") for name in names):
        return "own"
    return next((part.key for part in PARTS if part.mark in names), "unknown")


def split_foreign(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give weights of any layout our names; our own names stay.

    Args:
        state: weights by name.

    Returns:
        The weights under our names; and what has no place here, under its own names: constants,
        and a class layer that is not object / no object.
    """
    layout = layout_of(state)
    if layout == "own":
        return dict(state), {}
    weights, rest = {}, {}
    for name, value in state.items():
        ours = _our_name(name, layout)
        foreign_classes = layout == "COCO" and ours.startswith(CLASS_LAYER) and len(value) != 2
        if CONSTANTS.search(ours) or foreign_classes:
            rest[name] = value
        else:
            weights[ours] = value
    return weights, rest


def convert_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `split_foreign`, without what has no place here."""
    return split_foreign(state)[0]


def to_layout(
    weights: Mapping[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give weights under our names those of a layout, the inverse of `split_foreign`.

    Args:
        weights: by our names.
        layout: "own", "released", "COCO", "AUDIO" or "CLIP".

    Returns:
        The weights that the layout has a place for, under its names; and the others, under ours.

    Raises:
        ValueError: a part is not there that files of the layout hold.
    """
    _check_holds(weights, layout)
    renamed, rest = {}, {}
    for name, value in weights.items():
        if _has_place(name, layout):
            renamed[_their_name(name, layout)] = value
        else:
            rest[name] = value
    return renamed, rest


def _check_holds(weights: Mapping[str, Tensor], layout: str) -> None:
    marks = {part.prefix: part.prefix + part.mark for part in PARTS}
    needed = [marks.get(prefix, prefix) for prefix in HOLDS[layout]]
    absent = [start for start in needed if not any(name.startswith(start) for name in weights)]
    if absent:
        raise ValueError(f"no {LAYOUTS[layout]} without {absent[0]}: these weights have none")
    foreign = next((name for name in weights if _is_timms_own(name, layout)), None)
    if foreign:
        raise ValueError(
            f"'{foreign}' has no name in a {LAYOUTS[layout]}: expected a plain ResNet or a Swin"
        )


def _is_timms_own(name: str, layout: str) -> bool:
    return layout in ("released", "COCO") and _their_name(name, layout).startswith("backbone.net.")


def _has_place(name: str, layout: str) -> bool:
    if layout == "own":
        return True
    held = name.startswith(HOLDS[layout])
    # Its class layer has other classes, its other parts know no sound.
    coco = layout == "COCO" and (SOUND_IN_HEAD.search(name) or name.startswith(CLASS_LAYER))
    return held and not coco


def _our_name(name: str, layout: str) -> str:
    for part in PARTS:
        if layout == part.key:
            return part.prefix + name.removeprefix(part.prefix)
    return _renamed(name, RENAMINGS)


def _their_name(name: str, layout: str) -> str:
    if layout == "own":
        return name
    for part in PARTS:
        if layout == part.key:
            return name.removeprefix(part.prefix)
    return _renamed(name, [(ours, theirs) for theirs, ours in RENAMINGS])


def _renamed(name: str, pairs: list[tuple[str, str]]) -> str:
    for source, target in pairs:
        match = _pattern(source).match(name)
        if match:
            found = match.groupdict().items()
            numbers = {place: int(text) - _shift(source, place) for place, text in found}
            return _filled(target, numbers) + name[match.end() :]
    return name


@functools.cache
def _pattern(template: str) -> re.Pattern:
    """What matches a template: numbers at its places."""
    pieces = PLACE.split(template)  # text, place, shift, text, place, shift, ..., text
    texts, places = pieces[::3], [*pieces[1::3], None]
    return re.compile(
        "".join(
            re.escape(text) + (f"(?P<{place}>\\d+)" if place else "")
            for text, place in zip(texts, places, strict=True)
        )
    )


def _shift(template: str, place: str) -> int:
    return next(int(m[2] or 0) for m in PLACE.finditer(template) if m[1] == place)


def _filled(template: str, numbers: Mapping[str, int]) -> str:
    return PLACE.sub(lambda m: str(numbers[m[1]] + int(m[2] or 0)), template)


def by_part(names: Iterable[str]) -> str:
    """Numbers of parameters by the first two places of their names, in one line."""
    counts = Counter(".".join(name.split(".")[:2]) for name in sorted(names))
    return ", ".join(f"{part} ({n})" for part, n in counts.items())
