"""The reference's geometric operations on values: their torch text, and the grades that can be other than zero.

Every sign is one of `tables`, at run time in the text and here on probes (see `values`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.probe import Probe
from kgen.reference.tables import _ref_complement, _ref_norm_sign, _ref_paths, _ref_product_rows
from kgen.reference.values import ATOM, Grades, Value, Values

INVOLUTIONS = {"reverse": (2, 3), "involute": (1, 3), "conjugate": (1, 2)}  # grades mod 4 that change sign


@dataclass
class Geometry(Values):
    """Geometric operations of one kernel."""

    # products

    def terms(self, kind: str, x: dict[int, Probe], y: dict[int, Probe]) -> list[tuple[int, int, int, Probe]]:
        """(left grade, mask, right grade, probe) of the terms of a product."""
        left, right = _grades_of(x), _grades_of(y)
        a, b = self.masks(left), self.masks(right)
        rows = _ref_product_rows(kind, left, right, self.squares, self.blades)
        sign_of = dict(self.blades)
        return [
            (
                a[i].bit_count(),
                mask,
                b[j].bit_count(),
                tuple(sign * sign_of[mask] * s * t % probes.PRIME for s, t in zip(x[a[i]], y[b[j]])),
            )
            for i, j, mask, sign in rows
        ]

    def gather(self, terms: Iterable[tuple[int, Probe]]) -> dict[int, Probe]:
        """The sums of terms of the same mask."""
        total: dict[int, Probe] = {}
        for mask, probe in terms:
            total[mask] = probes.add(total[mask], probe) if mask in total else probe
        return total

    def product(self, kind: str, x: Value, y: Value, out: Grades | None = None) -> Value:
        found = self.gather((mask, p) for _, mask, _, p in self.terms(kind, self.components(x), self.components(y)))
        result = self.nonzero({mask: p for mask, p in found.items() if out is None or mask.bit_count() in out})
        axes = x.axes | y.axes
        grades = self._operand_grades(x, y, _grades_of(result))
        return self.multivector(f'_ref_product("{kind}", {x.text}, {y.text}{grades})', axes, result)

    def _operand_grades(self, x: Value, y: Value, out: Grades) -> str:
        last = "" if out == self.all_grades else f", out={out!r}"
        return self.has(x, "left=") + self.has(y, "right=") + last

    def regressive(self, x: Value, y: Value) -> Value:
        return self.complement("undual", self.product("outer", self.complement("dual", x), self.complement("dual", y)))

    def sandwich(self, r: Value, x: Value) -> Value:
        if len({grade % 2 for grade in r.grades}) > 1:
            raise KgenError("r >> x needs an even or an odd r")
        middle = self.involution("involute", x) if r.grades[0] % 2 else x
        terms = self.terms("geometric", self.components(r), self.components(middle))
        first = self.gather((mask, probe) for _, mask, _, probe in terms)
        zero = probes.constant(0, len(self.axes))
        first = {mask: first.get(mask, zero) for mask in self.masks(_grades_of(first))}
        reverse = self.components(self.involution("reverse", r))
        result = self.nonzero(self.gather((m, p) for _, m, _, p in self.terms("geometric", first, reverse)))
        grades = self._operand_grades(r, x, _grades_of(result))
        return self.multivector(f"_ref_sandwich({r.text}, {x.text}{grades})", r.axes | x.axes, result)

    def weighted(self, x: Value, y: Value, weight: Value, over: str | None = None) -> Value:
        """The product with a weight per path, summed along the axis `over` if there is one."""
        found = self.gather(
            (mask, probes.multiply(probe, self._weight(weight, (left, mask.bit_count(), right))))
            for left, mask, right, probe in self.terms("geometric", self.components(x), self.components(y))
        )
        result = self.nonzero(found if over is None else self._summed(found, over))
        grades = self._operand_grades(x, y, _grades_of(result))
        operands = ", ".join(self.spelled(g) for g in weight.operands)
        paths = "" if all(g == self.all_grades for g in weight.operands) else f", paths=({operands})"
        axes = x.axes | y.axes | weight.axes
        if over is None:
            text = f'_ref_product("geometric", {x.text}, {y.text}{grades}, weight={weight.text}{paths})'
            return self.multivector(text, axes, result)
        text = f"_ref_fcgp({x.text}, {y.text}, {weight.text}, {self.axes.index(over)}{grades}{paths})"
        return self.multivector(text, axes - {over}, result)

    def connected(self, x: Value, y: Value, weight: Value) -> Value:
        """The fully connected product."""
        return self.weighted(x, y, weight, over=_contracted(x.axes | y.axes, weight))

    def linear(self, x: Value, weight: Value, bias: Value | None) -> Value:
        """A weight per grade from each feature to each, and a bias."""
        over = _contracted(x.axes, weight)
        if bias is not None and over in bias.axes:
            raise KgenError(f"the bias varies along {over}, over which the terms are summed")
        found = {m: probes.multiply(p, self._weight(weight, (m.bit_count(),))) for m, p in self.components(x).items()}
        more = self.has(x, "grades=")
        more += "" if weight.operands == (self.all_grades,) else f", weighted={weight.operands[0]!r}"
        text = f"_ref_mv_linear({x.text}, {weight.text}, {self.axes.index(over)}{more})"
        result = self.multivector(text, (x.axes | weight.axes) - {over}, self._summed(found, over))
        return result if bias is None else self.sum(result, bias, 1)

    def _weight(self, weight: Value, path: tuple[int, ...]) -> Probe:
        paths = self.paths(weight.operands)
        if path not in paths:
            raise KgenError(f"{weight.text} has no path {list(path)}")
        return weight.probes[paths.index(path)]

    def _summed(self, found: dict[int, Probe], axis: str) -> dict[int, Probe]:
        return {mask: probes.reduce("sum", probe, [self.axes.index(axis)]) for mask, probe in found.items()}

    # involutions, dualities, grades

    def involution(self, kind: str, x: Value) -> Value:
        zero = probes.constant(0, len(self.axes))
        flip = INVOLUTIONS[kind]
        found = {m: probes.add(zero, p, -1 if m.bit_count() % 4 in flip else 1) for m, p in self.components(x).items()}
        return self.multivector(f"_ref_{kind}({x.text}{self.has(x)})", x.axes, found)

    def complement(self, kind: str, x: Value) -> Value:
        if kind == "polarity" and 0 in self.squares:
            raise KgenError("polarity needs an invertible pseudoscalar")
        rows = _ref_complement(kind, x.grades, self.squares, self.blades)
        present = tuple(sorted(len(self.squares) - grade for grade in x.grades))
        zero = probes.constant(0, len(self.axes))
        found = {m: probes.add(zero, x.probes[i], sign) for m, (i, sign) in zip(self.masks(present), rows, strict=True)}
        return self.multivector(f'_ref_complemented("{kind}", {x.text}{self.has(x)})', x.axes, found)

    def part(self, x: Value, grades: Sequence[int]) -> Value:
        if not grades or not set(grades) <= set(x.grades):
            raise KgenError(f"the multivector has no such grade: it has {list(x.grades)}")
        part = self.regraded(x, tuple(sorted(set(grades))))
        if not any(map(any, part.probes)):
            raise KgenError("the result is identically zero")
        return part

    # gates and norms

    def gate(self, name: str, x: Value) -> Value:
        """x times a function of itself, or of its scalar component: `_ref_<name>` of `runtime`."""
        if x.kind != "multivector":
            return self.function(name, x)
        if 0 not in x.grades:
            raise KgenError(f"{name} of a multivector needs its scalar component")
        scalar = self.masks(x.grades).index(0)
        gate = probes.opaque(name, x.probes[scalar])
        text = f"_ref_{name}({x.text}, scalar={scalar})" if scalar else f"_ref_{name}({x.text})"
        return replace(x, text=text, level=ATOM, probes=tuple(probes.multiply(p, gate) for p in x.probes), view=False)

    def norm_squared(self, x: Value) -> Value:
        total = probes.constant(0, len(self.axes))
        for mask, probe in self.components(x).items():
            total = probes.add(total, probes.multiply(probe, probe), _ref_norm_sign(mask, self.squares))
        return self.field(f"_ref_norm_squared({x.text}{self.has(x)})", x.axes, total)

    def grade_rms_norm(self, x: Value, eps: Value, axis: str, invariant: bool) -> Value:
        dim, found = self.axes.index(axis), self.components(x)
        scales = {}
        for grade in x.grades:
            total = probes.constant(0, len(self.axes))
            for mask in self.masks((grade,)):
                sign = _ref_norm_sign(mask, self.squares) if invariant else 1
                total = probes.add(total, probes.multiply(found[mask], found[mask]), sign)
            scales[grade] = probes.opaque("norm", probes.reduce("mean", total, [dim]), eps.probes[0])
        scaled = {mask: probes.multiply(probe, scales[mask.bit_count()]) for mask, probe in found.items()}
        more = self.has(x, "grades=") + (", invariant=True" if invariant else "")
        text = f"_ref_grade_rms_norm({x.text}, {eps.beside(True)}, {dim}{more})"
        return self.multivector(text, x.axes | eps.axes, scaled)

    def paths(self, operands: tuple[Grades, ...]) -> tuple[tuple[int, ...], ...]:
        """The paths of weights: (left, out, right) grades, or (grade,) of a single operand."""
        if len(operands) == 1:
            return tuple((grade,) for grade in operands[0])
        return _ref_paths(operands[0], operands[1], self.path_order, self.squares, self.blades)


def _contracted(axes: frozenset[str], weight: Value) -> str:
    """The one axis of a fully connected weight that its operands have; its others are those of the result."""
    shared = sorted(weight.axes & axes)
    if len(shared) != 1:
        raise KgenError(f"{weight.text} shares {' and '.join(shared) or 'no axis'} with its operands, not one axis")
    if weight.axes == set(shared):
        raise KgenError(f"{weight.text} has no axis beside {shared[0]} for the result")
    return shared[0]


def _grades_of(components: Iterable[int]) -> Grades:
    return tuple(sorted({mask.bit_count() for mask in components}))
