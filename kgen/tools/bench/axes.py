"""Axes of a sweep: which of a kernel's sizes vary, and over what.

In: rows of one kernel (see `readings.py`). Out: names and extents of axes. Those that move together count once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kgen.tools.bench.figures import Row
from kgen.tools.bench.readings import extents

Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that was swept, with its extents, ascending."""

    name: str
    extents: tuple[int, ...]


def swept(rows: Iterable[Row]) -> tuple[str, ...]:
    """The axes that vary, in order; without those whose extents go with an earlier one's, as m does where m = n."""
    distinct = _distinct(rows)
    kept: list[str] = []
    for axis in distinct[0] if distinct else ():
        if _varies(distinct, axis) and not any(_tied(distinct, axis, old) for old in kept):
            kept.append(axis)
    return tuple(kept)


def axis(rows: Iterable[Row], name: str) -> Axis:
    """The axis of that name, with every extent of the rows."""
    return Axis(name, tuple(sorted({extents(row.size)[name] for row in rows})))


def gridded(rows: Sequence[Row]) -> bool:
    """Whether the first two axes that vary were swept as a grid: some extent of each at several of the other."""
    if len(swept(rows)) < 2:
        return False
    y, x = swept(rows)[:2]
    cells = {(sizes[y], sizes[x]) for sizes in _distinct(rows)}
    counts = [Counter(cell[side] for cell in cells) for side in (0, 1)]
    return all(max(count.values()) > 1 for count in counts)


def along(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows along one axis, the others as they are at most of its extents; as large as that leaves them."""
    moving = {other for other in _distinct(rows)[0] if _tied(_distinct(rows), other, name)}
    settings: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        settings.setdefault(tuple(n for a, n in extents(row.size).items() if a not in moving), []).append(row)
    best = max(settings, key=lambda setting: (len(axis(settings[setting], name).extents), setting))
    return settings[best]


def held(rows: Iterable[Row]) -> str:
    """The axes that do not vary, such as "k=128, m=64"."""
    distinct = _distinct(rows)
    return ", ".join(f"{a}={extent}" for a, extent in (distinct or [{}])[0].items() if not _varies(distinct, a))


def _distinct(rows: Iterable[Row]) -> list[Sizes]:
    return [extents(size) for size in dict.fromkeys(row.size for row in rows)]


def _varies(distinct: Iterable[Sizes], name: str) -> bool:
    return len({sizes.get(name) for sizes in distinct}) > 1


def _tied(distinct: Iterable[Sizes], name: str, other: str) -> bool:
    pairs = {(sizes.get(name), sizes.get(other)) for sizes in distinct}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
