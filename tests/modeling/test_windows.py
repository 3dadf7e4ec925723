"""Windows of a stream: each item is new once, and windows are full."""

import pytest

from ovavss_d2.modeling.windows import split_windows


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 23])
def test_each_item_is_new_once_and_windows_are_full(count):
    items = []
    for new, window in split_windows(range(count), 5):
        items += window[-new:]
        assert window == list(range(window[0], len(items)))
        assert len(window) == min(count, 5)
    assert items == list(range(count))


def test_all_windows_but_the_last_are_disjoint():
    windows = [window for _, window in split_windows("abcdefg", 3)]
    assert list(map("".join, windows)) == ["abc", "def", "efg"]


def test_a_stream_is_read_only_as_needed():
    items = iter(range(50))
    next(split_windows(items, 5))
    assert next(items) == 5
