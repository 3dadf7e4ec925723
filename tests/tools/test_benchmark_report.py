"""Tables, charts and the page that holds them."""

import json
import math

import pytest

from tools.benchmark.report import fill, table, write

MACHINE = {
    "processor": "a chip",
    "gpu": None,
    "threads": 2,
    "torch": "2",
    "commit": "abc",
    "load": 0,
}


def result(rows, title="A title"):
    return {"title": title, "machine": MACHINE, "settings": "small", "rows": rows}


def test_numbers_keep_three_digits_and_empty_columns_go():
    text = table([{"name": "a", "ms": 1234.5, "GPU MiB": None}, {"name": "b", "ms": 0.01234}])
    assert "1,234" in text and "0.012" in text and "GPU" not in text
    assert "-" in table([{"ms": math.nan}, {"ms": 1.0}]).splitlines()[2]


def test_a_page_gets_the_tables_it_has_a_place_for(tmp_path):
    page = tmp_path / "page.md"
    place = "<!-- benchmark {} -->\n{}\n<!-- end -->\n"
    page.write_text("before\n" + place.format("a", "old") + "after\n" + place.format("b", "kept"))
    assert fill(page, {"a": result([{"x": 1}]), "c": result([{"x": 2}])}) == ["a"]
    text = page.read_text()
    assert "old" not in text and "kept" in text and "| 1" in text.replace("|   1", "| 1")
    assert text.startswith("before\n<!-- benchmark a -->\n") and "commit abc" in text
    assert fill(page, {"a": result([{"x": 1}])}) == ["a"] and page.read_text() == text


def test_a_page_without_a_place_is_an_error_and_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text")
    with pytest.raises(ValueError, match="has no place for a"):
        fill(page, {"a": result([{"x": 1}])})
    assert page.read_text() == "text"


def test_json_markdown_and_chart_are_written(tmp_path):
    naming = [{"variant": "v", "ms a video": 3.0, "mIoU": 50.0}]
    growth = [{"axis": "T", "value": v, "ms": 2.0 * v} for v in (1, 2)]
    passing = [{"queries": n, "clip by crop s": 1.0 + n} for n in (1, 10)]
    results = {"variants": naming, "growth": growth, "passing-r50": passing, "stages": naming}
    write(tmp_path, {suite: result(rows) for suite, rows in results.items()})
    assert json.loads((tmp_path / "benchmark.json").read_text())["growth"]["rows"] == growth
    assert (tmp_path / "benchmark.md").read_text().count("### A title") == 4
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    write(tmp_path / "other", {"stages": result(naming)})
    assert not (tmp_path / "other" / "benchmark.png").exists()
