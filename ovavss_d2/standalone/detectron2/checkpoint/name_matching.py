"""Match the weights of a checkpoint to a model that wraps them in further modules.

A backbone's checkpoint says `res2.0.conv1.weight` where a model says
`backbone.res2.0.conv1.weight`. Checkpoints that ask for it ("matching_heuristics") are matched by
the ends of the names.
"""

import logging
from collections import defaultdict
from typing import Any

logger = logging.getLogger(__name__)


def align_names(model_state: dict[str, Any], checkpoint_state: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's weights under the model's names; what does not match keeps its own name.

    Args:
        model_state: tensors by name.
        checkpoint_state: tensors by name. Each goes to the name in the model that ends in its own
            name, at a dot; the longest match counts, and only one of the same shape.

    Raises:
        ValueError: a weight of the checkpoint would go to several places of the model.
    """
    sources: dict[str, str] = {}
    for name, value in model_state.items():
        source = _longest_end(name, checkpoint_state)
        if source is None:
            continue
        if checkpoint_state[source].shape == value.shape:
            sources[name] = source
        else:
            logger.warning(
                "'%s' has shape %s in the checkpoint but '%s' has %s in the model: not loaded",
                source,
                tuple(checkpoint_state[source].shape),
                name,
                tuple(value.shape),
            )
    _refuse_ambiguity(sources)
    logger.info("Matched %d weights by the ends of their names", len(sources))
    used = set(sources.values())
    unmatched = {name: value for name, value in checkpoint_state.items() if name not in used}
    return unmatched | {name: checkpoint_state[source] for name, source in sources.items()}


def _longest_end(name: str, available: dict[str, Any]) -> str | None:
    parts = name.split(".")
    ends = (".".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in available), None)


def _refuse_ambiguity(sources: dict[str, str]) -> None:
    places = defaultdict(list)
    for name, source in sources.items():
        places[source].append(name)
    for source, names in places.items():
        if len(names) > 1:
            raise ValueError(
                f"'{source}' of the checkpoint matches several parameters of the model:"
                f" {', '.join(names)}; rename it in the checkpoint"
            )
