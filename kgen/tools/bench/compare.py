"""Measurements side by side: which cells of two runs, or of two contenders, differ by more than their spread.

In: rows with spreads (see `readings.py`). Out: pairs of cells of the same device, case, size, dtype, direction and
contender, judged; what could not be compared is told, never dropped.

The rule: a cell moved if |ln(after / before)| > √(spread² before + spread² after). A spread is half the interquartile
range of single calls over their median, 0.67 standard deviations where they are normal. The median of a hundred calls
and more is known ten times better, so the rule leaves room for what differs between runs: clocks, heat, neighbours.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from kgen.console import show_all
from kgen.errors import KgenError
from kgen.tools.bench.figures import Row
from kgen.tools.bench.readings import read, time
from kgen.tools.selection import must_exist, unknown
from kgen.wording import counted

BROKEN = ("wrong", "failed")  # how the status of a contender starts that ran, and is not right

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One cell, timed twice; microseconds, and the spread of both together, on the scale of logarithms."""

    before: Row
    after: Row
    before_us: float
    after_us: float
    spread: float

    @property
    def ratio(self) -> float:
        """After over before: 1.1 is 10% slower."""
        return self.after_us / self.before_us

    @property
    def moved(self) -> bool:
        return abs(math.log(self.ratio)) > self.spread


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs, what was right before and is not, what was left out with the reason, and what else differs."""

    pairs: tuple[Pair, ...]
    lost: tuple[Row, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def slower(self) -> list[Pair]:
        """By more than their spread, the worst first."""
        return sorted((pair for pair in self.pairs if pair.moved and pair.ratio > 1), key=lambda p: -p.ratio)

    @property
    def faster(self) -> list[Pair]:
        """By more than their spread, the best first."""
        return sorted((pair for pair in self.pairs if pair.moved and pair.ratio < 1), key=lambda p: p.ratio)

    def worse(self, limit: float) -> bool:
        """Whether a cell is slower by more than its spread and the share `limit`, or not right, or none was found."""
        return bool(self.lost) or not self.pairs or any(pair.ratio > 1 + limit for pair in self.slower)


def runs(before: Sequence[Row], after: Sequence[Row]) -> Comparison:
    """Two runs, cell by cell. Raises KgenError where they have no device in common."""
    common = {row.device for row in before} & {row.device for row in after}
    if not common:
        names = [", ".join(dict.fromkeys(row.device for row in rows)) for rows in (before, after)]
        raise KgenError(f"measured on {names[0]} before, on {names[1]} after", hint="only one device can be compared")
    strangers = [row.device for row in (*before, *after) if row.device not in common]
    told = [f"{counted(strangers.count(name), 'row')} of {name}, in one run alone" for name in dict.fromkeys(strangers)]
    first, second = ([row for row in rows if row.device in common] for rows in (before, after))
    found = _matched(first, second, _entry)
    lost = tuple(new for old, new in _both(first, second, _entry) if time(old) and new.status.startswith(BROKEN))
    return Comparison(found.pairs, lost, (*told, *found.left_out), _versions(first, second))


def contenders(rows: Sequence[Row], first: str, second: str) -> Comparison:
    """Two contenders of one run: the second in the place of "after"."""
    must_exist([first, second], (row.contender for row in rows), "no contender {!r}")
    return _matched([r for r in rows if r.contender == first], [r for r in rows if r.contender == second], _cell)


def _cell(row: Row) -> Key:
    return row.device, row.case, row.size, row.dtype, row.direction


def _entry(row: Row) -> Key:
    return *_cell(row), row.contender


def _both(before: Iterable[Row], after: Iterable[Row], key: Callable[[Row], Key]) -> list[tuple[Row, Row]]:
    """The rows with the same key, in the order of the first."""
    old, new = _by_key(before, key), _by_key(after, key)
    return [(row, new[at]) for at, row in old.items() if at in new]


def _matched(before: Sequence[Row], after: Sequence[Row], key: Callable[[Row], Key]) -> Comparison:
    both = _both(before, after, key)
    pairs = [_pair(old, new) for old, new in both]
    timed = [bool(time(old) and time(new)) for old, new in both]
    counts = {
        "in the first alone": len(before) - len(both),
        "in the second alone": len(after) - len(both),
        "without a time in one or both": timed.count(False),
        "without a spread": sum(there and pair is None for there, pair in zip(timed, pairs)),
    }
    return Comparison(
        tuple(pair for pair in pairs if pair),
        left_out=tuple(f"{counted(n, 'cell')} {what}" for what, n in counts.items() if n),
    )


def _by_key(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for row in rows:
        if key(row) in found:
            raise KgenError(f"two rows of {', '.join(key(row))}", hint="which of them counts? remove the other")
        found[key(row)] = row
    return found


def _pair(before: Row, after: Row) -> Pair | None:
    old, new = time(before), time(after)
    if not old or not new or before.spread is None or after.spread is None:
        return None
    return Pair(before, after, old, new, math.hypot(before.spread, after.spread))


def _versions(before: Iterable[Row], after: Iterable[Row]) -> tuple[str, ...]:
    """Where what differs is not kgen alone."""
    both = [{f"torch {row.torch}, triton {row.triton}" for row in rows} for rows in (before, after)]
    old, new = (" and ".join(sorted(found)) for found in both)
    return () if old == new else (f"other versions: {old} before, {new} after",)


def mean(pairs: Iterable[Pair]) -> float:
    """The geometric mean of the ratios; 1 for none."""
    logs = [math.log(pair.ratio) for pair in pairs]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0


# the command


def share(text: str) -> float:
    """The share that "5%" is; KgenError for what is none."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise KgenError(f"--fail-over {text!r} is no percentage", hint="such as --fail-over 5%")
    return found


