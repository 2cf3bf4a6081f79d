"""Rows for the device functions that load and store adjacent components: how a tile of 2^k is split and joined."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BladeHelper:
    """`_load16` and `_store16`: the splits that take a (2, 2, 2, 2) tile apart, the joins that put it together."""

    count: int
    load: bool
    store: bool
    twos: str
    splits: tuple[tuple[str, str], ...]
    joins: tuple[tuple[str, str], ...]
    names: str


@dataclass(frozen=True, slots=True)
class SumHelper:
    """`_row_sum5`: five row sums joined to eight columns, the last three of them zero."""

    count: int
    names: str
    values: tuple[str, ...]
    splits: tuple[tuple[str, str], ...]
    joins: tuple[tuple[str, str], ...]
    columns: str
    padded: bool


def sum_helpers(helpers: frozenset[str]) -> list[SumHelper]:
    """One row for each number of row sums taken together, ascending."""
    counts = (h.removeprefix("row_sum") for h in helpers if h.startswith("row_sum"))
    return [_sum_helper(n) for n in sorted(int(c) for c in counts if c)]


def _sum_helper(count: int) -> SumHelper:
    bits = (count - 1).bit_length()
    values = tuple(f"x{i}" for i in range(count))
    padding = {f"x{i}" for i in range(count, 1 << bits)}
    joins = tuple((t, ", ".join("zero" if n in padding else n for n in s.split(", "))) for t, s in _joins(bits))
    splits = tuple((", ".join("_" if n in padding else n for n in t.split(", ")), s) for t, s in _splits(bits))
    columns = ", ".join(f"{v}[:, None]" for v in values)
    return SumHelper(count, ", ".join(values), values, splits, joins, columns, bool(padding))


def blade_helpers(helpers: frozenset[str]) -> list[BladeHelper]:
    """One row for each number of components in use, ascending."""
    counts = sorted({int(h.removeprefix(p)) for h in helpers for p in ("load", "store") if h.startswith(p)})
    return [_helper(n, f"load{n}" in helpers, f"store{n}" in helpers) for n in counts]


def _helper(count: int, load: bool, store: bool) -> BladeHelper:
    bits = count.bit_length() - 1
    names = ", ".join(f"x{i}" for i in range(count))
    return BladeHelper(count, load, store, ", ".join("2" * bits), _splits(bits), _joins(bits), names)


def _splits(bits: int) -> tuple[tuple[str, str], ...]:
    """The last dim is the lowest bit of the component, so components part by their low bits first."""
    rows = []
    for level in range(bits):
        for low in range(1 << level):
            source = "tile" if level == 0 else _part(level, low)
            rows.append((f"{_target(level + 1, low, bits)}, {_target(level + 1, low | 1 << level, bits)}", source))
    return tuple(rows)


def _target(level: int, low: int, bits: int) -> str:
    return f"x{low}" if level == bits else _part(level, low)


def _part(level: int, low: int) -> str:
    return f"low{low:0{level}b}"


def _joins(bits: int) -> tuple[tuple[str, str], ...]:
    """A join adds the last dim, so the highest bit is joined first."""
    rows = []
    for level in range(bits - 1, -1, -1):
        for low in range(1 << level):
            first = f"x{low}" if level == bits - 1 else _part(level + 1, low)
            second = f"x{low | 1 << level}" if level == bits - 1 else _part(level + 1, low | 1 << level)
            rows.append(("x" if level == 0 else _part(level, low), f"{first}, {second}"))
    return tuple(rows)
