"""The values of a body: multivectors, weights and indexed tensors as tuples of fields, and their arithmetic.

In: fields (`Node`) and the term tables of `algebra.py`. Out: fields, built by `Builder`. A multivector has whole
grades with at least one component that is not identically zero; blades are indices into `Algebra.blades`, ascending.
Errors have no place yet: `expressions.py` adds the expression they belong to.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kgen.errors import KgenError, Vanishes
from kgen.graph.arithmetic import axes_of, is_condition
from kgen.graph.builder import Builder
from kgen.graph.node import Node, Number
from kgen.graph.tensor import Lookup
from kgen.graph.zeros import Zeros
from kgen.spec.model import Algebra, Kernel, Layout, Spec
from kgen.trace import algebra as tables


@dataclass(frozen=True, slots=True)
class Multivector:
    """One field for each blade."""

    blades: tuple[int, ...]
    fields: tuple[Node, ...]

    @property
    def axes(self) -> frozenset[str]:
        return axes_of(self.fields)

    def items(self) -> Iterable[tuple[int, Node]]:
        return zip(self.blades, self.fields)


@dataclass(frozen=True, slots=True)
class Weights:
    """One field for each product path of the `operands`, as the type has them."""

    name: str
    paths: tuple[tables.Path, ...]
    fields: tuple[Node, ...]
    operands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indexed:
    """Fields that are told apart by whole numbers, such as w[3], a tensor indexed by grade, or `components`."""

    name: str
    extents: tuple[int, ...]
    fields: tuple[Node, ...]

    @property
    def axes(self) -> frozenset[str]:
        return axes_of(self.fields)


@dataclass(frozen=True, slots=True)
class Integer:
    """A field of integers, which are compared with others; they take no part in the arithmetic of real numbers."""

    field: Node

    @property
    def axes(self) -> frozenset[str]:
        return self.field.axes


@dataclass(frozen=True, slots=True)
class Index:
    """A tensor of integers, positions along an axis; as integers they are its field."""

    name: str
    lookup: Lookup
    field: Node


@dataclass(frozen=True, slots=True)
class Seed:
    """The number from which random ones are made, as a draw reads it; `number` is which one in the body."""

    name: str
    field: Node
    number: int = 0


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a name stands for whose definition is a mistake."""


Value = Node | Multivector | Weights | Indexed | Integer | Index | Seed | bool | str
Operand = Node | Multivector
Named = Value | Unknown  # what a name may stand for