def command(before: Path | None, others: Sequence[Path], names: str, fail_over: str, only: str) -> int:
    """Compare, print, and return the exit status: 1 where --fail-over is given, and a cell is worse."""
    if before is None:
        raise KgenError(
            f"--{'contenders' if names else 'fail-over'} is for --compare", hint="--compare BEFORE.csv AFTER.csv"
        )
    limit = share(fail_over) if fail_over else None
    found = _compared([before, *others], [name.strip() for name in names.split(",")] if names else [], only)
    for line in summary(found):
        show_all(line)
    if found.slower or found.faster:
        show_all(table(found))
    return 1 if limit is not None and found.worse(limit) else 0


def _compared(paths: Sequence[Path], names: Sequence[str], only: str) -> Comparison:
    rows = [_chosen(read(path, ["spread"]), only) for path in paths]
    must_exist(names, (row.contender for part in rows for row in part), "no contender {!r}")
    match rows:
        case [one] if len(names) == 2:
            return contenders(one, *names)
        case [old, new]:
            return runs(*([row for row in part if not names or row.contender in names] for part in (old, new)))
        case _:
            raise KgenError(
                "--compare takes two CSVs, or one and two --contenders",
                hint="--compare BEFORE.csv AFTER.csv, or --compare RUN.csv --contenders kgen,NAME",
            )


def _chosen(rows: Sequence[Row], only: str) -> list[Row]:
    """The rows whose case has `only` in its name; KgenError for none."""
    if found := [row for row in rows if only in row.case]:
        return found
    raise unknown(f"no case has {only!r} in its name", only, (row.case for row in rows))


def summary(found: Comparison) -> list[str]:
    """Lines to read: counts, a geometric mean for each contender, what is not right any more, what was left out."""
    if not found.pairs:
        return ["no cell was timed in both", *_apart(found)]
    slower, faster = len(found.slower), len(found.faster)
    counts = (
        f"{slower} slower and {faster} faster by more than their spread, {len(found.pairs) - slower - faster} within"
    )
    lines = [f"{counted(len(found.pairs), 'cell')}: {counts}"]
    for name in dict.fromkeys(map(_contender, found.pairs)):
        ratios = [pair for pair in found.pairs if _contender(pair) == name]
        lines.append(f"{name}: {mean(ratios):.3f} times as long, the geometric mean of {counted(len(ratios), 'cell')}")
    return [*lines, *_apart(found)]


def _apart(found: Comparison) -> list[str]:
    lost = [f"not right any more: {_named(row)}, {row.contender}: {row.status}" for row in found.lost]
    return [*lost, *(f"left out: {what}" for what in found.left_out), *found.notes]


def _contender(pair: Pair) -> str:
    first, second = pair.before.contender, pair.after.contender
    return first if first == second else f"{second} over {first}"


def _named(row: Row) -> str:
    return f"{row.case}, {row.size}, {row.dtype}, {row.direction}"


def table(found: Comparison) -> Table:
    """The cells that moved, slower ones first."""
    drawn = Table(box=None)
    for title in ("cell", "contender"):
        drawn.add_column(title, overflow="fold")
    for title in ("first, us", "second, us", "ratio", "spread"):
        drawn.add_column(title, justify="right", no_wrap=True)
    for pair in (*found.slower, *found.faster):
        figures = f"{pair.before_us:.4g}", f"{pair.after_us:.4g}", f"{pair.ratio:.3f}", f"{pair.spread:.1%}"
        drawn.add_row(" ".join(_cell(pair.after)[1:]), _contender(pair), *figures)
    return drawn
