"""Charts of rates: what contenders reach along an axis, kernels under their roofline, and time over the floor.

In: the rows of one device (see `readings.py`). Out: tables of lines, points and bars; nothing is drawn here. A CSV has
neither bandwidth nor peak rates, only the floors that follow from them: what is drawn is relative to those.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from kgen.tools.bench.axes import along, gridded, held, swept
from kgen.tools.bench.figures import DIRECTIONS, Row
from kgen.tools.bench.heatmaps import reason
from kgen.tools.bench.readings import circumstances, extents, kernels, time

SHARE, ARITHMETIC = "share of copy bandwidth, %", "TFLOP/s"


@dataclass(frozen=True, slots=True)
class Line:
    """What one contender reaches at each extent at which it was timed."""

    contender: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """One direction along one axis: TFLOP/s where arithmetic is the floor of most, else the share of copy bandwidth."""

    direction: str
    axis: str
    held: str
    unit: str
    lines: tuple[Line, ...]
    floor: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Rates of all contenders of a kernel along each axis that was swept."""

    case: str
    dtype: str
    where: str
    panels: tuple[Curves, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A kernel under the roofline of its own device and dtype, both axes without a unit.

    `balance` is the least time of arithmetic over that of memory traffic, so 1 is where the roof bends; `rate` the
    least time of arithmetic over the median, so 1 is the peak. The roof is min(1, balance), and `share` how much of it
    is reached: floor over median.
    """

    case: str
    dtype: str
    size: str
    direction: str
    binds: str
    balance: float
    rate: float
    share: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """kgen's kernels, each at the size of its largest floor."""

    where: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One contender's time over the floor and its microseconds, or its status where there are none."""

    contender: str
    ours: bool
    ratio: float | None
    us: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class BarPanel:
    """One case, size, dtype and direction."""

    title: str
    direction: str
    floor_us: float | None
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """The cases of a suite that were measured at sizes of no sweep."""

    where: str
    panels: tuple[BarPanel, ...]


# lines


def lines(rows: Sequence[Row]) -> list[Lines]:
    """Of each kernel that was swept: a panel for each axis and direction."""
    found = []
    for (case, dtype), group in kernels(rows).items():
        panels = [_curves(group, axis, direction) for axis in swept(group) for direction in DIRECTIONS]
        drawn = tuple(panel for panel in panels if any(len(line.points) > 1 for line in panel.lines))
        found += [Lines(case, dtype, circumstances(rows), drawn)] if drawn else []
    return found


def _curves(group: Sequence[Row], axis: str, direction: str) -> Curves:
    rows = [row for row in along(group, axis) if row.direction == direction]
    arithmetic = 2 * sum(row.binds != "bytes" for row in rows) > len(rows)
    works = {row.size: work for row in rows if (work := _work(row, arithmetic)) is not None}
    floors = {
        extents(row.size)[axis]: works[row.size] / row.floor_us for row in rows if row.size in works and row.floor_us
    }
    drawn = [_line(name, rows, axis, works) for name in dict.fromkeys(row.contender for row in rows)]
    unit = ARITHMETIC if arithmetic else SHARE
    return Curves(
        direction, axis, held(rows), unit, tuple(line for line in drawn if line.points), tuple(sorted(floors.items()))
    )


def _line(contender: str, rows: Iterable[Row], axis: str, works: Mapping[str, float]) -> Line:
    timed = [(row, us) for row in rows if row.contender == contender and (us := time(row)) and row.size in works]
    return Line(contender, tuple(sorted((extents(row.size)[axis], works[row.size] / us) for row, us in timed)))


def _work(row: Row, arithmetic: bool) -> float | None:
    """What the kernel must do at this size, so that over microseconds it is the panel's unit."""
    if not arithmetic:
        return row.bytes_us and 100 * row.bytes_us
    return row.gflops * row.median_us / 1e3 if row.gflops and row.median_us else None


# the roofline


def rooflines(rows: Sequence[Row]) -> list[Roofline]:
    """The one chart of the file, with every kernel of ours whose floors of traffic and of arithmetic are known."""
    points = [
        point
        for group in kernels(rows).values()
        for direction in DIRECTIONS
        if (row := _largest(group, direction)) and (point := _point(row))
    ]
    return [Roofline(circumstances(rows), tuple(points))] if points else []


def _largest(rows: Iterable[Row], direction: str) -> Row | None:
    found = [row for row in rows if row.ours and row.direction == direction and time(row)]
    return max(found, key=lambda row: row.floor_us or 0, default=None)


def _point(row: Row) -> Point | None:
    arithmetic, us = max(row.instructions_us or 0, row.products_us or 0), time(row)
    if not arithmetic or not row.bytes_us or not row.floor_us or not us:
        return None
    rates = arithmetic / row.bytes_us, arithmetic / us, row.floor_us / us
    return Point(row.case, row.dtype, row.size, row.direction, row.binds, *rates)


# bars


def bars(rows: Sequence[Row]) -> list[Bars]:
    """The one chart of the file, with every case and direction but those of kernels that have heatmaps."""
    few = [row for group in kernels(rows).values() if not gridded(group) for row in group]
    panels = [list(part) for _, part in groupby(few, lambda r: (r.case, r.size, r.dtype, r.direction))]
    drawn = tuple(_bars(part) for part in panels if part[0].direction in DIRECTIONS)
    return [Bars(circumstances(rows), drawn)] if drawn else []


def _bars(rows: Sequence[Row]) -> BarPanel:
    first = rows[0]
    drawn = [
        Bar(r.contender, r.ours, r.ratio_to_floor if time(r) else None, time(r), reason(r) and r.status) for r in rows
    ]
    return BarPanel(f"{first.case}  {first.size}  {first.dtype}", first.direction, first.floor_us, tuple(drawn))
