"""Output of the benchmark: JSON and Markdown tables."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ovavss_d2.files import atomic_path, write_json

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table: three significant digits, without empty columns."""
    columns = [c for c in rows[0] if any(row.get(c) not in (None, "") for row in rows)]
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [all(isinstance(row.get(c), int | float | None) for row in rows) for c in columns]
    align = ["right" if is_number else "left" for is_number in numeric]
    return tabulate(cells, columns, tablefmt="pipe", colalign=align, disable_numparse=True)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "-"
    if isinstance(value, float):
        digits = 0 if value == 0 else math.floor(math.log10(abs(value)))
        return f"{value:,.{min(max(0, 2 - digits), 3)}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def section(result: Row) -> str:
    """Title and table of a suite, and a line with the settings and the machine."""
    machine = result["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    caption = (
        f"{result['settings']}; {machine['processor']}{gpu}, {machine['threads']} threads, "
        f"torch {machine['torch']}, commit {machine['commit']}, "
        f"load {machine['load']} at the start."
    )
    return f"### {result['title']}\n\n{table(result['rows'])}\n\n{caption}"


def write(folder: Path, results: Mapping[str, Row]) -> None:
    """Write `benchmark.json` and `benchmark.md`.

    Args:
        folder: the output folder.
        results: by suite a dict of `title`, `machine`, `settings` and `rows`.
    """
    write_json(folder / "benchmark.json", results)
    with atomic_path(folder / "benchmark.md") as path:
        path.write_text("\n\n".join(map(section, results.values())) + "\n", encoding="utf-8")
