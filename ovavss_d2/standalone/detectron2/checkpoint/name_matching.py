"""Match the weights of a checkpoint to a model that wraps them in further modules.

A backbone's checkpoint says `res2.0.conv1.weight` where a model says
`backbone.res2.0.conv1.weight`. Checkpoints that ask for it ("matching_heuristics") are matched by
the ends of the names.
"""

import logging
from collections import defaultdict
from typing import Any

logger = logging.getLogger(__name__)


def match_names(model_names: list[str], checkpoint_names: list[str]) -> dict[str, str]:
    """For each model name the longest checkpoint name that is its end, at a dot.

    Args:
        model_names: full names in the model.
        checkpoint_names: names in the checkpoint.

    Returns:
        Checkpoint name by model name, without the model names that nothing matches.

    Raises:
        ValueError: one checkpoint name would go to several places of the model.
    """
    available = set(checkpoint_names)
    matches = {}
    for name in model_names:
        parts = name.split(".")
        # From the full name to its last part, so that the longest match wins.
        ends = (".".join(parts[first:]) for first in range(len(parts)))
        found = next((end for end in ends if end in available), None)
        if found is not None:
            matches[name] = found
    _refuse_ambiguity(matches)
    return matches


def _refuse_ambiguity(matches: dict[str, str]) -> None:
    places = defaultdict(list)
    for model_name, checkpoint_name in matches.items():
        places[checkpoint_name].append(model_name)
    for checkpoint_name, model_names in places.items():
        if len(model_names) > 1:
            raise ValueError(
                f"'{checkpoint_name}' of the checkpoint matches several parameters of the model:"
                f" {', '.join(model_names)}; rename it in the checkpoint"
            )


def align_names(model_state: dict[str, Any], checkpoint_state: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's weights under the model's names; what does not match keeps its name.

    Weights of another shape than the model's are left out, with a warning.
    """
    matches = match_names(list(model_state), list(checkpoint_state))
    used = set(matches.values())
    aligned = {name: value for name, value in checkpoint_state.items() if name not in used}
    for model_name, checkpoint_name in matches.items():
        value = checkpoint_state[checkpoint_name]
        if tuple(value.shape) == tuple(model_state[model_name].shape):
            aligned[model_name] = value
        else:
            logger.warning(
                "'%s' has shape %s in the checkpoint but '%s' has %s in the model: not loaded",
                checkpoint_name,
                tuple(value.shape),
                model_name,
                tuple(model_state[model_name].shape),
            )
    logger.info("Matched %d of %d weights by the ends of their names", len(used), len(aligned))
    return aligned
