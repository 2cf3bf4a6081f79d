"""Which fields are identically zero: exact evaluation at a random point of a prime field.

In: nodes of a graph. Out: whether a field vanishes for all inputs, such as the trivector part of (r * x) * ~r, which no
constructor sees. A field has values on a grid with two positions along each axis, so that sums act; inputs, sizes and
functions that are not polynomials draw values from a hash of what they depend on. A field that vanishes is always
found; one that does not is mistaken for zero with a chance of about one in 10^17. The same in every process.
"""

import hashlib
from math import prod

from kgen.graph.node import Node, Number

PRIME = 2**61 - 1

Values = tuple[int, ...]  # at each position of the grid; bit i of a position is the place along axis i


class Zeros:
    """Answers for the fields of one kernel, remembered."""

    def __init__(self, axes: tuple[str, ...]) -> None:
        self._bits = {axis: 1 << i for i, axis in enumerate(axes)}
        self._positions = range(1 << len(axes))
        self._known: dict[Node, Values] = {}

    def vanishes(self, field: Node) -> bool:
        stack = [] if field in self._known else [field]
        while stack:
            missing = [a for a in stack[-1].args if a not in self._known]
            stack += missing
            if not missing:
                node = stack.pop()
                self._known[node] = self._values(node, [self._known[a] for a in node.args])
        return not any(self._known[field])

    def _values(self, node: Node, args: list[Values]) -> Values:
        match node.kind:
            case "Const":
                return (_residue(node.value),) * len(self._positions)
            case "Input" | "Size":
                own = sum(self._bits[axis] for axis in node.axes)
                return tuple(_draw(node.kind, *node.payload, position & own) for position in self._positions)
            case "Add":
                scales = [_residue(c) for c in node.coefficients]
                return tuple(sum(c * v for c, v in zip(scales, at)) % PRIME for at in zip(*args))
            case "Mul":
                return tuple(prod(at) % PRIME for at in zip(*args))
            case "Reciprocal":
                return tuple(pow(v, PRIME - 2, PRIME) for v in args[0])
            case "Sum":
                return self._sum(args[0], sum(self._bits[axis] for axis in node.over))
            case "Dot":
                products = (zip(a, b) for a, b in zip(args[::2], args[1::2]))
                total = tuple(sum(a * b for a, b in at) % PRIME for at in zip(*products))
                return self._sum(total, sum(self._bits[axis] for axis in node.over))
        return tuple(_draw(node.kind, *node.payload, *at) for at in self._whole(node, args))

    def _sum(self, values: Values, over: int) -> Values:
        totals = [0] * len(values)
        for position, v in enumerate(values):
            totals[position & ~over] += v
        return tuple(totals[position & ~over] % PRIME for position in self._positions)

    def _whole(self, node: Node, args: list[Values]) -> list[tuple[int, ...]]:
        """What a function's value depends on at each position: its arguments there, a maximum's along its axes."""
        if node.kind != "Max":
            return list(zip(*args))
        over = sum(self._bits[axis] for axis in node.over)
        lines: dict[int, list[int]] = {}
        for position, v in enumerate(args[0]):
            lines.setdefault(position & ~over, []).append(v)
        return [tuple(lines[position & ~over]) for position in self._positions]


def _draw(*key: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") % PRIME


def _residue(value: Number) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * pow(denominator, -1, PRIME) % PRIME
