"""kingdon's own factoring, as a candidate beside that of `simplify.py`.

In: fields. Out: equal ones, as kingdon's elimination of common subexpressions has them: sums that several polynomials
share, factors and numbers isolated from sums, then products of two. It sees no fraction, by which it would divide.
Guaranteed: the same result in every process; kingdon goes through sets of names, which are ordered here.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from kgen.graph.builder import Builder
from kgen.graph.node import Node, Rational
from kgen.graph.simplify import Polynomials

MOST_TERMS = 500  # of all polynomials: it takes 0.1 s for these, and longer by the square of their number

Terms = list[list[Any]]  # kingdon's polynomials: products of numbers, names and polynomials, mostly a number first


class _Names(dict[Any, None]):
    """A set that is gone through in the order in which it was filled."""

    def __init__(self, names: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(names))

    def add(self, name: Any) -> None:
        self[name] = None


@cache
def _kingdon() -> Any:
    from kingdon import polynomial

    polynomial.set = _Names  # type: ignore[attr-defined, unused-ignore]
    return polynomial


def isolate(builder: Builder, roots: Sequence[Node]) -> list[Node] | None:
    """Equal roots; nothing where there is nothing to share or too much to look through."""
    read = Polynomials(builder, roots)
    found = read.polynomials()
    if len(found) < 2 or sum(map(len, found.values())) > MOST_TERMS:
        return None
    return _Rewritten(builder, read, list(found), list(found.values())).fields(roots)


class _Rewritten:
    """Polynomials after kingdon has been over them, on the way back to fields."""

    def __init__(
        self,
        builder: Builder,
        read: Polynomials,
        nodes: Sequence[Node],
        polynomials: Sequence[Sequence[tuple[Rational, tuple[int, ...]]]],
    ) -> None:
        self.builder, self.order, self.atoms = builder, read.order, read.atoms
        self.leaves: dict[str, Rational | int] = {}  # a fraction, or the number of an atom
        given = [[self._term(c, atoms) for c, atoms in terms] for terms in polynomials]
        names = sorted({factor for terms in given for term in terms for factor in term[1:]})
        shared, rest = _kingdon().poly_cse(given, prot=None, iso=[2, *names])
        self.shared: dict[str, Terms] = dict(shared)
        self.rest = dict(zip(nodes, rest, strict=True))
        self.named: dict[str, Node] = {}
        self.done: dict[Node, Node] = {}

    def _term(self, coefficient: Rational, atoms: Sequence[int]) -> list[Any]:
        factors = [self._leaf(f"x{atom:06}", atom) for atom in atoms]
        if Fraction(coefficient).denominator == 1:
            return [int(coefficient), *factors]
        return [1, self._leaf(f"c{coefficient}", Fraction(coefficient)), *factors]

    def _leaf(self, name: str, value: Rational | int) -> str:
        self.leaves[name] = value
        return name

    def fields(self, roots: Sequence[Node]) -> list[Node]:
        for node in self.order:  # arguments first, so that little is nested
            self._field(node)
        return [self._field(root) for root in roots]

    def _field(self, node: Node) -> Node:
        if node not in self.done:
            if node in self.rest:
                made = self._sum(self.rest[node])
                if node in self.builder.hints:
                    self.builder.name(made, self.builder.hints[node])
            else:
                made = self.builder.rebuild(node, [self._field(a) for a in node.args]) if node.args else node
            self.done[node] = made
        return self.done[node]

    def _sum(self, terms: Terms | int) -> Node:
        b = self.builder
        if terms == 0 or isinstance(terms, int):
            return b.const(terms if isinstance(terms, int) else 0)
        return b.linear((1, b.mul(*map(self._factor, term))) for term in terms)

    def _factor(self, factor: Any) -> Node:
        if isinstance(factor, list):
            return self._sum(factor)
        if not isinstance(factor, str):
            return self.builder.const(factor)
        if factor not in self.named:
            if factor in self.shared:
                self.named[factor] = self._sum(self.shared[factor])
            else:
                leaf = self.leaves[factor]
                atom = self.atoms[leaf] if factor.startswith("x") else None  # type: ignore[index]
                self.named[factor] = self._field(atom) if isinstance(atom, Node) else self.builder.const(leaf)
        return self.named[factor]
