"""The component graph: scalar fields over named axes, hash-consed and kept in canonical form by their constructors.

A field is one scalar function over named axes; one that lacks an axis is constant along it. The node kinds:

    Input(tensor, component)    one component of a tensor argument, or a run-time number (no axes)
    Const(value)                an exact rational, or a float
    Size(axis)                  the extent of an axis, as a number
    Add((c, x), …)              the sum of c * x with rational c; a single term is a scaled or negated field
    Mul(x, y, …)                the product of fields; carries no coefficient but a Const factor that is not rational
    Reciprocal(x)               1 / x
    Call(function, args)        exp, log, erf, tanh, sigmoid, sqrt, rsqrt, abs, sin, cos, maximum, minimum, where,
                                comparisons; phi, the normal distribution function; fast_exp, of a square, whose
                                rounding costs as many digits as a faster exponential
    Sum(x, over)                the sum along axes that x has
    Max(x, over)                the maximum along axes that x has
    Dot((a, b), …, over)        the sum of a * b along axes, over all pairs: a product of matrices
    Cast(x, dtype)              x rounded to a storage type

Canonical form: Add merges like terms, sums and dots over the same axes; Mul pulls signs out and orders its factors;
factors and terms without the axis leave a Sum; a Sum of products whose factors fall into two sides, each with an axis
of its own, is a Dot; constants fold. Shared subexpressions are never expanded.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

Rational = int | Fraction  # an int wherever it is whole: integer arithmetic is many times faster
Number = Rational | float
Names = dict[str, str]  # axes with those that take their place, which are exchanged with them
LARGEST_DENOMINATOR = 1024  # a float with a larger one, such as sqrt(2), stays a float


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
        """Size: the axis."""
        assert self.kind == "Size"
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
    def pairs(self) -> tuple[tuple["Node", "Node"], ...]:
        """Dot: the factors; those on either side vary along the same axes."""
        assert self.kind == "Dot"
        return tuple(zip(self.args[::2], self.args[1::2]))

    @property
    def is_reduction(self) -> bool:
        """Whether one program reduces what it holds; a Dot is a matrix product of its own."""
        return self.kind in ("Sum", "Max")

    def __str__(self) -> str:
        return f"%{self.id}"


class Builder:
    """Makes nodes: the constructors of the canonical form, and the table that makes equal nodes identical."""

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Node] = {}
        self.nodes: list[Node] = []
        self.hints: dict[Node, str] = {}  # a name for a field, from the spec; the printer makes names unique
        self.tensors: dict[str, Tensor] = {}  # those that fields are read from, and the same with axes renamed
        self.alike: list[tuple[str, str]] = []  # axes of one extent, which some tensor is read along both of

    def _make(
        self, kind: str, axes: frozenset[str], args: tuple[Node, ...] = (), payload: tuple[object, ...] = ()
    ) -> Node:
        key = (kind, args, payload, axes)
        node = self._table.get(key)
        if node is None:
            node = Node(len(self.nodes), kind, axes, args, payload)
            self._table[key] = node
            self.nodes.append(node)
        return node

    def name(self, node: Node, hint: str) -> Node:
        """Suggest a name for a field in emitted code; the first suggestion stays."""
        if node.kind not in ("Input", "Const", "Size"):
            self.hints.setdefault(node, hint)
        return node

    # leaves

    @property
    def exchanges(self) -> list["Names"]:
        """For each two axes of one extent, the names under which fields are the same."""
        return [{axis: other, other: axis} for axis, other in self.alike]

    def declare(self, tensor: "Tensor") -> "Tensor":
        """Make a tensor known, so that what is read from it can be had under other names of its axes."""
        self.tensors[tensor.name] = tensor
        return tensor

    def input(self, tensor: str, component: int, axes: Iterable[str]) -> Node:
        return self._make("Input", frozenset(axes), (), (tensor, component))

    def const(self, value: int | Fraction | float) -> Node:
        exact = value
        if isinstance(value, float) and math.isfinite(value) and Fraction(value).denominator <= LARGEST_DENOMINATOR:
            exact = Fraction(value)
        return self._make("Const", frozenset(), (), (exact if isinstance(exact, float) else whole(exact),))

    def size(self, axis: str) -> Node:
        return self._make("Size", frozenset(), (), (axis,))

    @cached_property
    def zero(self) -> Node:
        return self.const(0)

    @cached_property
    def one(self) -> Node:
        return self.const(1)

    # arithmetic

    def linear(self, terms: Iterable[tuple[Number | int, Node]]) -> Node:
        """The sum of c * x."""
        merged: dict[Node, Rational] = {}
        sums: dict[tuple[str, ...], list[tuple[Rational, Node]]] = {}
        dots: dict[object, list[tuple[Rational, Node]]] = {}
        for c, x in terms:
            if isinstance(c, float):
                c, x = 1, self.mul(self.const(c), x)
            for inner, y in x.single:
                if y.kind == "Const" and not isinstance(y.value, float):
                    inner, y = inner * y.value, self.one
                if y.kind == "Sum":
                    sums.setdefault(y.over, []).append((c * inner, y.args[0]))
                elif y.kind == "Dot":
                    dots.setdefault((y.over, y.args[0].axes, y.args[1].axes), []).append((c * inner, y))
                else:
                    merged[y] = merged.get(y, 0) + c * inner
        for over, parts in sums.items():
            alone = len(parts) == 1
            joined = self._make_sum(parts[0][1], over) if alone else self.sum(self.linear(parts), over)
            for c, y in ((parts[0][0], joined),) if alone else joined.single:
                merged[y] = merged.get(y, 0) + c
        for same in dots.values():
            for c, y in self._merged_dots(same):
                merged[y] = merged.get(y, 0) + c
        rest = sorted(((c, x) for x, c in merged.items() if c), key=lambda term: term[1].id)
        if not rest:
            return self.zero
        if len(rest) == 1 and (rest[0][0] == 1 or rest[0][1] is self.one):
            return rest[0][1] if rest[0][0] == 1 else self.const(rest[0][0])
        coefficient, only = rest[0]
        if (
            len(rest) == 1
            and abs(coefficient) != 1
            and only.kind == "Mul"
            and any(x.kind == "Const" for x in only.args)
        ):
            return self.mul(self.const(float(coefficient)), *only.args)
        return self._add(rest)

    def _add(self, terms: Sequence[tuple[Rational, Node]]) -> Node:
        axes = frozenset[str]().union(*(x.axes for _, x in terms))
        return self._make("Add", axes, tuple(x for _, x in terms), tuple(whole(c) for c, _ in terms))

    def add(self, *fields: Node) -> Node:
        return self.linear((1, x) for x in fields)

    def sub(self, a: Node, b: Node) -> Node:
        return self.linear([(1, a), (-1, b)])

    def neg(self, a: Node) -> Node:
        return self.linear([(-1, a)])

    def scale(self, c: Number | int, a: Node) -> Node:
        return self.linear([(c, a)])

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
        if len(factors) < 2:
            return self.scale(coefficient, factors[0] if factors else self.one)
        factors.sort(key=lambda x: x.id)
        axes = frozenset[str]().union(*(x.axes for x in factors))
        return self.scale(coefficient, self._make("Mul", axes, tuple(factors)))

    def reciprocal(self, a: Node) -> Node:
        if a.kind == "Const" and a.value:
            return self.const(1 / a.value if isinstance(a.value, float) else Fraction(1) / a.value)
        if a.kind == "Reciprocal":
            return a.args[0]
        if a.kind == "Add" and len(a.args) == 1:
            return self.scale(Fraction(1) / a.coefficients[0], self.reciprocal(a.args[0]))
        return self._make("Reciprocal", a.axes, (a,))

    def div(self, a: Node, b: Node) -> Node:
        return self.mul(a, self.reciprocal(b))

    def power(self, a: Node, exponent: int) -> Node:
        """Of the reciprocal where the exponent is negative, so that nothing overflows on the way to a derivative."""
        base = a if exponent >= 0 else self.reciprocal(a)
        return self.mul(*[base] * abs(exponent)) if exponent else self.one

    def call(self, function: str, *args: Node) -> Node:
        if function in FOLDED and all(x.kind == "Const" for x in args):
            return self.const(FOLDED[function](*(float(x.value) for x in args)))
        axes = frozenset[str]().union(*(x.axes for x in args))
        return self._make("Call", axes, args, (function,))

    def cast(self, a: Node, dtype: str) -> Node:
        return self._make("Cast", a.axes, (a,), (dtype,))

    # reductions

    def sum(self, a: Node, over: Iterable[str]) -> Node:
        """The sum along axes: one that the field lacks multiplies by its Size, what lacks them all leaves the sum."""
        wanted = tuple(sorted(set(over)))
        present = tuple(axis for axis in wanted if axis in a.axes)
        lacking = [self.size(axis) for axis in wanted if axis not in a.axes]
        if lacking:
            return self.mul(*lacking, self.sum(a, present))
        if not present or a is self.zero:
            return a
        if a.kind == "Add":
            if len(a.args) == 1:
                return self.scale(a.coefficients[0], self.sum(a.args[0], present))
            free = [(c, x) for c, x in a.terms if not x.axes & set(present)]
            if free:
                bound = self.linear((c, x) for c, x in a.terms if x.axes & set(present))
                return self.add(self.sum(bound, present), *(self.scale(c, self.sum(x, present)) for c, x in free))
        if a.kind == "Mul":
            outside = [x for x in a.args if not x.axes & set(present)]
            if outside:
                inside = self.mul(*(x for x in a.args if x.axes & set(present)))
                return self.mul(*outside, self.sum(inside, present))
        if a.kind == "Sum":
            return self.sum(a.args[0], (*present, *a.over))
        split = [(c, x, sides(x, present)) for c, x in a.terms]
        products = [(c, *found) for c, _, found in split if found]
        if not products:
            return self._make_sum(a, present)
        rest = self.linear((c, x) for c, x, found in split if not found)
        alike: dict[object, list[tuple[Rational, Node, Node]]] = {}
        for c, left, right in products:
            x, y = self.mul(*left), self.mul(*right)
            alike.setdefault((x.axes, y.axes), []).append((c, x, y))
        return self.add(self.sum(rest, present), *(self._dot(terms, present) for terms in alike.values()))

    def _make_sum(self, a: Node, over: tuple[str, ...]) -> Node:
        return self._make("Sum", a.axes - set(over), (a,), over)

    def _dot(self, terms: Sequence[tuple[Rational, Node, Node]], over: tuple[str, ...]) -> Node:
        """The sum of c * a * b along `over`, where all a vary along the same axes, and all b.

        Terms that share a factor are one pair, on the side where that leaves fewer pairs.
        """
        by_left, by_right = dict[Node, list[tuple[Rational, Node]]](), dict[Node, list[tuple[Rational, Node]]]()
        for c, a, b in terms:
            for inner, x in a.single:
                by_left.setdefault(x, []).append((c * inner, b))
            for inner, y in b.single:
                by_right.setdefault(y, []).append((c * inner, a))
        if len(by_left) < len(by_right):
            pairs = [(x, self.linear(found)) for x, found in by_left.items()]
        else:
            pairs = [(self.linear(found), y) for y, found in by_right.items()]
        pairs = sorted(((a, b) for a, b in pairs if self.zero not in (a, b)), key=lambda pair: (pair[1].id, pair[0].id))
        if not pairs:
            return self.zero
        ((c, a),), ((d, b),) = (x.single for x in pairs[0])  # dots that differ by a factor are one dot, scaled
        scaled = [(self.scale(Fraction(1) / (c * d), x), y) for x, y in pairs[1:]]
        pairs, coefficient = [(a, b), *scaled], c * d
        axes = (pairs[0][0].axes | pairs[0][1].axes) - set(over)
        return self.scale(coefficient, self._make("Dot", axes, tuple(x for pair in pairs for x in pair), over))

    def _merged_dots(self, dots: Sequence[tuple[Rational, Node]]) -> Iterable[tuple[Rational, Node]]:
        """The sum of c * dot of dots with the same axes, as one dot."""
        if len(dots) == 1:
            return dots
        return self._dot([(c, a, b) for c, dot in dots for a, b in dot.pairs], dots[0][1].over).single

    def max(self, a: Node, over: Iterable[str]) -> Node:
        present = tuple(sorted(set(over) & a.axes))
        return self._make("Max", a.axes - set(present), (a,), present) if present else a

    # rebuilding

    def rebuild(self, node: Node, args: Sequence[Node]) -> Node:
        """The node of the same kind over other arguments, through the constructors."""
        match node.kind:
            case "Add":
                return self.linear(zip(node.coefficients, args))
            case "Mul":
                return self.mul(*args)
            case "Reciprocal":
                return self.reciprocal(args[0])
            case "Call":
                return self.call(node.function, *args)
            case "Sum":
                return self.sum(args[0], node.over)
            case "Max":
                return self.max(args[0], node.over)
            case "Dot":
                return self.sum(self._pairwise(args), node.over)
            case "Cast":
                return self.cast(args[0], str(node.payload[0]))
            case _:
                return node

    def rename(self, fields: Sequence[Node], names: "Names") -> list[Node]:
        """The fields with axes renamed everywhere, the reduced ones included; `names` exchanges axes of one extent."""
        done: dict[Node, Node] = {}
        for node in postorder(fields):
            args = [done[a] for a in node.args]
            if node.kind == "Input" and node.axes & names.keys():
                done[node] = self._renamed_input(self.tensors[node.tensor], node.component, names)
            elif node.kind == "Size":
                done[node] = self.size(names.get(node.axis, node.axis))
            elif node.kind in ("Sum", "Max", "Dot"):
                over = [names.get(axis, axis) for axis in node.over]
                total = args[0] if node.kind != "Dot" else self._pairwise(args)
                done[node] = self.max(total, over) if node.kind == "Max" else self.sum(total, over)
            else:
                done[node] = self.rebuild(node, args)
            if node in self.hints:
                self.name(done[node], self.hints[node])
        return [done[field] for field in fields]

    def _renamed_input(self, tensor: "Tensor", component: int, names: "Names") -> Node:
        """The same memory under other names; what is renamed back is the tensor itself."""
        dims = tuple(d if isinstance(d, int) else names.get(d, d) for d in tensor.dims)
        memory = self.tensors[tensor.memory]
        if dims != memory.dims:
            memory = self._along(memory, dims)
        return self.input(memory.name, component, memory.axes)

    def _along(self, memory: "Tensor", dims: tuple[str | int, ...]) -> "Tensor":
        """A tensor under other names of its axes, declared once."""
        found = [t for t in self.tensors.values() if (t.source, t.dims) == (memory.name, dims)]
        name = f"{memory.name}_along_{'_'.join(d for d in dims if isinstance(d, str))}"
        while not found and name in self.tensors:
            name += "_"
        return found[0] if found else self.declare(replace(memory, name=name, dims=dims, source=memory.name))

    def _pairwise(self, args: Sequence[Node]) -> Node:
        return self.linear((1, self.mul(a, b)) for a, b in zip(args[::2], args[1::2]))

    def substitute(self, roots: Sequence[Node], table: dict[Node, Node]) -> list[Node]:
        """The roots with every node of the table replaced; names follow."""
        done = dict(table)
        for node in postorder(roots, stop=table):
            if node in done:
                continue
            done[node] = self.rebuild(node, [done[a] for a in node.args]) if node.args else node
            if node in self.hints and done[node] is not node:
                self.name(done[node], self.hints[node])
        return [done[root] for root in roots]


def sides(product: Node, over: tuple[str, ...]) -> tuple[list[Node], list[Node]] | None:
    """The factors of a product on both sides of a matrix product that contracts `over`; None where it is none.

    Free axes that all factors have are those of a batch. The others fall into two sets that no factor connects, and the
    factors with them.
    """
    factors = list(product.args) if product.kind == "Mul" else [product]
    while True:
        found = _two_sides(factors, set(over))
        whole = next((f for f in factors if f.kind == "Mul" and f.axes == product.axes), None)
        if found or whole is None:
            return found
        factors = [x for f in factors for x in (f.args if f is whole else (f,))]


def _two_sides(factors: Sequence[Node], over: set[str]) -> tuple[list[Node], list[Node]] | None:
    free = [f.axes - over for f in factors]
    batch = frozenset[str].intersection(*(axes for axes in free if axes)) if any(free) else frozenset[str]()
    rows = _connected([axes - batch for axes in free])
    left = [f for f, axes in zip(factors, free) if axes & rows]
    right = [f for f, axes in zip(factors, free) if axes - batch - rows]
    loose = [f for f in factors if f not in left and f not in right]
    if not left or not right:
        return None
    (left if len(left) > 1 or left[0].kind != "Input" else right).extend(loose)
    shared = [frozenset[str]().union(*(f.axes for f in side)) for side in (left, right)]
    return (left, right) if over <= shared[0] & shared[1] else None


def _connected(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """The axes connected with the first one."""
    waiting = [axes for axes in sets if axes]
    found = frozenset(sorted(frozenset[str]().union(*waiting))[:1])
    while touching := [axes for axes in waiting if axes & found and not axes <= found]:
        found = found.union(*touching)
    return found


def postorder(roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """Every node below the roots, arguments first, in an order that depends on the roots' order alone.

    The nodes in `stop` are listed, but not entered.
    """
    barred = set(stop)
    order: dict[Node, None] = {}
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if node in order:
                continue
            if ready or node in barred or not node.args:
                order[node] = None
            else:
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(node.args))
    return list(order)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor argument or result: fields stored together.

    `dims` is the memory order, slowest first: axis names and component extents (int). `labels` names the components, in
    row-major order of the int dims: ("e", "e1", …) or ("000", "011", …); one empty label for a plain field.
    """

    name: str
    dims: tuple[str | int, ...]
    labels: tuple[str, ...] = ("",)
    leading: bool = False  # the first dim flattens any number of leading axes
    dtype: str | None = None  # None: floating, chosen by the caller; else fixed, such as "int64"
    source: str = ""  # the tensor that this one is, under other names of its axes
    split: int = 0  # the dims before this one are innermost in memory instead, where the launcher so decides
    several: bool = False  # the first dim counts matrices that lie one after the other: each of them is turned

    @property
    def memory(self) -> str:
        """The name of the tensor that holds the fields."""
        return self.source or self.name

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(d for d in self.dims if isinstance(d, str))

    @property
    def interleaved(self) -> bool:
        """Whether the components of an element are adjacent in memory, so that one component is not contiguous."""
        return bool(self.axes) and isinstance(self.dims[-1], int)

    @property
    def turning(self) -> str:
        """The axis that may be innermost instead of the last one."""
        return str(self.dims[self.split - 1]) if self.split else ""

    def component_name(self, index: int) -> str:
        return f"{self.name}_{self.labels[index]}" if self.labels[index] else self.name


