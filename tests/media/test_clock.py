"""Times go on where a file's clock restarts, and are the file's everywhere else."""

from fractions import Fraction

import av
import pytest

from ovavss_d2.media.clock import timed


def times_of(stated):
    packets = []
    for time in stated:
        packet = av.Packet()
        packet.time_base, packet.duration = Fraction(1, 1000), 100
        packet.pts = None if time is None else round(1000 * time)
        packets.append(packet)
    return [time for time, _ in timed(packets)]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([5, 5.1, 5.2], [5, 5.1, 5.2]),
        ([-2, -1.9, 60, 60.1], [-2, -1.9, 60, 60.1]),  # a gap
        ([5, 5.1, 4.6, 4.7], [5, 5.1, 4.6, 4.7]),  # recordings that overlap
        ([8, 8.1, 1.4, 1.5], [8, 8.1, 8.2, 8.3]),  # a clock that restarts
        ([1, 1.1, 95000, 95000.1], [1, 1.1, 1.2, 1.3]),
        ([8, 8.1, 1.4, 8.3, 8.4], [8, 8.1, 8.2, 8.3, 8.4]),  # one wrong time
        ([1, 1.1, 95000, 1.3], [1, 1.1, 1.2, 1.3]),
        ([None, None, 0.3, None], [0, 0.1, 0.3, 0.4]),
    ],
)
def test_times_go_on(stated, expected):
    assert times_of(stated) == pytest.approx(expected)


def test_equal_parts_without_times_follow_each_other():
    frames = [av.VideoFrame(8, 8, "rgb24") for _ in range(3)]
    assert [time for time, _ in timed(frames, 2.0, 0.5)] == [2, 2.5, 3]
