"""The component graph: scalar fields over named axes, hash-consed and kept in canonical form by their constructors.

A field is one scalar function over named axes; one that lacks an axis is constant along it. The node kinds:

    Input(tensor, component)    one component of a tensor argument, or a run-time number (no axes)
    Const(value)                an exact rational, or a float
    Size(axis)                  the extent of an axis, as a number
    Iota(axis)                  the place along an axis, from 0, as an integer
    Add((c, x), …)              the sum of c * x with rational c; a single term is a scaled or negated field
    Mul(x, y, …)                the product of fields; carries no coefficient but a Const factor that is not rational
    Reciprocal(x)               1 / x
    Call(function, args)        exp, log, erf, tanh, sigmoid, sqrt, rsqrt, abs, sin, cos, maximum, minimum, where,
                                comparisons, and, or, not; phi, the normal distribution function; fast_exp, of a
                                square, whose rounding costs as many digits as a faster exponential
    Sum(x, over)                the sum along axes that x has
    Max(x, over)                the maximum along axes that x has
    Dot((a, b), …, over)        the sum of a * b along axes, over all pairs: a product of matrices
    Gather(x, lookup)           x at the positions that an index has; it lies along the index's axis
    Segment(x, lookup)          for each position the sum of x where the index has that position
    Draw(seed, p, number, part, axes)
                                1 with probability 1 - p, else 0, for each element along axes: the same whenever it is
                                asked for; others for each number, of a draw in the body, and part, such as a grade
    Cast(x, dtype)              x rounded to a storage type
    Cat((x, …), along)          fields one after the other along an axis of their own: the first, made of the others

Canonical form: Add merges like terms, sums and dots over the same axes; Mul pulls signs out and orders its factors;
factors and terms without the axis leave a Sum; a Sum of products whose factors fall into two sides, each with an axis
of its own, is a Dot; constants fold. What is made of a Cat is one of what is made of its parts, so that Cats stand at
roots alone, where each part is a result (`graph.py`). Shared subexpressions are never expanded.

Fields are real, or of integers: an Iota, the Input of a tensor of integers, and their sums and products are. What reads
these is a comparison, so nothing is differentiated through them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter

from kgen.graph.tensor import Lookup

Rational = int | Fraction  # an int wherever it is whole: integer arithmetic is many times faster
Number = Rational | float
Term = tuple[Rational, "Node"]  # a coefficient and a field
Names = dict[str, str]  # axes with those that take their place, which are exchanged with them


def whole(value: Rational) -> Rational:
    """The same number, as an int where it is one."""
    return int(value) if value.denominator == 1 else value


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A field. Nodes of one Builder are equal exactly when they are identical; `id` is their order of creation."""

    id: int
    kind: str
    axes: frozenset[str]
    args: tuple["Node", ...] = ()
    payload: tuple[object, ...] = ()  # what distinguishes the node besides its arguments; see the properties
    integer: bool = False  # whether its values are integers

    @property
    def tensor(self) -> str:
        """Input: the tensor's name."""
        assert self.kind == "Input"
        return str(self.payload[0])

    @property
    def component(self) -> int:
        """Input: the flat index among the tensor's components."""
        assert self.kind == "Input" and isinstance(self.payload[1], int)
        return self.payload[1]

    @property
    def value(self) -> Number:
        """Const: its value."""
        assert self.kind == "Const" and isinstance(self.payload[0], (int, Fraction, float))
        return self.payload[0]

    @property
    def axis(self) -> str:
        """Size, Iota: the axis."""
        assert self.kind in ("Size", "Iota")
        return str(self.payload[0])

    @property
    def coefficients(self) -> tuple[Rational, ...]:
        """Add: one coefficient for each argument."""
        assert self.kind == "Add"
        return self.payload  # type: ignore[return-value]

    @property
    def terms(self) -> tuple[tuple[Rational, "Node"], ...]:
        """Add: (coefficient, field) pairs; any other node is one term with coefficient 1."""
        return tuple(zip(self.coefficients, self.args)) if self.kind == "Add" else ((1, self),)

    @property
    def single(self) -> tuple[tuple[Rational, "Node"], ...]:
        """The field as one term: a scaled field gives its coefficient, any other has coefficient 1."""
        return self.terms if self.kind == "Add" and len(self.args) == 1 else ((1, self),)

    @property
    def function(self) -> str:
        """Call: the function's name."""
        assert self.kind == "Call"
        return str(self.payload[0])

    @property
    def over(self) -> tuple[str, ...]:
        """Sum, Max, Dot: the axes reduced, sorted."""
        assert self.kind in ("Sum", "Max", "Dot")
        return self.payload  # type: ignore[return-value]

    @property
    def reduced(self) -> frozenset[str]:
        """The axes that the node sums or maximises over; none for a node that reduces nothing."""
        return frozenset(self.over) if self.kind in ("Sum", "Max", "Dot") else frozenset()

    @property
    def lookup(self) -> Lookup:
        """Gather, Segment: the index, its axis and the one that it points into."""
        assert self.kind in ("Gather", "Segment")
        return Lookup(*map(str, self.payload))

    @property
    def drawn(self) -> tuple[int, int, tuple[str, ...]]:
        """Draw: its number, its part, and the axes along which elements are counted, outermost first."""
        assert self.kind == "Draw"
        number, part, *axes = self.payload
        return int(str(number)), int(str(part)), tuple(map(str, axes))

    @property
    def read_along(self) -> frozenset[str]:
        """The axes along which the node reads its arguments, where these have them."""
        match self.kind:
            case "Gather":
                return self.axes - {self.lookup.along} | {self.lookup.into}
            case "Segment":
                return self.axes - {self.lookup.into} | {self.lookup.along}
        return self.axes | self.reduced

    @property
    def pairs(self) -> tuple[tuple["Node", "Node"], ...]:
        """Dot: the factors; those on either side vary along the same axes."""
        assert self.kind == "Dot"
        return tuple(zip(self.args[::2], self.args[1::2]))

    @property
    def along(self) -> tuple[str, tuple[str, ...]]:
        """Cat: its axis, and those of its parts."""
        assert self.kind == "Cat"
        whole, *parts = self.payload
        return str(whole), tuple(map(str, parts))

    @property
    def is_reduction(self) -> bool:
        """Whether one program reduces what it holds; a Dot is a matrix product of its own."""
        return self.kind in ("Sum", "Max")

    def __str__(self) -> str:
        return f"%{self.id}"