@dataclass(frozen=True, slots=True)
class Output:
    """A result: where it is stored and the field of each of its components."""

    tensor: Tensor
    fields: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """One variant of a kernel, forward or backward, as fields of its inputs."""

    name: str
    axes: tuple[str, ...]  # memory order, outermost first
    inputs: tuple[Tensor, ...]
    numbers: tuple[str, ...]  # run-time numbers, Inputs without axes
    outputs: tuple[Output, ...]
    builder: Builder = field(repr=False, compare=False)
    precision: str | None = None  # of matrix products in fp32

    @property
    def roots(self) -> list[Node]:
        return [f for output in self.outputs for f in output.fields]

    def extents(self, dims: Iterable[str | int]) -> tuple[str | int, ...]:
        """Dims as their extents are checked: axes of one extent have one name, that of the outermost of them."""
        names = {axis: axis for axis in self.axes}
        for pair in self.builder.alike:
            first, second = sorted((names[axis] for axis in pair), key=self.axes.index)
            names = {axis: first if name == second else name for axis, name in names.items()}
        return tuple(d if isinstance(d, int) else names.get(d, d) for d in dims)

    def __str__(self) -> str:
        return dump(self)


def spell(node: Node) -> str:
    """One node as text, its arguments as %id."""
    args = ", ".join(str(a) for a in node.args)
    match node.kind:
        case "Input":
            return f"{node.tensor}[{node.component}]"
        case "Const":
            return str(node.value)
        case "Size":
            return f"Size({node.axis})"
        case "Add":
            return "Add(" + ", ".join(f"{c} {x}" if c != 1 else str(x) for c, x in node.terms) + ")"
        case "Call":
            return f"{node.function}({args})"
        case "Sum" | "Max":
            return f"{node.kind}({args}, over {' '.join(node.over)})"
        case "Dot":
            return f"Dot({', '.join(f'{a} {b}' for a, b in node.pairs)}, over {' '.join(node.over)})"
        case _:
            return f"{node.kind}({args})"


