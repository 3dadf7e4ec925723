"""Mask propagation: masks follow the motion in the frames between two segmented ones.

A result holds from its time to the time of the next result, because its audio starts there. Labels
are propagated by the optical flow from each frame directly back to the segmented one: errors do not
accumulate from frame to frame, and frames may be skipped.

Shapes: H W pixels of a frame, h w of the smaller frames between which the flow is computed.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ovavss_d2.inference.results import FrameResult
from ovavss_d2.media.video import TIME_TOLERANCE

_FLOW_SIZE = 256  # longer side of the frames for the flow, in pixels
_FLOW_MIN = 32  # shorter side: OpenCV's pyramid fails on smaller ones
_CUT_DIFFERENCE = 40.0  # mean difference in gray levels after warping that means another scene


class MaskPropagator:
    """Propagates the labels of a segmented frame to the frames after it."""

    def __init__(self) -> None:
        self._optical_flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._key: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        self._flow: np.ndarray | None = None

    def start(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Start at a segmented frame, uint8 (H, W, 3) RGB, with its labels, integer (H, W)."""
        self._key = _small_gray(image)
        self._labels = labels.astype(np.int16 if labels.max(initial=0) < 2**15 else np.float32)
        self._flow = None

    def propagate(self, image: np.ndarray) -> np.ndarray:
        """Labels (H, W) of a later frame; 0 everywhere after a cut to another scene."""
        assert self._key is not None and self._labels is not None, "start() comes first"
        gray = _small_gray(image)
        if not self._labels.any() or np.array_equal(gray, self._key):
            return self._labels
        flow = self._optical_flow.calc(  # from this frame back to the key frame
            gray,
            self._key,
            self._flow,  # type: ignore[arg-type]  # an initial estimate, or None
        )
        warped = _warp(self._key, flow, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        if cv2.absdiff(warped, gray).mean() > _CUT_DIFFERENCE:
            self._flow = None
            return np.zeros_like(self._labels)
        self._flow = flow
        return _warp(self._labels, flow, cv2.INTER_NEAREST, cv2.BORDER_REPLICATE)


def _small_gray(image: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _FLOW_SIZE / max(gray.shape))
    size = tuple(max(_FLOW_MIN, round(side * scale)) for side in gray.shape[::-1])
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def _warp(image: np.ndarray, flow: np.ndarray, interpolation: int, border: int) -> np.ndarray:
    """Warp an image (H, W) by a flow (h, w, 2) in pixels of its own size."""
    height, width = image.shape
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(image, x, y, interpolation, borderMode=border)


def assign_results(
    frames: Iterable[tuple[float, np.ndarray]], results: Iterable[FrameResult]
) -> Iterator[tuple[float, np.ndarray | None, list[FrameResult]]]:
    """Assign results to the frames (ascending times in seconds, and images) that they start with.

    Yields:
        Time, image, and none, one or more new results, the last of which holds from this frame on.
        Results are read as needed; those after the last frame come with None as the image.
    """
    results = iter(results)
    following = next(results, None)
    time = 0.0
    for time, image in frames:
        new = []
        while following is not None and following.time <= time + TIME_TOLERANCE:
            new.append(following)
            following = next(results, None)
        yield time, image, new
    if following is not None:
        yield time, None, [following, *results]