def postorder(roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """Every node below the roots, arguments first, in an order that depends on the roots' order alone.

    The nodes in `stop` are listed, but not entered.
    """
    return list(_postorder(tuple(roots), frozenset(stop)))


@lru_cache(maxsize=512)  # the scheduler asks the same of what it tries
def _postorder(roots: tuple[Node, ...], barred: frozenset[Node]) -> tuple[Node, ...]:
    return tuple(walk(roots, (lambda node: () if node in barred else node.args) if barred else attrgetter("args")))


def walk(roots: Iterable[Node], arguments: Callable[[Node], Sequence[Node]]) -> Iterable[Node]:
    """Every node below the roots, after those that are its arguments here, which are walked in their order."""
    order: dict[Node, None] = {}
    for root in roots:
        stack: list[Node | None] = [root]
        while stack:
            node = stack.pop()
            if node is None:  # the arguments of the next one are done
                order[stack.pop()] = None  # type: ignore[index]
            elif node not in order:
                if found := arguments(node):
                    stack += (node, None, *found[::-1])
                else:
                    order[node] = None
    return order


def holds_dot(fields: Iterable[Node]) -> bool:
    """Whether a product of matrices is among what the fields are made of."""
    return any(node.kind == "Dot" for node in postorder(fields))


def spell(node: Node, name: Callable[[Node], str] = str) -> str:
    """One node as text, its arguments by their names, which are %id."""
    args = [name(a) for a in node.args]
    match node.kind:
        case "Input":
            return f"{node.tensor}[{node.component}]"
        case "Const":
            return str(node.value)
        case "Size" | "Iota":
            return f"{node.kind}({node.axis})"
        case "Add":
            return "Add(" + ", ".join(f"{c} {x}" if c != 1 else x for c, x in zip(node.coefficients, args)) + ")"
        case "Call":
            return f"{node.function}({', '.join(args)})"
        case "Sum" | "Max":
            return f"{node.kind}({', '.join(args)}, over {' '.join(node.over)})"
        case "Dot":
            pairs = (f"{a} {b}" for a, b in zip(args[::2], args[1::2]))
            return f"Dot({', '.join(pairs)}, over {' '.join(node.over)})"
        case "Gather" | "Segment":
            return f"{node.kind}({', '.join(args)}, by {node.lookup.tensor})"
        case "Draw":
            number, part, axes = node.drawn
            return f"Draw({', '.join(args)}, number {number}, part {part}, along {' '.join(axes)})"
        case "Cat":
            whole, parts = node.along
            return f"Cat({', '.join(f'{x} along {axis}' for x, axis in zip(args, parts))}, along {whole})"
        case _:
            return f"{node.kind}({', '.join(args)})"
