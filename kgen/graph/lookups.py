"""Constructors of what reads and adds where an index says: gathered fields, and sums of what one position is given.

In: fields, and a `Lookup`. Out: the canonical field of the same value. A `Gather` has the field at the positions that
the index has; a `Segment` sums, for each position, what the index gives it. Each is the transpose of the other, so each
is the other's gradient. A position that is out of range reads as zero and adds to nothing.

What all elements of a segment share leaves its sum: a factor that lacks the index's axis, or is gathered by the same
index. So the product of what edges bring with what their node has is made once for a node.
"""

from collections.abc import Sequence
from math import prod

from kgen.graph.node import Node, Rational, Term, postorder
from kgen.graph.reductions import Reductions
from kgen.graph.table import remembered
from kgen.graph.tensor import Lookup


class Lookups(Reductions):
    """The constructors that go by an index."""

    @remembered
    def gather(self, a: Node, by: Lookup) -> Node:
        """a where the index says; what does not vary along its positions is what it is."""
        if by.into not in a.axes:
            return a
        if a.kind == "Add" and len(a.args) == 1:
            return self.scale(a.coefficients[0], self.gather(a.args[0], by))
        return self.make("Gather", a.axes - {by.into} | {by.along}, (a,), by)

    @remembered
    def segment(self, a: Node, by: Lookup) -> Node:
        """The sum of a over all places of the index that have a position; of 1, how many these are."""
        coefficient, factors = self._factors(a)
        shared, own = list[Node](), list[Node]()
        for factor in factors:
            gathered = factor.kind == "Gather" and factor.lookup == by
            if gathered or by.along not in factor.axes:
                shared.append(factor.args[0] if gathered else factor)
            else:
                own.append(factor)
        return self.scale(coefficient, self.mul(*shared, self._summed(self.mul(*own), by)))

    def _factors(self, a: Node) -> tuple[Rational, list[Node]]:
        """The coefficient and the factors of a product, and of products among them."""
        ((coefficient, x),) = a.single
        if x.kind != "Mul":
            return coefficient, [x]
        found = [self._factors(factor) for factor in x.args]
        return prod([coefficient, *(c for c, _ in found)]), [factor for _, factors in found for factor in factors]

    def _summed(self, a: Node, by: Lookup) -> Node:
        return self.make("Segment", a.axes - {by.along} | {by.into}, (a,), by)

    def segments(self, fields: Sequence[Node], by: Lookup) -> list[Node]:
        """The sums of the components of a value: term by term where that takes no more sums than there are components.

        So it is for a product of what edges bring with what their node has, which is then made once for a node.
        """
        whole = [self.segment(a, by) for a in fields]
        apart = [self.linear((c, self.segment(x, by)) for c, x in self._multiplied_out(a)) for a in fields]
        chosen = apart if len(self._sums(apart)) <= len(self._sums(whole)) else whole
        for node in self._sums(chosen):
            if label := self._of(node.args[0]):
                self.name(node, f"summed_{label}")
        return chosen

    def _of(self, a: Node) -> str:
        """What is summed: a field with a name, or the only one that is gathered among the factors of a product."""
        read = [x.args[0] for x in self._factors(a)[1] if x.kind == "Gather"]
        if a in self.hints or len(read) != 1:
            return self.hints.get(a, "")
        (x,) = read
        return self.tensors[x.tensor].component_name(x.component) if x.kind == "Input" else self.hints.get(x, "")

    def _multiplied_out(self, a: Node) -> list[Term]:
        """The terms of a sum, or of a sum among the factors of a product."""
        added = next((x for x in a.args if x.kind == "Add"), None) if a.kind == "Mul" else None
        if added is None:
            return list(a.terms)
        others = [x for x in a.args if x is not added]
        return [(c, self.mul(x, *others)) for c, x in added.terms]

    def _sums(self, fields: Sequence[Node]) -> list[Node]:
        return [node for node in postorder(fields) if node.kind == "Segment"]

    def by_lookup(self, kind: str, a: Node, by: Lookup) -> Node:
        """A node of either kind."""
        return (self.gather if kind == "Gather" else self.segment)(a, by)
