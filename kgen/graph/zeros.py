"""Which fields are identically zero: exact evaluation at a random point of a prime field.

In: nodes of a graph. Out: whether a field vanishes for all inputs, such as the trivector part of (r * x) * ~r, which no
constructor sees. A field has values on a grid with two positions along each axis that it has, so that sums act; inputs,
sizes and functions that are not polynomials draw values from a hash of what they depend on. A field that vanishes is
always found; one that does not is mistaken for zero with a chance of about one in 10^17. The same in every process.
"""

import hashlib
from collections.abc import Iterable, Iterator
from math import prod

from kgen.graph.arithmetic import axes_of
from kgen.graph.node import Node, Number

PRIME = 2**61 - 1

Values = dict[int, int]  # by position: bit i of it is the place along axis i, of the axes that the field has


class Zeros:
    """Answers for the fields of one kernel, remembered."""

    def __init__(self, axes: tuple[str, ...]) -> None:
        self._bits = {axis: 1 << i for i, axis in enumerate(axes)}
        self._known: dict[Node, Values] = {}

    def vanishes(self, field: Node) -> bool:
        stack = [] if field in self._known else [field]
        while stack:
            missing = [a for a in stack[-1].args if a not in self._known]
            stack += missing
            if not missing:
                node = stack.pop()
                self._known[node] = self._values(node)
        return not any(self._known[field].values())

    def _place(self, axes: Iterable[str]) -> int:
        """The bits of some axes."""
        return sum(self._bits[axis] for axis in axes)

    def _rows(self, node: Node) -> Iterator[tuple[int, list[int]]]:
        """The values of a node's arguments at each position along all axes that these have."""
        args = [(self._known[a], self._place(a.axes)) for a in node.args]
        for position in subsets(self._place(axes_of(node.args))):
            yield position, [values[position & own] for values, own in args]

    def _values(self, node: Node) -> Values:
        match node.kind:
            case "Const":
                return {0: _residue(node.value)}
            case "Input" | "Size" | "Draw":
                return {at: _draw(node.kind, *node.payload, at) for at in subsets(self._place(node.axes))}
            case "Iota":  # the same along every axis
                return {at: _draw(node.kind, bool(at)) for at in subsets(self._place(node.axes))}
            case "Add":
                scales = [_residue(c) for c in node.coefficients]
                return {at: sum(c * v for c, v in zip(scales, row)) % PRIME for at, row in self._rows(node)}
            case "Mul":
                return {at: prod(row) % PRIME for at, row in self._rows(node)}
            case "Reciprocal":
                return {at: pow(v, PRIME - 2, PRIME) for at, (v,) in self._rows(node)}
            case "Sum":
                return self._sum(node, ((at, v) for at, (v,) in self._rows(node)))
            case "Cat":  # of which nothing is made
                return {0: int(any(any(self._known[part].values()) for part in node.args))}
            case "Dot":
                products = ((at, zip(row[::2], row[1::2])) for at, row in self._rows(node))
                return self._sum(node, ((at, sum(a * b for a, b in pairs)) for at, pairs in products))
            case "Gather" | "Segment":
                return self._looked_up(node)
        return {at: _draw(node.kind, *node.payload, *read) for at, read in self._whole(node).items()}

    def _sum(self, node: Node, values: Iterable[tuple[int, int]]) -> Values:
        totals, kept = Values(), self._place(node.axes)
        for position, v in values:
            totals[position & kept] = (totals.get(position & kept, 0) + v) % PRIME
        return totals

    def _looked_up(self, node: Node) -> Values:
        """An index is a matrix of zeros and ones; in its place stands one of random numbers."""
        known, own, by = self._known[node.args[0]], self._place(node.args[0].axes), node.lookup
        source, target = (by.into, by.along) if node.kind == "Gather" else (by.along, by.into)
        values = Values()
        for at in subsets(self._place(node.axes)):
            there, row = at & ~self._bits[target], bool(at & self._bits[target])
            read = ((bool(bit), known[(there | bit) & own]) for bit in (0, self._bits[source]))
            values[at] = sum(_draw(*by, row, column) * v for column, v in read) % PRIME
        return values

    def _whole(self, node: Node) -> dict[int, list[int]]:
        """What a function's value depends on at each position: its arguments there, a maximum's along its axes."""
        lines, kept = dict[int, list[int]](), self._place(node.axes)
        for position, row in self._rows(node):
            lines.setdefault(position & kept, []).extend(row)
        return lines


def subsets(bits: int) -> Iterator[int]:
    """All numbers made of some bits, in ascending order."""
    found = 0
    while True:
        yield found
        if found == bits:
            return
        found = (found - bits) & bits


def _draw(*key: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") % PRIME


def _residue(value: Number) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * pow(denominator, -1, PRIME) % PRIME
