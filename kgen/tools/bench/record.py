"""The CSV of a run, cell by cell: what an earlier run left in it is kept, and need not be measured again.

In: rows, a cell's at a time. Out: a file that has whole cells whenever it is read or the run is ended: it is replaced
at once by one with the new cell. Raises KgenError for a file that another run is writing, that has other columns, or
whose rows were measured on another device, with other versions, or for other generated code: figures that cannot be
compared are not mixed.
"""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kgen.errors import KgenError
from kgen.tools.bench.figures import ABSENT, COLUMNS, INTERPRETED, NO_KERNEL, OURS, SPENT, Row, write
from kgen.tools.bench.readings import kept
from kgen.write import locks

Cell = tuple[str, str, str]  # case, size, dtype


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What rows that stand in one file have in common; `digests` are those of the generated packages of this run."""

    device: str
    torch: str
    triton: str
    digests: Mapping[str, str]
    ran: str = OURS  # what functions are where there is no GPU: interpreted kernels, or their references

    def differences(self, row: Row) -> list[str]:
        """What is another in a row, each with both values."""
        package = row.case.partition(".")[0]
        pairs = {name: (getattr(row, name), getattr(self, name)) for name in ("device", "torch", "triton")}
        pairs[f"code of {package}"] = row.kgen_digest, self.digests.get(package, row.kgen_digest)
        if {row.contender, self.ran} <= {INTERPRETED, NO_KERNEL}:
            pairs["contender"] = row.contender, self.ran
        return [f"{name} {old}, now {new}" for name, (old, new) in pairs.items() if old != new]


@dataclass(frozen=True, slots=True)
class Record:
    """The rows of a file, by cell and direction, in its order. Without a path they are kept, and not written."""

    path: Path | None = None
    cells: dict[Cell, dict[str, list[Row]]] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        return [row for directions in self.cells.values() for rows in directions.values() for row in rows]

    def of(self, cell: Cell) -> list[Row]:
        return [row for rows in self.cells.get(cell, {}).values() for row in rows]

    def complete(self, cell: Cell, direction: str, contenders: Mapping[str, bool]) -> bool:
        """Whether each contender has a row; `contenders` says of each whether it is installed.

        One that was skipped for want of time has none, nor one that has been installed or removed since.
        """
        rows = self.cells.get(cell, {}).get(direction, ())
        found = {OURS if row.ours else row.contender: row.status for row in rows if row.status != SPENT}
        return all(name in found and found[name].startswith(ABSENT) != there for name, there in contenders.items())

    def add(self, rows: Iterable[Row]) -> None:
        """Put the rows of a cell in the place of those that it had in the same directions, and write the file."""
        for row in (fresh := list(rows)):
            directions = self.cells.setdefault(cell_of(row), {})
            directions.pop("", None)  # where it could not be set up
            directions[row.direction] = []
        for row in fresh:
            self.cells[cell_of(row)][row.direction].append(row)
        if self.path is not None:
            _replace(self.path, self.rows)


def cell_of(row: Row) -> Cell:
    return row.case, row.size, row.dtype


def _replace(path: Path, rows: list[Row]) -> None:
    """Nobody sees less than all rows, whenever this ends. KgenError where the file cannot be written."""
    draft = path.with_name(f".{path.name}.new")
    try:
        write(rows, draft)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: Path, why: str) -> KgenError:
    return KgenError(f"cannot write {path}: {why}", hint="give another --out")


@contextlib.contextmanager
def opened(path: Path | None, now: Circumstances) -> Iterator[Record]:
    """The record in a file, which no other run writes until the context ends."""
    if path is None:
        yield Record()
        return
    if path.exists() and not path.is_file():  # which a new file would replace: a device, a pipe, a folder
        raise _unwritable(path, "it is no file")
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.claimed(path))
        except BlockingIOError:
            raise KgenError(f"another run is writing {path}", hint="wait for it, or give another --out") from None
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from None
        record = Record(path)
        if path.exists() and path.stat().st_size:
            _fill(record, path, now)
        yield record


def _fill(record: Record, path: Path, now: Circumstances) -> None:
    for row in kept(path, COLUMNS):
        if different := now.differences(row):
            raise KgenError(
                f"{path} has rows that cannot be compared with new ones: {'; '.join(different)}",
                hint="give another --out, or remove the file",
            )
        record.cells.setdefault(cell_of(row), {}).setdefault(row.direction, []).append(row)


def missing(record: Record, cell: Cell, directions: Collection[str], contenders: Mapping[str, bool]) -> tuple[str, ...]:
    """The directions in which a cell is still to be measured."""
    return tuple(d for d in directions if not record.complete(cell, d, contenders))
