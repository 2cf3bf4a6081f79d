"""What the reference computes with: values that carry their torch text and a static type, and the operations on them.

Every tensor has all axes of the kernel in one order (of extent one where it lacks an axis) and its components last, so
operations broadcast by axis name without aligning anything. The static type is the kind, the axes, the grades, and one
probe (see `probe`) per component, which decides which grades are identically zero. Guaranteed: what the
reference cannot do is a KgenError, never a wrong result. Nothing here is shared with the compiler.
"""

from dataclasses import dataclass, field, replace

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.probe import Probe
from kgen.reference.tables import _ref_select
from kgen.spec.model import Algebra
from kgen.spec.vocabulary import VOCABULARY

TERNARY, OR, AND, NOT, COMPARE, SUM, PRODUCT, UNARY, POWER, ATOM = range(10)  # how tightly a text's operator binds

Grades = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """The torch text of a value and what is known of it.

    Kinds: multivector, field, condition (a field of truth values), number (of Python), weights, indexed, index, flag.
    """

    kind: str
    text: str
    level: int = ATOM
    axes: frozenset[str] = frozenset()
    grades: Grades = ()  # multivector
    probes: tuple[Probe, ...] = ()  # one per component, in storage order
    operands: tuple[Grades, ...] = ()  # weights: the grades of the operands whose paths they are
    extents: tuple[int, ...] = ()  # indexed
    view: bool = False  # may share memory with an input

    def at(self, level: int) -> str:
        """The text, in parentheses where it binds less tightly than `level`."""
        return self.text if self.level >= level else f"({self.text})"

    def beside(self, components: bool) -> str:
        """The text as an atom that broadcasts against tensors with components last."""
        return f"{self.at(ATOM)}[..., None]" if components and self.kind == "field" else self.at(ATOM)


