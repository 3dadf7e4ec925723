"""Deformable attention alone is timed in all its versions, and all of them agree."""

from tools.benchmark import sampling


def test_each_version_has_a_row_with_times_and_the_bytes_it_must_move(monkeypatch):
    monkeypatch.setattr(sampling, "COPIED", 1024)
    rows = sampling.sampling(frames=1, size=(32, 48), repeats=1)
    assert rows[0]["version"] == "plain" and len(rows) == 2
    places = 1 * 2 + 2 * 3 + 4 * 6
    values, weights = places * 8 * 32, places * 8 * 3 * 4
    assert rows[0]["least MB"] == 4 * (2 * values + 3 * weights) / 1e6
    for row in rows:
        assert min(row["forward ms"], row["backward ms"], row["of a copy's rate"]) > 0
