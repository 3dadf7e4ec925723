"""Find the checkpoint from which an interrupted training goes on."""

import logging
from pathlib import Path

from ovavss_d2.weights.files import read_weights

logger = logging.getLogger(__name__)

TAG = "last_checkpoint"  # file that names the newest checkpoint of a folder


def newest_checkpoint(folder: str) -> str:
    """The checkpoint that `last_checkpoint` names; if it is damaged, the newest whole one.

    Returns:
        Its path, or "" if the training has none yet.

    Raises:
        ValueError: there are only damaged ones.
    """
    tag = Path(folder, TAG)
    name = tag.read_text(errors="replace").strip() if tag.is_file() else ""
    if not name:
        problem = f"'{tag}' is {'empty' if tag.is_file() else 'missing'}"
    elif not Path(folder, name).is_file():
        problem = f"'{tag}' names '{name}', which does not exist"
    else:
        try:
            read_weights(str(Path(folder, name)), mapped=True)
            return str(Path(folder, name))
        except ValueError as error:
            problem = str(error)
    others = [(_iteration(path), str(path)) for path in sorted(Path(folder).glob("*.pth"))]
    iteration, path = max(others, default=(-1, ""))
    if iteration >= 0:
        logger.warning("%s; resuming from '%s', the newest whole checkpoint", problem, path)
        return path
    if tag.is_file():
        raise ValueError(f"cannot resume: {problem}, and '{folder}' has no other whole checkpoint")
    return ""


def _iteration(path: Path) -> int:
    """The iteration of a training at a checkpoint; -1 if it is damaged or of another kind."""
    try:
        iteration = read_weights(str(path), mapped=True).get("iteration")
    except ValueError:
        return -1
    return iteration if isinstance(iteration, int) else -1
