"""What a benchmark leaves: JSON, Markdown tables, a chart, and a page that holds the tables."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the back end comes first)
from tabulate import tabulate  # noqa: E402

from ovavss_d2.files import atomic_path, write_json  # noqa: E402

MARK = re.compile(r"(<!-- benchmark (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(rows: Sequence[dict]) -> str:
    """Rows as Markdown; numbers keep three digits or two places, empty columns are left out."""
    columns = [c for c in rows[0] if any(row.get(c) not in (None, "") for row in rows)]
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [all(_is_number(row.get(c)) for row in rows) for c in columns]
    align = ["right" if is_number else "left" for is_number in numeric]
    return tabulate(cells, columns, tablefmt="pipe", colalign=align, disable_numparse=True)


def _is_number(value) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value) -> str:
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "-"
    if isinstance(value, float):
        size = 0 if value == 0 else math.floor(math.log10(abs(value)))
        return f"{value:,.{2 if size == 1 else min(max(0, 2 - size), 3)}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def caption(machine: dict, settings: str) -> str:
    """One line on where and how rows were measured."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{settings}; {machine['processor']}{gpu}, {machine['threads']} threads, "
        f"torch {machine['torch']}, commit {machine['commit']}, "
        f"load {machine['load']} at the start."
    )


def write(folder: Path, results: dict) -> None:
    """Write `benchmark.json`, `benchmark.md` and `benchmark.png`.

    Args:
        folder: where to.
        results: by suite a dict of `title`, `machine`, `settings` and `rows`.
    """
    write_json(folder / "benchmark.json", results)
    with atomic_path(folder / "benchmark.md") as path:
        path.write_text("\n\n".join(section(r) for r in results.values()) + "\n", encoding="utf-8")
    chart(folder / "benchmark.png", results)


def section(result: dict) -> str:
    """A suite's title, table and caption."""
    text = caption(result["machine"], result["settings"])
    return f"### {result['title']}\n\n{table(result['rows'])}\n\n{text}"


def fill(page: Path, results: dict) -> list[str]:
    """Put tables into a page, between `<!-- benchmark SUITE -->` and `<!-- end -->`.

    Returns:
        The suites that the page has a place for.

    Raises:
        ValueError: the page has a place for none of them.
    """
    filled = []

    def put(match):
        if match[2] not in results:
            return match[0]
        filled.append(match[2])
        result = results[match[2]]
        text = caption(result["machine"], result["settings"])
        return f"{match[1]}{table(result['rows'])}\n\n{text}\n{match[3]}"

    text = MARK.sub(put, page.read_text(encoding="utf-8"))
    if not filled:
        raise ValueError(
            f"'{page}' has no place for {', '.join(results)}: expected a line such as "
            f"<!-- benchmark {next(iter(results))} --> and below it <!-- end -->"
        )
    with atomic_path(page) as path:
        path.write_text(text, encoding="utf-8")
    return filled


def chart(path: Path, results: dict) -> None:
    """Draw what has been measured: accuracy against time, time against passing queries, growth."""
    drawers = {"variants": _draw_variants, "growth": _draw_growth}
    drawn = []
    for suite, result in results.items():
        drawer = drawers.get(suite, _draw_passing if suite.startswith("passing") else None)
        if drawer is not None:
            drawn.append((result, drawer))
    if not drawn:
        return
    figure, axes = plt.subplots(1, len(drawn), figsize=(6 * len(drawn), 4.5), squeeze=False)
    for axis, (result, drawer) in zip(axes[0], drawn, strict=True):
        drawer(axis, result["rows"])
        axis.set_title(result["title"], fontsize=10)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _draw_variants(axis, rows) -> None:
    for number, row in enumerate(rows, start=1):
        axis.scatter(row["ms a video"], row["mIoU"], label=f"{number} {row['variant']}", s=18)
        axis.annotate(str(number), (row["ms a video"], row["mIoU"]), fontsize=7)
    axis.set(xlabel="ms a video", ylabel="mIoU")
    axis.legend(fontsize=5)


def _draw_passing(axis, rows) -> None:
    for column in (c for c in rows[0] if c.startswith("clip by")):
        axis.plot([r["queries"] for r in rows], [r[column] for r in rows], "o-", label=column[:-2])
    axis.set(xlabel="queries that pass", ylabel="seconds a clip", xscale="log", yscale="log")
    axis.legend(fontsize=7)


def _draw_growth(axis, rows) -> None:
    for name in dict.fromkeys(row["axis"] for row in rows):
        points = [(r["value"], r["ms"]) for r in rows if r["axis"] == name]
        axis.plot(*zip(*points, strict=True), "o-", label=name)
    axis.set(xlabel="T, Q, K or L", ylabel="ms", xscale="log", yscale="log")
    axis.legend(fontsize=7)
