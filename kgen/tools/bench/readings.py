"""Measurements read again: the rows of CSVs that `kgen bench` wrote, typed, and what all readers ask of them.

In: a CSV with the columns of `Reading`, in any order; those of `LATER` an older version had not. Out: its rows in the
file's order; a KgenError that names the columns, or the line, where it is another file. An empty cell is None, for it
was not measured.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from kgen.errors import KgenError, Mark
from kgen.tools.bench.figures import INTERPRETED, NO_KERNEL, OURS

DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement, the CSV's columns in order; times in microseconds, memory in units of 2**20 bytes."""

    case: str
    size: str  # "b=4096 n=512"
    dtype: str
    contender: str
    direction: str
    median_us: float | None
    spread: float | None  # half the interquartile range of the samples, over their median
    floor_us: float | None  # the largest of the next three
    bytes_us: float | None
    instructions_us: float | None
    products_us: float | None
    binds: str  # which of the three is the floor: "bytes", "instructions" or "products"
    ratio_to_floor: float | None
    gflops: float | None
    peak_mb: float | None
    error: float | None
    max_abs: float | None
    status: str
    device: str
    torch: str
    triton: str
    kgen_digest: str

    @property
    def ours(self) -> bool:
        return self.contender in (OURS, INTERPRETED, NO_KERNEL)


COLUMNS = tuple(field.name for field in fields(Reading))
LATER = ("spread", "bytes_us", "instructions_us", "products_us", "binds", "gflops", "max_abs")
ALWAYS = tuple(name for name in COLUMNS if name not in LATER)


def read(path: Path, needed: Iterable[str] = ALWAYS) -> list[Reading]:
    """The rows of a CSV. Raises KgenError where it cannot be read, is another file, or has no rows."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            present = list(lines.fieldnames or [])
            _must_fit(path, present, needed)
            found = [_reading(Mark(str(path), lines.line_num, 1), present, line) for line in lines]
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise KgenError(f"{path} is no CSV: {error}") from None
    if not found:
        raise KgenError(f"{path} has no measurements")
    return found


def time(row: Reading | None) -> float | None:
    """The median of a contender that is right, microseconds; None for every other."""
    return row.median_us if row and row.status == "ok" else None


def extents(size: str) -> dict[str, int]:
    """The extents in a text such as "b=4096 n=512"; KgenError where it is none."""
    pairs = [word.partition("=") for word in size.split()]
    if not all(axis and extent.isdecimal() for axis, _, extent in pairs):
        raise KgenError(f"size {size!r} is not AXIS=EXTENT …")
    return {axis: int(extent) for axis, _, extent in pairs}


def kernels(rows: Iterable[Reading]) -> dict[tuple[str, str], list[Reading]]:
    """The rows of each case and dtype, in the file's order."""
    found: dict[tuple[str, str], list[Reading]] = {}
    for row in rows:
        found.setdefault((row.case, row.dtype), []).append(row)
    return found


def circumstances(rows: Sequence[Reading]) -> str:
    """The device, the versions and, where it was not kernels on a GPU, what ran; KgenError for several devices."""
    devices = list(dict.fromkeys(row.device for row in rows))
    if len(devices) > 1:
        raise KgenError(f"measured on {', '.join(devices)}", hint="keep the rows of one device")
    versions = [f"{name} {_values(rows, name)}" for name in ("torch", "triton") if _values(rows, name)]
    return ", ".join([*devices, *versions, *dict.fromkeys(r.contender for r in rows if r.ours and r.contender != OURS)])


def _values(rows: Iterable[Reading], column: str) -> str:
    """What a column says; more than one value where several runs were joined."""
    return "/".join(dict.fromkeys(text for row in rows if (text := getattr(row, column))))


def _must_fit(path: Path, present: Sequence[str], needed: Iterable[str]) -> None:
    missing = [name for name in dict.fromkeys([*ALWAYS, *needed]) if name not in present]
    unknown = [name for name in present if name not in COLUMNS]
    twice = [name for name in dict.fromkeys(present) if present.count(name) > 1]
    parts = {"misses": missing, "has unknown": unknown, "has twice": twice}
    told = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    if told:
        raise KgenError(
            f"{path} is no CSV of kgen bench, or of another version: it {' and '.join(told)}",
            hint="measure again: kgen bench … --out NAME.csv",
        )


def _reading(mark: Mark, present: Iterable[str], line: Mapping[str | None, object]) -> Reading:
    """One line of the file; KgenError for cells that are missing, too many, or no numbers."""
    found = {name: line[name] for name in present}
    cells = dict.fromkeys(COLUMNS, "") | {name: text for name, text in found.items() if isinstance(text, str)}
    if None in line or None in found.values():
        raise KgenError("the line has another number of cells than the first", mark)

    def number(name: str) -> float | None:
        return _number(mark, name, cells[name])

    try:
        extents(cells["size"])
    except KgenError as mistake:
        raise KgenError(mistake.message, mark) from None
    return Reading(
        case=cells["case"],
        size=cells["size"],
        dtype=cells["dtype"],
        contender=cells["contender"],
        direction=cells["direction"],
        median_us=number("median_us"),
        spread=number("spread"),
        floor_us=number("floor_us"),
        bytes_us=number("bytes_us"),
        instructions_us=number("instructions_us"),
        products_us=number("products_us"),
        binds=cells["binds"],
        ratio_to_floor=number("ratio_to_floor"),
        gflops=number("gflops"),
        peak_mb=number("peak_mb"),
        error=number("error"),
        max_abs=number("max_abs"),
        status=cells["status"],
        device=cells["device"],
        torch=cells["torch"],
        triton=cells["triton"],
        kgen_digest=cells["kgen_digest"],
    )


def _number(mark: Mark, name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise KgenError(f"{name} {text!r} is no number", mark) from None