@dataclass
class Context:
    """What lowering needs: the builder, the kernel's algebra and axes, and how the call at hand was written."""

    spec: Spec
    kernel: Kernel
    axes: tuple[str, ...]  # of the kernel, outermost first
    builder: Builder = field(default_factory=Builder)
    label: str = (
        ""  # the name of the multivector that an operation acts on, when it is written as a name or a grade of one
    )
    zeros: Zeros = field(init=False)

    def __post_init__(self) -> None:
        self.zeros = Zeros(self.axes)
        self.builder.long = self.axes[0] if self.kernel.dense and self.axes else ""

    @property
    def algebra(self) -> Algebra:
        if self.spec.algebra is None:
            raise KgenError("a multivector needs an algebra", hint="add `algebra:` with a signature to the spec")
        return self.spec.algebra

    @property
    def layout(self) -> Layout:
        return self.spec.layout

    @property
    def whole(self) -> bool:
        """Whether the types of all inputs are known, and with them all axes."""
        return all(argument.type for argument in self.kernel.inputs)

    def alike(self, axis: str, other: str) -> None:
        """Note that two axes are of one extent; the outer one stands for both in what users see."""
        first, second = sorted((axis, other), key=self.axes.index)
        if (first, second) not in self.builder.alike:
            self.builder.alike.append((first, second))

    # multivectors

    def multivector(self, components: Mapping[int, Node]) -> Multivector:
        """The multivector with these components; grades that are identically zero are dropped."""
        zero = self.builder.zero
        components = {i: zero if self.zeros.vanishes(f) else f for i, f in components.items()}
        present = {self.grade(i) for i, f in components.items() if f is not zero}
        if not present:
            raise Vanishes
        blades = tables.blades_of(self.algebra, present)
        return Multivector(blades, tuple(components.get(i, zero) for i in blades))

    def grade(self, blade: int) -> int:
        return self.algebra.blades[blade].grade

    def grades(self, x: Multivector) -> tuple[int, ...]:
        return tuple(sorted({self.grade(i) for i in x.blades}))

    def part(self, x: Multivector, grades: Iterable[int]) -> Multivector:
        """The grades of x, all of which it must have."""
        wanted = set(grades)
        missing = sorted(wanted - set(self.grades(x)))
        if missing:
            have = ", ".join(map(str, self.grades(x)))
            raise KgenError(f"the multivector has no grade {missing[0]}", hint=f"its grades are {have}")
        return self.multivector({i: f for i, f in x.items() if self.grade(i) in wanted})

    def component(self, x: Multivector, blade: int) -> Node | None:
        return dict(x.items()).get(blade)

    def scalar_blade(self) -> int:
        return tables.blades_of(self.algebra, (0,))[0]

    # arithmetic

    def each(self, function: Callable[[Node], Node], x: Operand) -> Operand:
        """A function of fields, on a field or on each component."""
        if isinstance(x, Node):
            return function(x)
        return self.multivector({i: function(f) for i, f in x.items()})

    def combine(self, terms: Iterable[tuple[Number | int, Operand]]) -> Operand:
        """The sum of c * x; beside multivectors a field counts as a scalar."""
        parts = list(terms)
        if all(isinstance(x, Node) for _, x in parts):
            return self.builder.linear((c, x) for c, x in parts if isinstance(x, Node))
        total: dict[int, list[tuple[Number | int, Node]]] = {}
        for c, x in parts:
            for blade, f in self.as_multivector(x).items():
                total.setdefault(blade, []).append((c, f))
        return self.multivector({blade: self.builder.linear(fs) for blade, fs in total.items()})

    def arithmetic(self, x: Node) -> Node:
        """The field as numbers: a condition is 1 or 0."""
        return self.builder.call("where", x, self.builder.one, self.builder.zero) if is_condition(x) else x

    def as_multivector(self, x: Operand) -> Multivector:
        return Multivector((self.scalar_blade(),), (x,)) if isinstance(x, Node) else x

    def times(self, a: Operand, b: Operand) -> Operand:
        """The pointwise product with a field, or the geometric product of multivectors."""
        if isinstance(a, Multivector) and isinstance(b, Multivector):
            return self.product("geometric", a, b)
        gate, x = (a, b) if isinstance(a, Node) else (b, a)
        if isinstance(x, Multivector) and isinstance(gate, Node) and self.label:
            self.builder.name(gate, f"gate_{self.label}")
        assert isinstance(gate, Node)
        return self.each(lambda f: self.builder.mul(gate, f), x)

    def product(self, kind: str, a: Multivector, b: Multivector) -> Multivector:
        """One of algebra.PRODUCTS."""
        left, right = dict(a.items()), dict(b.items())
        sums: dict[int, list[tuple[int, Node]]] = {}
        for term in tables.product(self.algebra, kind, a.blades, b.blades):
            factors = self.builder.mul(left[term.left], right[term.right])
            sums.setdefault(term.out, []).append((term.sign, factors))
        return self.multivector({blade: self.builder.linear(terms) for blade, terms in sums.items()})

    def image(self, kind: str, x: Multivector) -> Multivector:
        """One of algebra.MAPS."""
        source = dict(x.items())
        terms = tables.image(self.algebra, kind, x.blades)
        return self.multivector({t.out: self.builder.scale(t.sign, source[t.source]) for t in terms})
