"""The benchmark's figures: one row a measurement, as CSV and as a table to read.

In: rows. Out: the same columns in the same order every time; what was not measured is an empty cell, never NaN.
"""

import csv
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 150  # of a table that is printed to a file or a pipe
OURS = "kgen"  # the contender; the others say that it was not kernels on a GPU
INTERPRETED = f"{OURS} (Triton's interpreter)"
NO_KERNEL = f"{OURS} (torch reference, no kernel ran)"
REMARKS = {
    INTERPRETED: "kernels ran in Triton's interpreter: what they take says nothing about a GPU",
    NO_KERNEL: "no kernel ran: the function was its torch reference; TRITON_INTERPRET=1 runs kernels interpreted",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, the CSV's columns in order; None is an empty cell."""

    case: str
    size: str
    dtype: str
    contender: str
    direction: str
    median_us: float | None
    floor_us: float | None
    ratio_to_floor: float | None
    peak_mb: float | None  # 2**20 bytes, beyond inputs and cotangents
    error: float | None  # against fp64, of the worst tensor
    status: str  # "ok", or what is wrong
    device: str
    torch: str
    triton: str
    kgen_digest: str  # of the generated package's text

    @property
    def ours(self) -> bool:
        return self.contender in (OURS, INTERPRETED, NO_KERNEL)


def write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: spell(value) for name, value in asdict(row).items()} for row in rows)


def spell(value: str | float | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value or ""


def remarks(rows: list[Row]) -> list[str]:
    """What must be known to read the rows."""
    return [REMARKS[name] for name in dict.fromkeys(row.contender for row in rows) if name in REMARKS]


def table(rows: list[Row]) -> Table:
    """The rows of one case."""
    first = rows[0]
    title = f"{first.case}  {first.size}  {first.dtype}"
    drawn = Table(title=title, title_justify="left", box=None, min_width=len(title))
    for name in ("contender", "direction", "us", "floor", "x floor", "peak MB", "error", "status"):
        words = name in ("contender", "direction", "status")  # which a narrow terminal breaks, rather than figures
        drawn.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for row in rows:
        numbers = (row.median_us, row.floor_us, row.ratio_to_floor, row.peak_mb)
        texts = ["" if x is None else f"{x:.2f}" if x < 10 else f"{x:.0f}" for x in numbers]
        worst = "" if row.error is None else f"{row.error:.0e}"
        drawn.add_row(row.contender, row.direction, *texts, worst, Text(row.status[:40]))
    return drawn


def show(item: Table | str) -> None:
    """Print at full width where the output is a file or a pipe, which has none of its own."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(item, markup=False, soft_wrap=isinstance(item, str))
