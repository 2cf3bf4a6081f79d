"""What the reference computes with: values that carry their torch text and a static type.

In: a kernel's axes and algebra, and texts of tensors. Out: `Value`s, made by `Values`. Every tensor has all axes of the
kernel in one order (of extent one where it lacks an axis) and its components last, so operations broadcast by axis name
without aligning anything. The static type is the kind, the axes, the grades, and one probe (see `probe`) per component,
which decides which grades are identically zero. Guaranteed: what the reference cannot do is a KgenError, never a wrong
result. Nothing here is shared with the compiler.
"""

from dataclasses import dataclass, field, replace

from kgen.errors import KgenError, Vanishes
from kgen.reference import probe as probes
from kgen.reference.probe import Probe
from kgen.reference.tables import _ref_paths, _ref_select
from kgen.spec.model import Algebra

# how tightly a text's operator binds
TERNARY, OR, AND, NOT, COMPARE, BITS, SUM, PRODUCT, UNARY, POWER, ATOM = range(11)

Grades = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """The torch text of a value and what is known of it.

    Kinds: multivector, field, condition (a field of truth values), integer (a field of integers), number (of Python),
    weights, indexed, index, seed, flag.
    """

    kind: str
    text: str
    level: int = ATOM
    axes: frozenset[str] = frozenset()
    grades: Grades = ()  # multivector
    probes: tuple[Probe, ...] = ()  # one per component, in storage order
    operands: tuple[Grades, ...] = ()  # weights: the grades of the operands whose paths they are
    extents: tuple[int, ...] = ()  # indexed
    into: str = ""  # index: the axis that its numbers are positions along
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
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)  # axes that are others one after the other
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

    def paths(self, operands: tuple[Grades, ...]) -> tuple[tuple[int, ...], ...]:
        """The paths of weights: (left, out, right) grades, or (grade,) of a single operand."""
        if len(operands) == 1:
            return tuple((grade,) for grade in operands[0])
        return _ref_paths(operands[0], operands[1], self.path_order, self.squares, self.blades)

    # values

    def number(self, value: int | float) -> Value:
        """A literal."""
        return Value("number", repr(value), probes=(probes.constant(value),))

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
        kept = {mask.bit_count() for mask, probe in found.items() if probe}
        if not kept:
            raise Vanishes
        zero = probes.constant(0)
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
        found, zero = self.components(x), probes.constant(0)
        text = f"_ref_regrade({x.text}, {self.spelled(grades)}{self.has(x)})"
        return self.multivector(text, x.axes, {mask: found.get(mask, zero) for mask in self.masks(grades)})

    def spread(self, x: Value, axes: frozenset[str]) -> Value:
        """x along more axes; the sizes are names that the function defines."""
        x = self.tensor(x)
        if axes == x.axes:
            return x
        sizes = [self.sizes[axis] if axis in axes else "1" for axis in self.axes]
        dims = sizes + ["-1"] * (len(x.extents) or x.kind in ("multivector", "weights"))
        return replace(x, text=f"{x.at(ATOM)}.expand({', '.join(dims)})", level=ATOM, axes=axes)

    def spelled(self, grades: Grades) -> str:
        return "None" if grades == self.all_grades else repr(grades)

    def has(self, x: Value, keyword: str = "") -> str:
        """The argument that names the grades of x, where they are not all."""
        return "" if x.grades == self.all_grades else f", {keyword}{x.grades!r}"

    # what bodies ask for

    def operand(self, x: Value) -> Value:
        """A value that takes part in arithmetic; a condition is one or zero there."""
        if x.kind == "condition":
            return self.field(f"{x.at(ATOM)}.to({self.like()}.dtype)", x.axes, x.probes[0])
        if x.kind not in ("multivector", "field", "number"):
            raise KgenError(f"{x.kind} takes no part in arithmetic")
        return x

    def scalar(self, x: Value) -> Value:
        """An operand that is a field or a number."""
        x = self.operand(x)
        if x.kind == "multivector":
            raise KgenError("a field is needed here, not a multivector")
        return x


def needs(value: Value, kind: str) -> Value:
    if value.kind != kind:
        raise KgenError(f"{kind} is needed here, not {value.kind}")
    return value
