"""Constructors of what is computed element by element: sums of terms, products, functions.

In: fields. Out: the canonical field of the same value: like terms merged, signs pulled out of products, constants
folded. Sums along axes that are added to each other are merged, too; how, is said by `reductions.py`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

from kgen.graph.node import Node, Number, Rational, Term, whole
from kgen.graph.table import Table, remembered

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
JUNCTIONS = ("and", "or", "not")
CONDITIONS = (*COMPARISONS, *JUNCTIONS)  # functions that give truth values

# functions of constants are computed while the graph is built
FOLDED: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "fast_exp": math.exp,
    "erf": math.erf,
    "phi": lambda x: math.erfc(-x / math.sqrt(2)) / 2,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)),
    "sin": math.sin,
    "cos": math.cos,
    "abs": abs,
    "maximum": max,
    "minimum": min,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "rsqrt": lambda x: 1 / math.sqrt(x) if x > 0 else math.inf if x == 0 else math.nan,
    "log": lambda x: math.log(x) if x > 0 else -math.inf if x == 0 else math.nan,
}


def axes_of(fields: Iterable[Node]) -> frozenset[str]:
    """The axes along which some of the fields vary."""
    return frozenset[str]().union(*(x.axes for x in fields))


def is_condition(x: Node) -> bool:
    """Whether a field is of truth values; one that was stored is of zeros and ones."""
    return x.kind == "Call" and x.function in CONDITIONS


Scaled = tuple[Rational, Node, Node]  # a coefficient, a number that is not rational, or one, and a field


def _mergeable(x: Node) -> tuple[object, ...]:
    """What reductions have in common that are merged where they are added."""
    return (x.kind, x.over, *((a.axes for a in x.args[:2]) if x.kind == "Dot" else ()))


class Arithmetic(Table):
    """The pointwise constructors."""

    @abstractmethod
    def merged(self, reductions: Sequence[Scaled]) -> Node:
        """The sum of scaled reductions of one kind along the same axes, as one of them."""

    # sums of terms

    def linear(self, terms: Iterable[tuple[Number, Node]]) -> Node:
        """The sum of c * x."""
        return self._linear(*terms)

    @remembered
    def _linear(self, *terms: tuple[Number, Node]) -> Node:
        merged, reductions = dict[Node, Rational](), dict[tuple[object, ...], list[Scaled]]()
        for c, x in self._exact(terms):
            number, field = self._number(x)
            if field.kind in ("Sum", "Dot"):
                reductions.setdefault(_mergeable(field), []).append((c, number, field))
            else:
                merged[x] = merged.get(x, 0) + c
        for key in sorted(reductions, key=lambda key: key[0] == "Dot"):
            same = reductions[key]
            for c, x in self.merged(same).single if len(same) > 1 else [(same[0][0], self.mul(*same[0][1:]))]:
                merged[x] = merged.get(x, 0) + c
        rest = sorted(((c, x) for x, c in merged.items() if c), key=lambda term: term[1].id)
        return self._add(rest) if len(rest) > 1 else self._scaled(*rest[0]) if rest else self.zero

    def _number(self, x: Node) -> tuple[Node, Node]:
        """A field as a number that is not rational, or one, times what is left of it."""
        numbers = [a for a in x.args if a.kind == "Const"] if x.kind == "Mul" else []
        if not numbers:
            return self.one, x
        return self.mul(*numbers), self.mul(*(a for a in x.args if a not in numbers))

    def _exact(self, terms: Iterable[tuple[Number, Node]]) -> Iterator[Term]:
        """The terms with rational coefficients; what is scaled gives its coefficient, and a constant is all of it."""
        for c, x in terms:
            if isinstance(c, float):
                c, x = 1, self.mul(self.const(c), x)
            for inner, y in x.single:
                if y.kind == "Const" and not isinstance(y.value, float):
                    inner, y = inner * y.value, self.one
                yield c * inner, y

    def _scaled(self, c: Rational, x: Node) -> Node:
        """A single term; a product with a constant factor takes another one into that."""
        if c == 1 or x is self.one:
            return x if c == 1 else self.const(c)
        if abs(c) != 1 and x.kind == "Mul" and any(a.kind == "Const" for a in x.args):
            return self.mul(self.const(float(c)), *x.args)
        return self._add([(c, x)])

    def _add(self, terms: Sequence[Term]) -> Node:
        fields = tuple(x for _, x in terms)
        return self.make("Add", axes_of(fields), fields, tuple(whole(c) for c, _ in terms))

    def add(self, *fields: Node) -> Node:
        return self.linear((1, x) for x in fields)

    def sub(self, a: Node, b: Node) -> Node:
        return self.linear([(1, a), (-1, b)])

    def neg(self, a: Node) -> Node:
        return self.linear([(-1, a)])

    def scale(self, c: Number, a: Node) -> Node:
        return a if c == 1 else self.linear([(c, a)])

    # products

    @remembered
    def mul(self, *fields: Node) -> Node:
        """The product. Signs and rational constants come out as a coefficient; scaled fields stay whole."""
        coefficient: Rational = 1
        factors: list[Node] = []
        irrational = 1.0
        for x in fields:
            if x.kind == "Const":
                if isinstance(x.value, float):
                    irrational *= x.value
                else:
                    coefficient *= x.value
            elif x.kind == "Add" and len(x.args) == 1 and abs(x.coefficients[0]) == 1:
                coefficient *= x.coefficients[0]
                factors.append(x.args[0])
            else:
                factors.append(x)
        if coefficient == 0 or irrational == 0:
            return self.zero
        if irrational != 1.0:
            factors.append(self.const(irrational * float(coefficient)))
            coefficient = 1
        return self.scale(coefficient, self._multiplied(factors))

    def _multiplied(self, factors: list[Node]) -> Node:
        if len(factors) < 2:
            return factors[0] if factors else self.one
        return self.make("Mul", axes_of(factors), tuple(sorted(factors, key=lambda x: x.id)))

    def reciprocal(self, a: Node) -> Node:
        if a.kind == "Const" and a.value:
            return self.const(1 / a.value if isinstance(a.value, float) else Fraction(1) / a.value)
        if a.kind == "Reciprocal":
            return a.args[0]
        if a.kind == "Add" and len(a.args) == 1:
            return self.scale(Fraction(1) / a.coefficients[0], self.reciprocal(a.args[0]))
        return self.make("Reciprocal", a.axes, (a,))

    def div(self, a: Node, b: Node) -> Node:
        return self.mul(a, self.reciprocal(b))

    def power(self, a: Node, exponent: int) -> Node:
        """Of the reciprocal where the exponent is negative, so that nothing overflows on the way to a derivative."""
        base = a if exponent >= 0 else self.reciprocal(a)
        return self.mul(*[base] * abs(exponent)) if exponent else self.one

    # functions

    def call(self, function: str, *args: Node) -> Node:
        if function in FOLDED and all(x.kind == "Const" for x in args):
            return self.const(FOLDED[function](*(float(x.value) for x in args)))
        conditions = {"where": 1, **dict.fromkeys(JUNCTIONS, len(args))}.get(function, 0)
        args = (*map(self._condition, args[:conditions]), *args[conditions:])
        return self.make("Call", axes_of(args), args, (function,))

    def _condition(self, x: Node) -> Node:
        """A field as truth values: where it is not zero."""
        return x if is_condition(x) else self.call("ne", x, self.zero)

    def draw(self, seed: Node, p: Node, number: int, part: int, axes: Sequence[str]) -> Node:
        """1 for an element that is kept, else 0."""
        return self.make("Draw", frozenset(axes), (seed, p), (number, part, *axes))

    def cast(self, a: Node, dtype: str) -> Node:
        return self.make("Cast", a.axes, (a,), (dtype,))
