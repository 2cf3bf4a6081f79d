"""kingdon's own factoring, as a candidate beside that of `simplify.py`.

In: fields. Out: equal ones, as kingdon's elimination of common subexpressions has them: sums that several polynomials
share, factors and numbers isolated from sums, then products of two. It sees no fraction, by which it would divide.
Guaranteed: equal fields, and the same ones in every process. kingdon 3.0.0, the version that is pinned, loses a
coefficient or counts a term twice in some sums: its polynomials are held against the given ones at a random point of a
prime field, and what is not equal is no candidate. It goes through sets of names, which are ordered here.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from kgen.graph.builder import Builder
from kgen.graph.node import Node, Rational
from kgen.graph.simplify import Monomial, polynomials

MOST_TERMS = 500  # of all polynomials: it takes 0.1 s for these, and longer by the square of their number

PRIME = (1 << 61) - 1  # of the field in which polynomials are compared

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


@lru_cache(maxsize=64)  # the scheduler asks again for what it tried, and for what it takes
def _eliminated(given: tuple[tuple[tuple[Any, ...], ...], ...]) -> tuple[dict[str, Terms], Sequence[Terms | int]]:
    """What kingdon shares, by name, and what is left of the polynomials."""
    names = sorted({factor for terms in given for term in terms for factor in term[1:]})
    shared, rest = _kingdon().poly_cse([list(map(list, terms)) for terms in given], prot=None, iso=[2, *names])
    return dict(shared), rest


def isolate(builder: Builder, roots: Sequence[Node]) -> list[Node] | None:
    """Equal roots; nothing where nothing is shared, there is too much to look through, or kingdon errs."""
    found = isolated(builder, roots)
    return found.fields(builder, roots) if found else None


def isolated(builder: Builder, roots: Sequence[Node]) -> "Isolated | None":
    """What `isolate` makes fields of, in that builder or in a copy of it."""
    read = polynomials(builder, tuple(roots))
    found = read.found
    if len(found) < 2 or sum(map(len, found.values())) > MOST_TERMS:
        return None
    try:
        rewritten = Isolated(read.atoms, found)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # of kingdon's own: for some constants it has no term to look at
    return rewritten if rewritten.right() else None


class Isolated:
    """Polynomials after kingdon has been over them."""

    def __init__(self, atoms: Sequence[Node], found: Mapping[Node, Sequence[Monomial]]) -> None:
        self.atoms = atoms
        self.leaves: dict[str, Rational | Node] = {}
        self.given = tuple(tuple(self._term(c, atoms) for c, atoms in terms) for terms in found.values())
        self.shared, rest = _eliminated(self.given)
        self.rest = dict(zip(found, rest, strict=True))

    def _term(self, coefficient: Rational, atoms: Sequence[int]) -> tuple[Any, ...]:
        factors = [self._leaf(f"x{atom:06}", self.atoms[atom]) for atom in atoms]
        if Fraction(coefficient).denominator == 1:
            return (int(coefficient), *factors)
        return (1, self._leaf(f"c{coefficient}", Fraction(coefficient)), *factors)

    def _leaf(self, name: str, value: Rational | Node) -> str:
        self.leaves[name] = value
        return name

    def right(self) -> bool:
        """Whether the polynomials are those that were given."""
        drawn = random.Random(PRIME)
        values = {name: drawn.randrange(PRIME) for name in self.leaves}
        return all(
            _value(before, values, {}) == _value(after, values, self.shared)
            for before, after in zip(self.given, self.rest.values(), strict=True)
        )

    def fields(self, builder: Builder, roots: Sequence[Node]) -> list[Node]:
        """The roots, made of these polynomials."""
        made = _Fields(builder, self)
        for node in self.rest:  # arguments first, so that little is nested
            made.field(node)
        return [made.field(root) for root in roots]


class _Fields:
    """The way back from polynomials to fields of a builder."""

    def __init__(self, builder: Builder, found: Isolated) -> None:
        self.builder, self.found = builder, found
        self.named: dict[str, Node] = {}
        self.done: dict[Node, Node] = {}

    def field(self, node: Node) -> Node:
        if node not in self.done:
            if node in self.found.rest:
                made = self._sum(self.found.rest[node])
            else:
                made = self.builder.rebuild(node, [self.field(a) for a in node.args]) if node.args else node
            if node in self.builder.hints:
                self.builder.name(made, self.builder.hints[node])
            self.done[node] = made
        return self.done[node]

    def _sum(self, terms: Terms | int) -> Node:
        b = self.builder
        if isinstance(terms, int):
            return b.const(terms)
        return b.linear((1, b.mul(*map(self._factor, term))) for term in terms)

    def _factor(self, factor: Any) -> Node:
        if isinstance(factor, list):
            return self._sum(factor)
        if not isinstance(factor, str):
            return self.builder.const(factor)
        if factor not in self.named:
            if factor in self.found.shared:
                self.named[factor] = self._sum(self.found.shared[factor])
            else:
                leaf = self.found.leaves[factor]
                self.named[factor] = self.field(leaf) if isinstance(leaf, Node) else self.builder.const(leaf)
        return self.named[factor]


def _value(terms: Iterable[Iterable[Any]] | int, values: dict[str, int], shared: Mapping[str, Terms]) -> int:
    """A polynomial at a point; the values of what is shared are kept there."""
    if isinstance(terms, int):
        return terms % PRIME
    total = 0
    for term in terms:
        product = 1
        for factor in term:
            if isinstance(factor, str) and factor not in values:
                values[factor] = _value(shared[factor], values, shared)
            at = values[factor] if isinstance(factor, str) else _value(factor, values, shared)
            product = product * at % PRIME
        total += product
    return total % PRIME
