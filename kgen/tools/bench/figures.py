"""The benchmark's figures: one row a measurement, as CSV and as a table to read.

In: rows. Out: the same columns in the same order every time; what was not measured is an empty cell, never NaN.
"""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

DIRECTIONS = ("forward", "forward+backward")
OURS = "kgen"  # the contender; the others say that it was not kernels on a GPU
INTERPRETED = f"{OURS} (Triton's interpreter)"
NO_KERNEL = f"{OURS} (torch reference, no kernel ran)"
SPENT = "skipped: the time budget is spent"
ABSENT = "not installed"
BUSY = 0.1  # a spread beyond which something else was running, or the device changed its clocks
REMARKS = {
    INTERPRETED: "kernels ran in Triton's interpreter: what they take says nothing about a GPU",
    NO_KERNEL: "no kernel ran: the function was its torch reference; TRITON_INTERPRET=1 runs kernels interpreted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement, the CSV's columns in order; None is an empty cell."""

    case: str
    size: str
    dtype: str
    contender: str
    direction: str
    median_us: float | None = None
    spread: float | None = None  # half the interquartile range of the samples over their median
    floor_us: float | None = None  # the largest of the next three
    bytes_us: float | None = None  # of memory traffic
    instructions_us: float | None = None
    products_us: float | None = None  # of matrices
    binds: str = ""  # which of the three is the floor
    ratio_to_floor: float | None = None
    gflops: float | None = None  # operations of the formula over the median, 1e9/s
    peak_mb: float | None = None  # 2**20 bytes, beyond inputs and cotangents
    error: float | None = None  # against fp64, of the worst tensor, relative
    max_abs: float | None = None  # against fp64, of the worst element
    status: str  # "ok", or what is wrong
    device: str
    torch: str
    triton: str
    kgen_digest: str  # of the generated package's text

    @property
    def ours(self) -> bool:
        return self.contender in (OURS, INTERPRETED, NO_KERNEL)

    @property
    def busy(self) -> bool:
        return self.spread is not None and self.spread > BUSY

    @property
    def failed(self) -> bool:
        """Whether something is wrong with it, rather than that it was not measured."""
        return self.status != "ok" and not self.status.startswith("skipped")


@dataclass(frozen=True, slots=True)
class Floor:
    """Microseconds that a direction of a case takes at least on the device, for each reason; None where unknown."""

    bytes_us: float
    instructions_us: float | None = None
    products_us: float | None = None
    operations: float | None = None  # of the formula, a multiplication and an addition each one

    @property
    def reasons(self) -> dict[str, float]:
        found = {"bytes": self.bytes_us, "instructions": self.instructions_us, "products": self.products_us}
        return {name: us for name, us in found.items() if us is not None}

    @property
    def least(self) -> float:
        return max(self.reasons.values())

    @property
    def binds(self) -> str:
        """The reason that is the floor."""
        return max(self.reasons, key=lambda name: self.reasons[name])

    def columns(self, median: float | None) -> dict[str, Any]:
        """Of a row whose time is `median` microseconds."""
        return {
            "floor_us": self.least,
            "bytes_us": self.bytes_us,
            "instructions_us": self.instructions_us,
            "products_us": self.products_us,
            "binds": self.binds,
            "ratio_to_floor": None if median is None else median / self.least,
            "gflops": None if median is None or self.operations is None else self.operations / median / 1e3,
        }


COLUMNS = tuple(field.name for field in fields(Row))


def write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: spell(value) for name, value in asdict(row).items()} for row in rows)


def spell(value: str | float | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value or ""


def remarks(rows: list[Row]) -> list[str]:
    """What must be known to read the rows."""
    return [REMARKS[name] for name in dict.fromkeys(row.contender for row in rows) if name in REMARKS]


def floors(rows: Iterable[Row]) -> list[str]:
    """For each direction of one case the parts of its floor, and which of them it is."""
    return [_floor(row) for row in {row.direction: row for row in rows if row.binds}.values()]


def _floor(row: Row) -> str:
    parts = {"bytes": row.bytes_us, "instructions": row.instructions_us, "products": row.products_us}
    told = [f"{name} {short(us)} us" for name, us in parts.items() if us is not None]
    return f"{row.direction} takes at least, for its {', '.join(told)}: {row.binds} bind"


def short(x: float | None) -> str:
    """A figure of a table: two digits behind the point where it is small."""
    return "" if x is None else f"{x:.2f}" if x < 10 else f"{x:.0f}"


def doubts(rows: list[Row]) -> list[str]:
    """What speaks against the rows' figures."""
    count = sum(row.busy for row in rows)
    what = f"{count} of {len(rows)} times spread by more than {BUSY:.0%}: the device was busy, or changed its clocks"
    return [what] if count else []


def table(rows: list[Row]) -> Table:
    """The rows of one case, and below them what their floors are made of."""
    first = rows[0]
    title = f"{first.case}  {first.size}  {first.dtype}"
    drawn = Table(title=title, title_justify="left", box=None, min_width=len(title))
    drawn.caption, drawn.caption_justify = Text("\n".join(floors(rows))), "left"
    for name in ("contender", "direction", "us", "±", "floor", "x floor", "peak MB", "error", "status"):
        words = name in ("contender", "direction", "status")  # which a narrow terminal breaks, rather than figures
        drawn.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for row in rows:
        numbers = (row.median_us, row.floor_us, row.ratio_to_floor, row.peak_mb)
        median, *texts = map(short, numbers)
        spread = "" if row.spread is None else f"{row.spread:.0%}"
        worst = "" if row.error is None else f"{row.error:.0e}"
        status = row.status[:40] + (", busy" if row.busy else "")
        drawn.add_row(row.contender, row.direction, median, spread, *texts, worst, Text(status))
    return drawn