@dataclass
class Values:
    """Makes the values of one kernel, and keeps the names known so far."""

    algebra: Algebra | None
    path_order: tuple[str, ...]
    axes: tuple[str, ...]  # all axes of the kernel, in the order of every tensor's dims
    sizes: dict[str, str]  # the name of each axis's extent in the text
    known: dict[str, Value] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)  # axes by the outer ones of the same extent

    @property
    def squares(self) -> tuple[int, ...]:
        if self.algebra is None:
            raise KgenError("multivectors need an algebra")
        return self.algebra.squares

    @property
    def blades(self) -> tuple[tuple[int, int], ...]:
        if self.algebra is None:
            raise KgenError("multivectors need an algebra")
        return tuple((blade.mask, blade.sign) for blade in self.algebra.blades)

    @property
    def all_grades(self) -> Grades:
        return tuple(range(len(self.squares) + 1))

    def masks(self, grades: Grades | None) -> list[int]:
        """The masks of the blades of these grades, in storage order."""
        return [mask for mask, _ in _ref_select(grades, self.blades)]

    # values

    def number(self, value: int | float) -> Value:
        """A literal."""
        return Value("number", repr(value), probes=(probes.constant(value, len(self.axes)),))

    def multivector(
        self, text: str, axes: frozenset[str], components: dict[int, Probe], level: int = ATOM, view: bool = False
    ) -> Value:
        """A multivector with these components (mask: probe), which are those of whole grades, in storage order."""
        grades = tuple(sorted({mask.bit_count() for mask in components}))
        found = tuple(components[mask] for mask in self.masks(grades))
        return Value("multivector", text, level, axes, grades, found, view=view)

    def components(self, x: Value) -> dict[int, Probe]:
        """The probe of each component of a multivector, by mask."""
        return dict(zip(self.masks(x.grades), x.probes, strict=True))

    def nonzero(self, found: dict[int, Probe]) -> dict[int, Probe]:
        """The components of the grades that are not identically zero."""
        kept = {mask.bit_count() for mask, probe in found.items() if any(probe)}
        if not kept:
            raise KgenError("the result is identically zero")
        zero = probes.constant(0, len(self.axes))
        return {mask: found.get(mask, zero) for mask in self.masks(tuple(kept))}

    def field(self, text: str, axes: frozenset[str], probe: Probe, level: int = ATOM, view: bool = False) -> Value:
        return Value("field", text, level, axes, probes=(probe,), view=view)

    def like(self) -> str:
        """The name of a tensor, for its device and dtype."""
        for value in self.known.values():
            if value.kind in ("multivector", "field", "weights", "indexed"):
                return value.text
        raise KgenError("the reference needs an input that is a floating tensor")

    def tensor(self, x: Value) -> Value:
        """A number as a field."""
        return self.field(f"{self.like()}.new_tensor({x.text})", x.axes, x.probes[0]) if x.kind == "number" else x

    def lifted(self, x: Value) -> Value:
        """A field or number as a multivector of grade 0."""
        if x.kind == "multivector":
            return x
        return self.multivector(self.tensor(x).beside(True), x.axes, {0: x.probes[0]}, view=x.view)

    def regraded(self, x: Value, grades: Grades) -> Value:
        """x on other grades: it loses those that are not among them, and has zero in those that it lacks."""
        if grades == x.grades:
            return x
        found, zero = self.components(x), probes.constant(0, len(self.axes))
        text = f"_ref_regrade({x.text}, {self.spelled(grades)}{self.has(x)})"
        return self.multivector(text, x.axes, {mask: found.get(mask, zero) for mask in self.masks(grades)})

    def spread(self, x: Value, axes: frozenset[str]) -> Value:
        """x along more axes; the sizes are names that the function defines."""
        x = self.tensor(x)
        if axes == x.axes:
            return x
        sizes = [self.sizes[axis] if axis in axes else "1" for axis in self.axes]
        dims = sizes + ["-1"] * (x.kind in ("multivector", "weights"))
        return replace(x, text=f"{x.at(ATOM)}.expand({', '.join(dims)})", level=ATOM, axes=axes)

    def spelled(self, grades: Grades) -> str:
        return "None" if grades == self.all_grades else repr(grades)

    def has(self, x: Value, keyword: str = "") -> str:
        """The argument that names the grades of x, where they are not all."""
        return "" if x.grades == self.all_grades else f", {keyword}{x.grades!r}"

    # arithmetic

    def negated(self, x: Value) -> Value:
        zero = probes.constant(0, len(self.axes))
        changed = tuple(probes.add(zero, probe, -1) for probe in x.probes)
        return replace(x, text=f"-{x.at(UNARY)}", level=UNARY, probes=changed, view=False)

    def power(self, x: Value, exponent: int) -> Value:
        if x.kind == "multivector":
            raise KgenError("`**` of a multivector")
        probe = probes.constant(1, len(self.axes))
        for _ in range(abs(exponent)):
            probe = probes.multiply(probe, x.probes[0])
        if exponent < 0:
            probe = probes.divide(probes.constant(1, len(self.axes)), probe)
        base = x.at(ATOM)
        operator = "**" if base.replace(".", "").replace("_", "").isalnum() else " ** "
        return replace(x, text=f"{base}{operator}{exponent}", level=POWER, probes=(probe,), view=False)

    def compare(self, operator: str, a: Value, b: Value) -> Value:
        a = self.tensor(a) if b.kind == "number" else a
        probe = probes.opaque(operator, a.probes[0], b.probes[0])
        text = f"{a.at(COMPARE + 1)} {operator} {b.at(COMPARE + 1)}"
        return Value("condition", text, COMPARE, a.axes | b.axes, probes=(probe,))

    def sum(self, a: Value, b: Value, sign: int) -> Value:
        if "multivector" in (a.kind, b.kind):
            a, b = self.lifted(a), self.lifted(b)
            grades = tuple(sorted({*a.grades, *b.grades}))
            a, b = self.regraded(a, grades), self.regraded(b, grades)
        text = f"{a.at(SUM)} {'+' if sign > 0 else '-'} {b.at(SUM if sign > 0 else PRODUCT)}"
        total = tuple(probes.add(x, y, sign) for x, y in zip(a.probes, b.probes, strict=True))
        if a.kind == "multivector":
            whole = self.multivector(text, a.axes | b.axes, dict(zip(self.masks(a.grades), total)), SUM)
            return self.regraded(whole, self.multivector("", frozenset(), self.nonzero(self.components(whole))).grades)
        return Value(_wider(a, b), text, SUM, a.axes | b.axes, probes=total)

    def scaled(self, a: Value, b: Value, operator: str = "*") -> Value:
        """a * b or a / b, where at most one is a multivector; for a quotient b's probe is that of its reciprocal."""
        whole, factor = (b, a) if b.kind == "multivector" else (a, b)
        components = whole.kind == "multivector"
        beside = components and factor.kind == "field"
        texts = [x.beside(True) if beside and x is factor else x.at(lv) for x, lv in ((a, PRODUCT), (b, UNARY))]
        found = tuple(probes.multiply(probe, factor.probes[0]) for probe in whole.probes)
        if components and not any(map(any, found)):
            raise KgenError("the result is identically zero")
        kind = "multivector" if components else _wider(a, b)
        return Value(kind, f" {operator} ".join(texts), PRODUCT, a.axes | b.axes, whole.grades, found)

    # functions and reductions

    def function(self, name: str, *fields: Value) -> Value:
        """A torch function of fields."""
        found = probes.opaque(name, *(x.probes[0] for x in fields))
        text = ", ".join(self.tensor(x).text for x in fields)
        axes = frozenset[str]().union(*(x.axes for x in fields))
        return self.field(f"{VOCABULARY[name].torch}({text})", axes, found)

    def reduction(self, name: str, x: Value, axis: str) -> Value:
        if axis not in x.axes:
            raise KgenError(f"{name} over {axis}, which the value lacks")
        dim = self.axes.index(axis)
        found = tuple(probes.reduce(name, probe, [dim]) for probe in x.probes)
        text = f"{x.at(ATOM)}.{'amax' if name == 'max' else name}({dim}, keepdim=True)"
        return replace(x, text=text, level=ATOM, axes=x.axes - {axis}, probes=found, view=False)

    def renamed(self, x: Value, axis: str, to: str) -> Value:
        """x along another axis of the same extent."""
        if axis not in x.axes or to in x.axes:
            raise KgenError(f"{axis} cannot be called {to} here")
        i, j = sorted((self.axes.index(axis), self.axes.index(to)))
        first, second = sorted((self.alike.get(self.axes[n], self.axes[n]) for n in (i, j)), key=self.axes.index)
        self.alike |= {a: first for a in self.axes if first != second == self.alike.get(a, a)}
        found = tuple(probes.exchange(probe, i, j) for probe in x.probes)
        text = f"{x.at(ATOM)}.transpose({i}, {j})"
        return replace(x, text=text, level=ATOM, axes=x.axes - {axis} | {to}, probes=found)

    def dot(self, a: Value, b: Value, axis: str) -> Value:
        product = self.scaled(a, b)
        if not a.axes or not b.axes:
            return self.reduction("sum", product, axis)
        if axis not in product.axes:
            raise KgenError(f"dot over {axis}, which the values lack")
        dim = self.axes.index(axis)
        found = probes.reduce("sum", product.probes[0], [dim])
        return self.field(f"_ref_contract({a.text}, {b.text}, {dim})", product.axes - {axis}, found)

    # choices

    def choice(self, flag: Value, a: Value, b: Value) -> Value:
        """a if flag else b: the union of both types, decided at run time."""
        if a.kind == b.kind == "flag":
            return Value("flag", f"{a.at(OR)} if {flag.at(OR)} else {b.at(TERNARY)}", TERNARY)
        if a.kind == b.kind == "condition" or a.kind == b.kind == "weights" and a.operands == b.operands:
            wide = a
        elif "multivector" in (a.kind, b.kind):
            a, b = self.lifted(a), self.lifted(b)
            grades = tuple(sorted({*a.grades, *b.grades}))
            wide = a = self.regraded(a, grades)
            b = self.regraded(b, grades)
        elif {a.kind, b.kind} <= {"field", "number"}:
            a, b = (a, b) if a.kind == b.kind else (self.tensor(a), self.tensor(b))
            wide = a
        else:
            raise KgenError(f"`if` cannot choose between {a.kind} and {b.kind}")
        axes = a.axes | b.axes
        if a.axes != b.axes:
            a, b = self.spread(a, axes), self.spread(b, axes)
        text = f"{a.at(OR)} if {flag.at(OR)} else {b.at(TERNARY)}"
        # Zero only where both branches are.
        found = tuple(p if p == q else probes.opaque(f"if {flag.text}", p, q) for p, q in zip(a.probes, b.probes))
        return replace(wide, text=text, level=TERNARY, axes=axes, probes=found, view=a.view or b.view)


def needs(value: Value, kind: str) -> Value:
    if value.kind != kind:
        raise KgenError(f"{kind} is needed here, not {value.kind}")
    return value


def _wider(a: Value, b: Value) -> str:
    return "number" if a.kind == b.kind == "number" else "field"
