"""Which components of a result are not identically zero: exact evaluation at a random point of a prime field.

A probe stands for a field: its values over a grid on which every axis that it varies along has two positions. Inputs
draw random values; sums and products are exact modulo a prime; every other function draws a value that depends on its
name and arguments alone. So a probe is zero exactly when the field is zero as a polynomial in the inputs and in the
values of such functions, but for a chance of about one in 10^17. Guaranteed: the same in every process.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

PRIME = 2**61 - 1


@dataclass(frozen=True, slots=True)
class Probe:
    """Values in ascending order of positions: bit a of one is the place along axis a, for the bits of `axes`."""

    axes: int
    values: tuple[int, ...]

    def __bool__(self) -> bool:
        """Whether the field is not identically zero."""
        return any(self.values)

    def at(self) -> dict[int, int]:
        """The values by position."""
        return dict(zip(_positions(self.axes), self.values, strict=True))


def _positions(axes: int) -> Iterator[int]:
    """All numbers made of some bits, in ascending order."""
    found = 0
    while True:
        yield found
        if found == axes:
            return
        found = (found - axes) & axes


def _bits(axes: Sequence[int]) -> int:
    return sum(1 << axis for axis in set(axes))


def _rows(*probes: Probe) -> tuple[int, list[tuple[int, ...]]]:
    """All axes of some probes, and the values of each at every position along these."""
    axes = 0
    for probe in probes:
        axes |= probe.axes
    found = [(probe.axes, probe.at()) for probe in probes]
    return axes, [tuple(values[at & own] for own, values in found) for at in _positions(axes)]


def _draw(*key: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) % PRIME


def random(name: str, component: int, axes: Sequence[int]) -> Probe:
    """An input's component that varies along `axes` (their numbers)."""
    own = _bits(axes)
    return Probe(own, tuple(_draw(name, component, position) for position in _positions(own)))


def place(axis: int) -> Probe:
    """The place along an axis (its number): another value at each position, and the same along every axis."""
    return Probe(1 << axis, (_draw("place", 0), _draw("place", 1)))


def constant(value: int | float) -> Probe:
    """A number."""
    exact = Fraction(value)
    return Probe(0, (exact.numerator * pow(exact.denominator, -1, PRIME) % PRIME,))


def add(a: Probe, b: Probe, sign: int = 1) -> Probe:
    """a + sign * b."""
    axes, rows = _rows(a, b)
    return Probe(axes, tuple((x + sign * y) % PRIME for x, y in rows))


def multiply(a: Probe, b: Probe, sign: int = 1) -> Probe:
    """sign * a * b."""
    axes, rows = _rows(a, b)
    return Probe(axes, tuple(sign * x * y % PRIME for x, y in rows))


def divide(a: Probe, b: Probe) -> Probe:
    """a / b; a division by zero, which fails at run time, counts as zero here."""
    axes, rows = _rows(a, b)
    return Probe(axes, tuple(x * pow(y, PRIME - 2, PRIME) % PRIME for x, y in rows))


def opaque(function: str, *args: Probe) -> Probe:
    """A function that is not a polynomial."""
    axes, rows = _rows(*args)
    return Probe(axes, tuple(_draw(function, *row) for row in rows))


def exchange(a: Probe, i: int, j: int) -> Probe:
    """The field with two of its axes exchanged."""

    def exchanged(at: int) -> int:
        return at ^ _bits((i, j)) if (at >> i & 1) != (at >> j & 1) else at

    axes, values = exchanged(a.axes), a.at()
    return Probe(axes, tuple(values[exchanged(at)] for at in _positions(axes)))


def look_up(index: str, a: Probe, source: int, target: int) -> Probe:
    """The field with one axis in the place of another, by an index: in its place stands a matrix of random numbers."""
    axes, values = a.axes & ~(1 << source) | 1 << target, a.at()
    found = []
    for at in _positions(axes):
        there, row = at & ~(1 << target) if not a.axes >> target & 1 else at, at >> target & 1
        read = [(column, values[(there | column << source) & a.axes]) for column in (0, 1)]
        found.append(sum(_draw(index, source, target, row, column) * v for column, v in read) % PRIME)
    return Probe(axes, tuple(found))


def join(parts: Sequence[tuple[Probe, int]], axis: int) -> Probe:
    """Fields one after the other, each along its axis. Of the two positions one lies in the first, one in the last."""
    places = [_along(probe, own) for probe, own in parts]
    others = [probe for probe in places if probe]
    ends = [places[0], places[-1]] if places[0] or places[-1] else [*others, constant(0)][:1] * 2
    axes, rows = _rows(*ends, Probe(1 << axis, (0, 1)))
    return Probe(axes, tuple(row[row[-1]] for row in rows))


def _along(probe: Probe, axis: int) -> Probe:
    """The field at the first position along an axis."""
    kept, values = probe.axes & ~(1 << axis), probe.at()
    return Probe(kept, tuple(values[at] for at in _positions(kept)))


def reduce(function: str, a: Probe, axes: Sequence[int]) -> Probe:
    """The sum, mean or max along axes; a field that lacks an axis is the same at both of its positions."""
    for axis in axes:
        kept, values = a.axes & ~(1 << axis), a.at()
        pairs = [(values[at], values[at | a.axes & 1 << axis]) for at in _positions(kept)]
        if function == "max":
            a = Probe(kept, tuple(x if x == y else _draw("max", x, y) for x, y in pairs))
        else:
            half = pow(2, -1, PRIME) if function == "mean" else 1
            a = Probe(kept, tuple((x + y) * half % PRIME for x, y in pairs))
    return a
