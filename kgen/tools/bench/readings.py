"""Measurements read again: the rows of CSVs that `kgen bench` wrote, typed, and what all readers ask of them.

In: a CSV with the columns of `Row`, in any order; those of `LATER` an older version had not. Out: its rows in the
file's order; a KgenError that names the columns, or the line, where it is another file. An empty cell is None, for it
was not measured.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from kgen.errors import KgenError, Mark
from kgen.tools.bench.figures import COLUMNS, OURS, Row

LATER = ("spread", "bytes_us", "instructions_us", "products_us", "binds", "gflops", "max_abs")
ALWAYS = tuple(name for name in COLUMNS if name not in LATER)
FIGURES = tuple(field.name for field in fields(Row) if field.type == float | None)


def read(path: Path, needed: Iterable[str] = ALWAYS) -> list[Row]:
    """The rows of a CSV. Raises KgenError where it cannot be read, is another file, or has no rows."""
    if found := kept(path, needed):
        return found
    raise KgenError(f"{path} has no measurements")


def kept(path: Path, needed: Iterable[str] = ALWAYS) -> list[Row]:
    """The rows of a CSV, which may be none yet. Raises KgenError where it cannot be read, or is another file."""
    return [_row(mark, texts) for mark, texts in _lines(path, needed)]


def cells(path: Path, needed: Iterable[str] = ALWAYS) -> list[dict[str, str]]:
    """The texts of a CSV's rows, "" in columns that an older version had not. Raises KgenError as `kept` does."""
    return [texts for _, texts in _lines(path, needed)]


def _lines(path: Path, needed: Iterable[str]) -> list[tuple[Mark, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            _must_fit(path, list(lines.fieldnames or []), needed)
            return [_texts(Mark(str(path), lines.line_num, 1), line) for line in lines]
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise KgenError(f"{path} is no CSV: {error}") from None


def _texts(mark: Mark, line: Mapping[str | None, object]) -> tuple[Mark, dict[str, str]]:
    """One line of the file; KgenError for cells that are missing or too many."""
    found = {name: text for name, text in line.items() if name is not None and isinstance(text, str)}
    if len(found) != len(line):
        raise KgenError("the line has another number of cells than the first", mark)
    return mark, {**dict.fromkeys(COLUMNS, ""), **found}


def _row(mark: Mark, texts: Mapping[str, str]) -> Row:
    figures = {name: _number(mark, name, texts[name]) for name in FIGURES}
    return Row(**{**texts, **figures})  # type: ignore[arg-type]  # the columns are the fields


def time(row: Row | None) -> float | None:
    """The median of a contender that is right, microseconds; None for every other."""
    return row.median_us if row and row.status == "ok" else None


def extents(size: str) -> dict[str, int]:
    """The extents in a text such as "b=4096 n=512"; KgenError where it is none."""
    pairs = [word.partition("=") for word in size.split()]
    if not all(axis and extent.isdecimal() for axis, _, extent in pairs):
        raise KgenError(f"size {size!r} is not AXIS=EXTENT …", hint="`kgen.bench.sweep` names axes, `run` has none")
    return {axis: int(extent) for axis, _, extent in pairs}


def kernels(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each case and dtype, in the file's order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.case, row.dtype), []).append(row)
    return found


def circumstances(rows: Sequence[Row]) -> str:
    """The device, the versions and, where it was not kernels on a GPU, what ran; KgenError for several devices."""
    devices = list(dict.fromkeys(row.device for row in rows))
    if len(devices) > 1:
        raise KgenError(f"measured on {', '.join(devices)}", hint="keep the rows of one device")
    versions = [f"{name} {_values(rows, name)}" for name in ("torch", "triton") if _values(rows, name)]
    return ", ".join([*devices, *versions, *dict.fromkeys(r.contender for r in rows if r.ours and r.contender != OURS)])


def _values(rows: Iterable[Row], column: str) -> str:
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


def _number(mark: Mark, name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise KgenError(f"{name} {text!r} is no number", mark) from None