def dump(graph: Graph) -> str:
    """The graph as stable text, numbered from zero in the order of evaluation."""
    order = postorder(graph.roots)
    number = {node: i for i, node in enumerate(order)}
    lines = [f"graph {graph.name} over {' '.join(graph.axes)}"]
    for tensor in graph.inputs:
        lines.append(f"  input {tensor.name} [{', '.join(map(str, tensor.dims))}]")
    lines += [f"  number {name}" for name in graph.numbers]
    for node in order:
        renamed = Node(
            node.id, node.kind, node.axes, tuple(Node(number[a], "", a.axes) for a in node.args), node.payload
        )
        hint = graph.builder.hints.get(node)
        axes = " ".join(sorted(node.axes)) or "-"
        lines.append(f"  %{number[node]} = {spell(renamed)} : {axes}" + (f"  # {hint}" if hint else ""))
    for output in graph.outputs:
        fields = ", ".join(f"%{number[f]}" for f in output.fields)
        lines.append(f"  output {output.tensor.name} [{', '.join(map(str, output.tensor.dims))}] = {fields}")
    return "\n".join(lines) + "\n"


def verify(graph: Graph) -> None:
    """Check the grammar between stages: axes known, inputs declared, arity, reductions over axes that exist."""
    declared = {t.name: t for t in (*graph.inputs, *graph.builder.tensors.values())}
    for node in postorder(graph.roots):
        assert node.axes <= set(graph.axes), f"{spell(node)} has axes outside {graph.axes}"
        if node.kind == "Input" and node.tensor not in graph.numbers:
            tensor = declared[node.tensor]
            assert node.component < len(tensor.labels) and node.axes == set(tensor.axes), spell(node)
        if node.kind in ("Add", "Mul"):
            assert node.args and (node.kind == "Add" or len(node.args) > 1), spell(node)
        if node.is_reduction or node.kind == "Dot":
            assert all(set(node.over) <= a.axes for a in node.args), spell(node)
        if node.kind == "Dot":
            assert len({(a.axes, b.axes) for a, b in node.pairs}) == 1, spell(node)
    for output in graph.outputs:
        assert len(output.fields) == len(output.tensor.labels), output.tensor.name
        assert all(f.axes <= set(output.tensor.axes) for f in output.fields), output.tensor.name
