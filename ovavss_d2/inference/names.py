"""Objects keep their names from window to window.

In a window an object has one name in all frames; the next window may see it otherwise, and a third
one as before. So an object that lies where one of the window before lies is taken for the same, and
is called what most windows call it, later ones counting more.

Shape letters: F frames that two windows share, H W pixels.
"""

from dataclasses import dataclass

import numpy as np

_SAME = 0.5  # intersection over union, in the shared frames, from which two objects are one
_MEMORY = 0.8  # weight of a window's evidence relative to the next one's


@dataclass(eq=False)
class _Known:
    """An object of the last window: the scores of its labels, and its masks (F, H, W) bool in the
    frames that the next window sees again."""

    evidence: dict[int, float]
    masks: np.ndarray


class NameKeeper:
    """Remembers the objects of the last window."""

    def __init__(self, overlap: int):
        """
        Args:
            overlap: frames F that neighbouring windows share.
        """
        self.overlap = overlap
        self._known: list[_Known] = []

    def settle(self, new: int, labels: list[int], scores: list[float], masks: list) -> list[int]:
        """Decide on the labels of a window's objects.

        Args:
            new: how many of its T frames are new.
            labels, scores: of its objects, best first.
            masks: theirs, bool (T, H, W).

        Returns:
            A label for each object.
        """
        waiting, found, settled = list(self._known), [], []
        for label, score, mask in zip(labels, scores, masks, strict=True):
            shared = mask[: len(mask) - new][-self.overlap :] if self.overlap else mask[:0]
            same = max(waiting, key=lambda known: _iou(known.masks, shared), default=None)
            evidence: dict[int, float] = {}
            if same is not None and _iou(same.masks, shared) > _SAME:
                waiting.remove(same)
                evidence = {key: _MEMORY * value for key, value in same.evidence.items()}
            evidence[label] = evidence.get(label, 0.0) + score
            settled.append(max(evidence, key=evidence.__getitem__))
            found.append(_Known(evidence, mask[len(mask) - self.overlap :].copy()))
        self._known = found
        return settled


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:  # the first window of a short video shares less
        return 0.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
