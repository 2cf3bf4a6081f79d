"""The resource report: one CSV row for each kernel, target and dtype, and what counts as worse than before.

In: Launches and their Resources, or the note of why there are none. Out: the CSV, its rows in a fixed order, without
paths, dates or hosts. A row's digest covers the kernel's text and launch, so it tells whether the row is out of date.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kgen.errors import KgenError
from kgen.tools.aot.launches import Launch
from kgen.tools.aot.resources import Resources, Widths

Key = tuple[str, str, str, str]  # module, kernel, target, dtype
GRANULE = 8  # registers are handed out in groups of eight for each thread
TIGHT_TARGET, TIGHT_COMPONENTS = "sm_90", 16  # where and up to which size of algebra none may begin to spill
MAY_SPILL = "float64"  # needs twice the registers
SECOND_ORDER = "_double_backward"  # in names of kernels that read twice the fields, and may spill


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. Numbers are None where compiling failed; then the note says why."""

    module: str
    kernel: str
    target: str
    dtype: str
    kind: str
    components: int | None
    rows: int | None
    block: int | None
    warps: int | None
    maxnreg: int | None  # the limit of registers that the launch asks for, if any
    registers: int | None
    spill_stores: int | None
    spill_loads: int | None
    shared: int | None
    instructions: int | None
    loads: str  # "128:16 32:2": sixteen loads of 128 bits, two of 32
    stores: str
    note: str
    digest: str
    triton: str

    @property
    def key(self) -> Key:
        return self.module, self.kernel, self.target, self.dtype

    @property
    def spills(self) -> int:
        """Spilled bytes a thread, stores and loads."""
        return (self.spill_stores or 0) + (self.spill_loads or 0)

    def __str__(self) -> str:
        name = f"{self.module}.{self.kernel} {self.target} {self.dtype}"
        if self.note:
            return f"{name}: {self.note}"
        return (
            f"{name}: {self.kind} {self.rows or ''}x{self.block}, {self.warps} warps, {self.registers} registers, "
            f"{self.spill_stores}/{self.spill_loads} bytes spilled/reloaded, {self.shared} bytes shared, "
            f"{self.instructions} instructions, loads {self.loads}, stores {self.stores}"
        )


def row(launch: Launch, target: str, result: Resources | str, triton: str) -> Row:
    """The report's row for a compiled kernel, or for the reason why it was not compiled."""
    shape, options = dict(launch.constexprs), dict(launch.options)
    found = result if isinstance(result, Resources) else None
    return Row(
        launch.module,
        launch.kernel,
        target,
        launch.dtype,
        launch.kind,
        launch.components,
        shape.get("ROWS"),
        shape.get("BLOCK"),
        options.get("num_warps"),
        options.get("maxnreg"),
        found.registers if found else None,
        found.spill_stores if found else None,
        found.spill_loads if found else None,
        found.shared if found else None,
        found.instructions if found else None,
        _widths(found.loads) if found else "",
        _widths(found.stores) if found else "",
        result if isinstance(result, str) else "",
        launch.digest,
        triton,
    )


def _widths(widths: Widths) -> str:
    return " ".join(f"{bits}:{count}" for bits, count in widths.items())


def read(path: Path) -> dict[Key, Row]:
    """The rows of a report, none if there is no such file."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if lines.fieldnames != [f.name for f in fields(Row)]:
            raise KgenError(f"{path} is not a resource report of this version", hint="remove it and run kgen aot --out")
        rows = [Row(**{f.name: _value(f.type, line[f.name]) for f in fields(Row)}) for line in lines]
    return {r.key: r for r in rows}


def _value(kind: object, text: str) -> Any:
    if kind is str:
        return text
    return int(text) if text else None


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a report, all of it."""
    text = io.StringIO()
    lines = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
    lines.writeheader()
    lines.writerows(asdict(r) for r in sorted(rows, key=_order))
    path.write_text(text.getvalue(), encoding="utf-8")


def _order(r: Row) -> tuple[str, str, str, int, str]:
    family = r.target.rstrip("0123456789")
    return r.module, r.kernel, family, int(r.target.removeprefix(family) or 0), r.dtype


def complaints(new: Iterable[Row], old: Mapping[Key, Row]) -> list[str]:
    """Why rows are not acceptable: they spill where nothing may, or need more than the report says.

    What spills in the report itself was looked at when it was checked in: kernels of whole layers in 16 blades, whose
    threads have one element each and all registers.

    Another version of triton is held to the first rule only: its counts differ for reasons of its own.
    """
    found = []
    for r in new:
        before = old.get(r.key)
        if r.note and not (before and before.note):
            found.append(f"{r}")
        if _must_not_spill(r) and r.spills > (before.spills if before else 0):
            found.append(f"{r.module}.{r.kernel} {r.target} {r.dtype} spills {r.spill_stores} bytes")
        if before and before.triton == r.triton and not r.note and not before.note:
            found += _worse(r, before)
    return found


def _must_not_spill(r: Row) -> bool:
    if r.target != TIGHT_TARGET or r.dtype == MAY_SPILL or SECOND_ORDER in r.kernel:
        return False
    return (r.components or 0) <= TIGHT_COMPONENTS


def _worse(r: Row, before: Row) -> list[str]:
    name = f"{r.module}.{r.kernel} {r.target} {r.dtype}"
    found = []
    if r.spills > before.spills:
        found.append(f"{name} spills and reloads {r.spills} bytes, {before.spills} before")
    if _granules(r) > _granules(before):
        found.append(f"{name} needs {r.registers} registers, {before.registers} before")
    return found


def _granules(r: Row) -> int:
    return -(-(r.registers or 0) // GRANULE)
