"""Constructors of sums and maxima along axes.

In: fields, and the axes that are reduced. Out: the canonical field of the same value: what does not vary along an axis
leaves its sum, a sum along several axes is one node, and a sum of products with two sides is a Dot.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from kgen.graph.arithmetic import Arithmetic, Scaled
from kgen.graph.matmul import inside, sides
from kgen.graph.node import Node, Rational, Term
from kgen.graph.table import remembered

Product = tuple[Rational, Node, Node]  # a coefficient, a left factor and a right one
Split = tuple[list[Product], list[Term]]  # products with two sides, and terms that are none
Pairs = Sequence[tuple[Node, Node]]


class Reductions(Arithmetic):
    """The constructors that reduce."""

    def sum(self, a: Node, over: Iterable[str]) -> Node:
        """The sum along axes: one that the field lacks multiplies by its Size, what lacks them all leaves the sum."""
        return self._sum(a, *sorted(set(over)))

    @remembered
    def _sum(self, a: Node, *wanted: str) -> Node:
        present = tuple(axis for axis in wanted if axis in a.axes)
        lacking = [self.size(axis) for axis in wanted if axis not in a.axes]
        if lacking:
            return self.mul(*lacking, self.sum(a, present))
        if not present:
            return a
        if a.kind == "Sum":
            return self.sum(a.args[0], (*present, *a.over))
        if a.kind == "Add" and len(a.args) == 1:
            return self.scale(a.coefficients[0], self.sum(a.args[0], present))
        return self._freed(a, present) or self._split(a, present)

    def max(self, a: Node, over: Iterable[str]) -> Node:
        present = tuple(sorted(set(over) & a.axes))
        return self.make("Max", a.axes - set(present), (a,), present) if present else a

    def _freed(self, a: Node, over: tuple[str, ...]) -> Node | None:
        """The sum with what does not vary along its axes outside of it, where there is something."""
        free, bound = ([x for x in a.args if bool(x.axes & set(over)) == varies] for varies in (False, True))
        if a.kind not in ("Add", "Mul") or not free:
            return None
        if a.kind == "Mul":
            return self.mul(*free, self.sum(self.mul(*bound), over))
        inside = self.linear((c, x) for c, x in a.terms if x.axes & set(over))
        outside = ((c, x) for c, x in a.terms if not x.axes & set(over))
        return self.add(self.sum(inside, over), *(self.scale(c, self.sum(x, over)) for c, x in outside))

    def _split(self, a: Node, over: tuple[str, ...]) -> Node:
        """The sum as Dots of the products with two sides, those along the same axes together, and of what is left."""
        split = [self._products(c, x, over) for c, x in a.terms]
        if not any(products for products, _ in split):
            return self.make("Sum", a.axes - set(over), (a,), over)
        rest = self.linear(term for _, left in split for term in left)
        alike: dict[object, list[Product]] = {}
        for product in (product for products, _ in split for product in products):
            alike.setdefault(tuple(x.axes for x in product[1:]), []).append(product)
        return self.add(self.sum(rest, over), *(self._dot(products, over) for products in alike.values()))

    def _products(self, c: Rational, x: Node, over: tuple[str, ...]) -> Split:
        """A scaled term as products with two sides, if it is one, or a sum of them times factors of one side.

        What such a sum has along fewer axes is left: by itself it is summed over less than the whole.
        """
        if found := sides(x, over, self.long):
            return [(c, self.mul(*found[0]), self.mul(*found[1]))], []
        if not (opened := inside(x)):
            return [], [(c, x)]
        outside, total = opened
        parts = [self._products(c * d * e, y, over) for d, t in total.terms for e, y in self.mul(*outside, t).single]
        products = [one for here, _ in parts for one in here]
        left = [term for _, terms in parts for term in terms]
        return (products, left) if all(y.axes < x.axes for _, y in left) else ([], [(c, x)])

    def merged(self, reductions: Sequence[Scaled]) -> Node:
        numbers, (_, _, first) = {number for _, number, _ in reductions}, reductions[0]
        if numbers != {self.one} and len(numbers) == 1:
            return self.mul(*numbers, self.merged([(c, self.one, x) for c, _, x in reductions]))
        if first.kind == "Sum":
            return self.sum(self.linear((c, self.mul(number, x.args[0])) for c, number, x in reductions), first.over)
        products = [(c, number, a, b) for c, number, dot in reductions for a, b in dot.pairs]
        return self._dot([(c, *self._numbered(number, a, b)) for c, number, a, b in products], first.over)

    def _numbered(self, number: Node, a: Node, b: Node) -> tuple[Node, Node]:
        """Two factors, one of them times a number: a small one, or not one that lies in memory."""
        is_left = self.long not in a.axes if self.long in a.axes ^ b.axes else a.kind != "Input"
        return (self.mul(number, a), b) if is_left else (a, self.mul(number, b))

    def _dot(self, products: Sequence[Product], over: tuple[str, ...]) -> Node:
        """The sum of c * a * b along `over`, where all a vary along the same axes, and all b.

        Dots that differ by a factor are one Dot, scaled.
        """
        pairs = self._pairs(products)
        if not pairs:
            return self.zero
        ((c, a),), ((d, b),) = (x.single for x in pairs[0])
        scaled = [(self.scale(Fraction(1) / (c * d), x), y) for x, y in pairs[1:]]
        dot = self.make(
            "Dot", (a.axes | b.axes) - set(over), tuple(x for pair in [(a, b), *scaled] for x in pair), over
        )
        return self.scale(c * d, dot)

    def _pairs(self, products: Sequence[Product]) -> Pairs:
        """What share a factor are one pair, on the side where that leaves fewer pairs."""
        by_left, by_right = dict[Node, list[Term]](), dict[Node, list[Term]]()
        for c, a, b in products:
            for inner, x in a.single:
                by_left.setdefault(x, []).append((c * inner, b))
            for inner, y in b.single:
                by_right.setdefault(y, []).append((c * inner, a))
        if len(by_left) < len(by_right):
            pairs = [(x, self.linear(found)) for x, found in by_left.items()]
        else:
            pairs = [(self.linear(found), y) for y, found in by_right.items()]
        return sorted(((a, b) for a, b in pairs if self.zero not in (a, b)), key=lambda pair: (pair[1].id, pair[0].id))
