"""Heatmaps of a sweep: what another contender takes in place of kgen, over two axes, as tables of cells.

In: the rows of one device (see `readings.py`). Out: a chart for each kernel, that is case and dtype, swept over two
axes. Nothing is drawn here. A cell that has no figure says why in its place.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from kgen.tools.bench.axes import Axis, axis, gridded, held, swept
from kgen.tools.bench.figures import DIRECTIONS, Row
from kgen.tools.bench.readings import circumstances, extents, kernels, time

FASTEST = "the fastest other"  # stands for no contender by name
QUANTITIES = ("time", "peak memory")  # us, MiB


@dataclass(frozen=True, slots=True)
class Cell:
    """A contender's figure over kgen's, and kgen's own; None where there is none, and then why, unless nobody ran."""

    ratio: float | None
    ours: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One direction and quantity: a line of cells for each extent of the chart's y, a cell for each of its x."""

    direction: str
    quantity: str
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Time and peak memory of a contender over kgen's, over two axes; `held` are the extents of the others."""

    case: str
    dtype: str
    held: str
    against: str
    where: str
    x: Axis
    y: Axis
    panels: tuple[Panel, ...]


def heatmaps(rows: Sequence[Row], against: str = "") -> list[Heatmap]:
    """Of each kernel that was swept over a grid, and that has the contender; any other, without a name.

    Of more than two axes the first two are drawn, in a chart for each setting of the rest.
    """
    where = circumstances(rows)
    found: list[Heatmap] = []
    for group in kernels(rows).values():
        axes = swept(group)
        parts = _settings(group, axes[2:]) if any(_is(row, against) for row in group) else []
        found += [_heatmap(part, axes[:2], against, where) for part in parts if gridded(part)]
    return found


def _settings(rows: Sequence[Row], rest: Sequence[str]) -> list[list[Row]]:
    """The rows, apart where one of the axes has another extent."""

    def setting(row: Row) -> list[int]:
        return [extents(row.size)[name] for name in rest]

    return [list(part) for _, part in groupby(sorted(rows, key=setting), setting)]


def _heatmap(rows: Sequence[Row], axes: Sequence[str], against: str, where: str) -> Heatmap:
    y, x = (axis(rows, name) for name in axes)
    panels = tuple(
        Panel(direction, quantity, _cells(rows, direction, quantity, against, y, x))
        for quantity in QUANTITIES
        for direction in DIRECTIONS
        if any(row.direction == direction for row in rows)
    )
    return Heatmap(rows[0].case, rows[0].dtype, held(rows), against or FASTEST, where, x, y, panels)


def _cells(
    rows: Sequence[Row], direction: str, quantity: str, against: str, y: Axis, x: Axis
) -> tuple[tuple[Cell, ...], ...]:
    at: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        sizes = extents(row.size)
        if row.direction == direction:
            at.setdefault((sizes[y.name], sizes[x.name]), []).append(row)
    return tuple(tuple(cell(at.get((i, j), []), quantity, against) for j in x.extents) for i in y.extents)


def cell(rows: Sequence[Row], quantity: str, against: str = "") -> Cell:
    """Of the rows of one size and direction: the contender's "time" or "peak memory" over kgen's."""
    if not rows:
        return Cell(None, None)
    ours = next((row for row in rows if row.ours), None)
    other = opponent(rows, against)
    mine, its = _figure(ours, quantity), _figure(other, quantity)
    if mine is None or its is None:
        return Cell(None, mine, reason(ours) or reason(other))
    return Cell(its / mine, mine) if mine else Cell(None, mine, "none")


def opponent(rows: Iterable[Row], against: str = "") -> Row | None:
    """The contender of that name; without one the fastest other, or one without a time where none has one."""
    others = [row for row in rows if _is(row, against)]
    return min(others, key=lambda row: _or_never(time(row)), default=None)


def reason(row: Row | None) -> str:
    """Why a row has no time, in a word: "wrong", "failed", "skipped", "absent" as peers are, or "–" for no row."""
    if row is None:
        return "–"
    word = row.status.replace(":", " ").partition(" ")[0]
    return "" if time(row) is not None else {"not": "absent", "ok": "–"}.get(word, word)


def _is(row: Row, against: str) -> bool:
    return row.contender == against if against else not row.ours


def _figure(row: Row | None, quantity: str) -> float | None:
    us = time(row)
    return us if quantity == "time" or row is None or us is None else row.peak_mb


def _or_never(us: float | None) -> float:
    return math.inf if us is None else us
