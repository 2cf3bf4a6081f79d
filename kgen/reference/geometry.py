"""The reference's geometric operations on values: their torch text, and the grades that can be other than zero.

In: the `Values` of a kernel, and operands among them. Out: values. Guaranteed: every sign is one of `tables`, at run
time in the text and here on probes (see `values`), and what an operation cannot take is a KgenError.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kgen.errors import KgenError, Vanishes
from kgen.reference import probe as probes
from kgen.reference.arithmetic import added, function
from kgen.reference.probe import Probe
from kgen.reference.tables import _ref_complement, _ref_norm_sign, _ref_product_rows
from kgen.reference.values import ATOM, Grades, Value, Values

INVOLUTIONS = {"reverse": (2, 3), "involute": (1, 3), "conjugate": (1, 2)}  # grades mod 4 that change sign


# products


def terms(v: Values, kind: str, x: dict[int, Probe], y: dict[int, Probe]) -> list[tuple[int, int, int, Probe]]:
    """(left grade, mask, right grade, probe) of the terms of a product."""
    left, right = _grades_of(x), _grades_of(y)
    a, b = v.masks(left), v.masks(right)
    rows = _ref_product_rows(kind, left, right, v.squares, v.blades)
    sign_of = dict(v.blades)
    products = [(i, j, mask, probes.multiply(x[a[i]], y[b[j]], sign * sign_of[mask])) for i, j, mask, sign in rows]
    return [(a[i].bit_count(), mask, b[j].bit_count(), probe) for i, j, mask, probe in products]


def gather(terms: Iterable[tuple[int, Probe]]) -> dict[int, Probe]:
    """The sums of terms of the same mask."""
    total: dict[int, Probe] = {}
    for mask, probe in terms:
        total[mask] = probes.add(total[mask], probe) if mask in total else probe
    return total


def product(v: Values, kind: str, x: Value, y: Value, out: Grades | None = None) -> Value:
    found = gather((mask, p) for _, mask, _, p in terms(v, kind, v.components(x), v.components(y)))
    result = v.nonzero({mask: p for mask, p in found.items() if out is None or mask.bit_count() in out})
    axes = x.axes | y.axes
    grades = _operand_grades(v, x, y, _grades_of(result))
    return v.multivector(f'_ref_product("{kind}", {x.text}, {y.text}{grades})', axes, result)


def _operand_grades(v: Values, x: Value, y: Value, out: Grades) -> str:
    last = "" if out == v.all_grades else f", out={out!r}"
    return v.has(x, "left=") + v.has(y, "right=") + last


def regressive(v: Values, x: Value, y: Value) -> Value:
    return complement(v, "undual", product(v, "outer", complement(v, "dual", x), complement(v, "dual", y)))


def sandwich(v: Values, r: Value, x: Value) -> Value:
    if len({grade % 2 for grade in r.grades}) > 1:
        raise KgenError("r >> x needs an even or an odd r")
    middle = involution(v, "involute", x) if r.grades[0] % 2 else x
    once = terms(v, "geometric", v.components(r), v.components(middle))
    first = gather((mask, probe) for _, mask, _, probe in once)
    zero = probes.constant(0)
    first = {mask: first.get(mask, zero) for mask in v.masks(_grades_of(first))}
    reverse = v.components(involution(v, "reverse", r))
    result = v.nonzero(gather((m, p) for _, m, _, p in terms(v, "geometric", first, reverse)))
    grades = _operand_grades(v, r, x, _grades_of(result))
    return v.multivector(f"_ref_sandwich({r.text}, {x.text}{grades})", r.axes | x.axes, result)


def weighted(v: Values, x: Value, y: Value, weight: Value, over: str | None = None) -> Value:
    """The product with a weight per path, summed along the axis `over` if there is one."""
    found = gather(
        (mask, probes.multiply(probe, _weight(v, weight, (left, mask.bit_count(), right))))
        for left, mask, right, probe in terms(v, "geometric", v.components(x), v.components(y))
    )
    result = v.nonzero(found if over is None else _summed(v, found, over))
    grades = _operand_grades(v, x, y, _grades_of(result))
    operands = ", ".join(v.spelled(g) for g in weight.operands)
    paths = "" if all(g == v.all_grades for g in weight.operands) else f", paths=({operands})"
    axes = x.axes | y.axes | weight.axes
    if over is None:
        text = f'_ref_product("geometric", {x.text}, {y.text}{grades}, weight={weight.text}{paths})'
        return v.multivector(text, axes, result)
    text = f"_ref_fcgp({x.text}, {y.text}, {weight.text}, {v.axes.index(over)}{grades}{paths})"
    return v.multivector(text, axes - {over}, result)


def connected(v: Values, x: Value, y: Value, weight: Value) -> Value:
    """The fully connected product."""
    return weighted(v, x, y, weight, over=_contracted(x.axes | y.axes, weight))


def linear(v: Values, x: Value, weight: Value, bias: Value | None) -> Value:
    """A weight per grade from each feature to each, and a bias."""
    over = _contracted(x.axes, weight)
    if bias is not None and over in bias.axes:
        raise KgenError(f"the bias varies along {over}, over which the terms are summed")
    found = {m: probes.multiply(p, _weight(v, weight, (m.bit_count(),))) for m, p in v.components(x).items()}
    more = v.has(x, "grades=")
    more += "" if weight.operands == (v.all_grades,) else f", weighted={weight.operands[0]!r}"
    text = f"_ref_mv_linear({x.text}, {weight.text}, {v.axes.index(over)}{more})"
    result = v.multivector(text, (x.axes | weight.axes) - {over}, _summed(v, found, over))
    return result if bias is None else added(v, result, bias, 1)


def _weight(v: Values, weight: Value, path: tuple[int, ...]) -> Probe:
    paths = v.paths(weight.operands)
    if path not in paths:
        raise KgenError(f"{weight.text} has no path {list(path)}")
    return weight.probes[paths.index(path)]


def _summed(v: Values, found: dict[int, Probe], axis: str) -> dict[int, Probe]:
    return {mask: probes.reduce("sum", probe, [v.axes.index(axis)]) for mask, probe in found.items()}


# involutions, dualities, grades


def involution(v: Values, kind: str, x: Value) -> Value:
    zero = probes.constant(0)
    flip = INVOLUTIONS[kind]
    found = {m: probes.add(zero, p, -1 if m.bit_count() % 4 in flip else 1) for m, p in v.components(x).items()}
    return v.multivector(f"_ref_{kind}({x.text}{v.has(x)})", x.axes, found)


def complement(v: Values, kind: str, x: Value) -> Value:
    if kind == "polarity" and 0 in v.squares:
        raise KgenError("polarity needs an invertible pseudoscalar")
    rows = _ref_complement(kind, x.grades, v.squares, v.blades)
    present = tuple(sorted(len(v.squares) - grade for grade in x.grades))
    zero = probes.constant(0)
    found = {m: probes.add(zero, x.probes[i], sign) for m, (i, sign) in zip(v.masks(present), rows, strict=True)}
    return v.multivector(f'_ref_complemented("{kind}", {x.text}{v.has(x)})', x.axes, found)


def part(v: Values, x: Value, grades: Sequence[int]) -> Value:
    if not grades or not set(grades) <= set(x.grades):
        raise KgenError(f"the multivector has no such grade: it has {list(x.grades)}")
    part = v.regraded(x, tuple(sorted(set(grades))))
    if not any(part.probes):
        raise Vanishes
    return part


# gates and norms


def gate(v: Values, name: str, x: Value) -> Value:
    """x times a function of itself, or of its scalar component: `_ref_<name>` of `runtime`."""
    if x.kind != "multivector":
        return function(v, name, x)
    if 0 not in x.grades:
        raise KgenError(f"{name} of a multivector needs its scalar component")
    scalar = v.masks(x.grades).index(0)
    gate = probes.opaque(name, x.probes[scalar])
    text = f"_ref_{name}({x.text}, scalar={scalar})" if scalar else f"_ref_{name}({x.text})"
    return replace(x, text=text, level=ATOM, probes=tuple(probes.multiply(p, gate) for p in x.probes), view=False)


def scalar_product(v: Values, x: Value, y: Value) -> Value:
    """<x y>_0, which is the number zero where no blades have a scalar as their product."""
    found = terms(v, "geometric", v.components(x), v.components(y))
    if not any(gather((mask, p) for _, mask, _, p in found if mask == 0).values()):
        return v.number(0)
    scalar = product(v, "geometric", x, y, out=(0,))
    return v.field(f"{scalar.text}[..., 0]", scalar.axes, scalar.probes[0])


def norm_squared(v: Values, x: Value) -> Value:
    """<x ~x>_0, which is the number zero where all blades of x are null."""
    total = probes.constant(0)
    for mask, probe in v.components(x).items():
        total = probes.add(total, probes.multiply(probe, probe), _ref_norm_sign(mask, v.squares))
    return v.field(f"_ref_norm_squared({x.text}{v.has(x)})", x.axes, total) if total else v.number(0)


def grade_rms_norm(v: Values, x: Value, eps: Value, axis: str, invariant: bool) -> Value:
    dim, found = v.axes.index(axis), v.components(x)
    scales = {}
    for grade in x.grades:
        total = probes.constant(0)
        for mask in v.masks((grade,)):
            sign = _ref_norm_sign(mask, v.squares) if invariant else 1
            total = probes.add(total, probes.multiply(found[mask], found[mask]), sign)
        scales[grade] = probes.opaque("norm", probes.reduce("mean", total, [dim]), eps.probes[0])
    scaled = {mask: probes.multiply(probe, scales[mask.bit_count()]) for mask, probe in found.items()}
    more = v.has(x, "grades=") + (", invariant=True" if invariant else "")
    text = f"_ref_grade_rms_norm({x.text}, {eps.beside(True)}, {dim}{more})"
    return v.multivector(text, x.axes | eps.axes, scaled)


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
