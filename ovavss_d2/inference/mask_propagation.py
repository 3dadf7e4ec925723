"""Masks that follow what they lie on in the frames between two segmented ones.

What a result says holds from its time to the next result's: it heard the sound from there on. So
its labels are carried forward, by the optical flow from each frame straight back to the segmented
one: errors do not add up from frame to frame, and frames may be dropped.

Shape letters: H W pixels of a frame, h w of the smaller frames between which the flow is found.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ovavss_d2.inference.results import FrameResult

_FLOW_SIZE = 256  # the longer side, in pixels, at which the flow is found
_FLOW_LEAST = 32  # the shorter side: OpenCV's pyramid breaks on narrower ones
_CUT = 40.0  # mean grey levels between a frame and the carried one: another scene
_EARLY = 0.0005  # seconds that file formats round times by


class Follower:
    """Carries the labels of a segmented frame to the frames after it."""

    def __init__(self) -> None:
        self._finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._key: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        self._flow: np.ndarray | None = None

    def start(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Begin with a segmented frame, uint8 (H, W, 3) RGB, and its labels, integer (H, W)."""
        self._key = _small_grey(image)
        self._labels = labels.astype(np.int16 if labels.max(initial=0) < 2**15 else np.float32)
        self._flow = None

    def carry(self, image: np.ndarray) -> np.ndarray:
        """Labels (H, W) of a later frame; 0 everywhere after a cut to another scene."""
        assert self._key is not None and self._labels is not None  # after a start
        grey = _small_grey(image)
        if not self._labels.any() or np.array_equal(grey, self._key):
            return self._labels
        flow = self._finder.calc(  # from here back to the key
            grey,
            self._key,
            self._flow,  # type: ignore[arg-type]  # a first guess, None where there is none
        )
        height, width = grey.shape
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        here = np.stack([across, down], axis=-1).astype(np.float32)
        carried = cv2.remap(  # type: ignore[call-overload]  # OpenCV's stubs: no map but the first
            self._key, here + flow, None, cv2.INTER_LINEAR
        )
        if cv2.absdiff(carried, grey).mean() > _CUT:
            self._flow = None
            return np.zeros_like(self._labels)
        self._flow = flow
        return _warped(self._labels, flow)


def _small_grey(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _FLOW_SIZE / max(grey.shape))
    size = tuple(max(_FLOW_LEAST, round(side * scale)) for side in grey.shape[::-1])
    if size == grey.shape[::-1]:
        return grey
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _warped(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Labels (H, W) moved by a flow (h, w, 2) in pixels of its own size."""
    height, width = labels.shape
    scale = (width / flow.shape[1], height / flow.shape[0])
    flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    across = flow[..., 0] * np.float32(scale[0]) + np.arange(width, dtype=np.float32)
    down = flow[..., 1] * np.float32(scale[1]) + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(labels, across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def hold_results(
    frames: Iterable[tuple[float, np.ndarray]], results: Iterable[FrameResult]
) -> Iterator[tuple[float, np.ndarray | None, list[FrameResult]]]:
    """Give every frame of a video the results that begin with it: none, or one or more.

    Args:
        frames: ascending times in seconds, with images.
        results: ascending in time; read only as they are needed.

    Yields:
        Time, image, and the new results, of which the last one holds from here on. Results after
        the last frame come with an image None.
    """
    results = iter(results)
    following = next(results, None)
    time = 0.0
    for time, image in frames:
        fresh = []
        while following is not None and following.time <= time + _EARLY:
            fresh.append(following)
            following = next(results, None)
        yield time, image, fresh
    if following is not None:
        yield time, None, [following, *results]
