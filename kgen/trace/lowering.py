"""How operations become fields: the lowerings that the rows of `ops.py` name.

In: a `values.Context` and the checked arguments of a call. Out: a value made with the term tables of `algebra.py`. What
cannot be computed is a KgenError without a place; the caller knows where the call is written.
"""

from collections.abc import Callable

from kgen.errors import KgenError
from kgen.graph.node import Node
from kgen.graph.variables import GRADES
from kgen.trace import algebra as tables
from kgen.trace.values import Context, Multivector, Operand, Value, Weights
from kgen.wording import counted

# products


def product(kind: str, c: Context, x: Multivector, y: Multivector) -> Value:
    return c.product(kind, x, y)


def scalar_product(c: Context, x: Multivector, y: Multivector) -> Value:
    """A field, which is zero where no two blades have a scalar as their product, as null ones have not."""
    left, right = dict(x.items()), dict(y.items())
    terms = tables.product(c.algebra, "scalar", x.blades, y.blades)
    return c.builder.linear((t.sign, c.builder.mul(left[t.left], right[t.right])) for t in terms)


def norm_squared(c: Context, x: Multivector) -> Value:
    return scalar_product(c, x, c.image("reverse", x))


def sandwich(c: Context, r: Multivector, x: Multivector) -> Value:
    """r x ~r as a matrix of r's products applied to x, or as two products where that takes fewer operations."""
    if len({g % 2 for g in c.grades(r)}) > 1:
        raise KgenError("r >> x needs an even or an odd r", hint="select a parity: even(r) or odd(r)")
    terms = tables.sandwich(c.algebra, r.blades, x.blades)
    # An r with fewer axes than x makes its matrix once for many x.
    if r.axes >= x.axes and _steps_cost(c, r, x, terms) < _matrix_cost(terms):
        return _sandwich_in_steps(c, r, x)
    pairs, source = dict(r.items()), dict(x.items())
    entries: dict[tuple[int, int], list[tuple[int, Node]]] = {}
    for t in terms:
        entry = (t.coefficient, c.builder.mul(pairs[t.first], pairs[t.second]))
        entries.setdefault((t.out, t.source), []).append(entry)
    sums: dict[int, list[tuple[int, Node]]] = {}
    for (out, column), products in entries.items():
        sums.setdefault(out, []).append((1, c.builder.mul(c.builder.linear(products), source[column])))
    return c.multivector({out: c.builder.linear(products) for out, products in sums.items()})


def _matrix_cost(terms: tuple[tables.Conjugation, ...]) -> int:
    """Multiplications and additions: r's products, the entries' sums, the matrix times x."""
    pairs = {(t.first, t.second) for t in terms}
    entries = {(t.out, t.source) for t in terms}
    return len(pairs) + len(terms) + len(entries) - len({t.out for t in terms})


def _steps_cost(c: Context, r: Multivector, x: Multivector, terms: tuple[tables.Conjugation, ...]) -> int:
    first = tables.product(c.algebra, "geometric", r.blades, x.blades)
    middle, wanted = {t.out for t in first}, {t.out for t in terms}
    second = [t for t in tables.product(c.algebra, "geometric", middle, r.blades) if t.out in wanted]
    return 2 * (len(first) + len(second)) - len(middle) - len(wanted)


def _sandwich_in_steps(c: Context, r: Multivector, x: Multivector) -> Multivector:
    middle = c.image("involute", x) if c.grades(r)[0] % 2 else x
    return c.product("geometric", c.product("geometric", r, middle), c.image("reverse", r))


def sgp(c: Context, x: Multivector, y: Multivector, weight: Weights) -> Value:
    _check_paths(c, weight, x, y)
    at, left, right = dict(zip(weight.paths, weight.fields)), dict(x.items()), dict(y.items())
    sums: dict[int, list[tuple[int, Node]]] = {}
    for t in tables.product(c.algebra, "geometric", x.blades, y.blades):
        w = at[c.grade(t.left), c.grade(t.out), c.grade(t.right)]
        sums.setdefault(t.out, []).append((t.sign, c.builder.mul(w, left[t.left], right[t.right])))
    return c.multivector({blade: c.builder.linear(terms) for blade, terms in sums.items()})


def fcgp(c: Context, x: Multivector, y: Multivector, weight: Weights) -> Value:
    """Terms with one weight are added before they are multiplied by it: one factor for each path and blade."""
    over = _contracted(c, weight, x.axes | y.axes)
    _check_paths(c, weight, x, y)
    at, left, right = dict(zip(weight.paths, weight.fields)), dict(x.items()), dict(y.items())
    factors: dict[tuple[int, Node], list[tuple[int, Node]]] = {}
    for t in tables.product(c.algebra, "geometric", x.blades, y.blades):
        w = at[c.grade(t.left), c.grade(t.out), c.grade(t.right)]
        factors.setdefault((t.out, w), []).append((t.sign, c.builder.mul(left[t.left], right[t.right])))
    sums: dict[int, list[tuple[int, Node]]] = {}
    for (out, w), terms in factors.items():
        path = "".join(map(str, weight.paths[weight.fields.index(w)]))
        factor = c.builder.name(c.builder.linear(terms), f"xy_{path}_{c.algebra.blades[out].name}")
        sums.setdefault(out, []).append((1, c.builder.mul(factor, w)))
    return c.multivector({out: c.builder.sum(c.builder.linear(terms), (over,)) for out, terms in sums.items()})


def mv_linear(c: Context, x: Multivector, weight: Weights, bias: Operand) -> Value:
    over = _contracted(c, weight, x.axes)
    _check_paths(c, weight, x)
    at = dict(zip(weight.paths, weight.fields))
    fields = {i: c.builder.sum(c.builder.mul(at[(c.grade(i),)], f), (over,)) for i, f in x.items()}
    return c.combine([(1, c.multivector(fields)), *([(1, bias)] if bias is not c.builder.zero else [])])


def _contracted(c: Context, weight: Weights, present: frozenset[str]) -> str:
    """The axis of the weights that their operands have; the result has their other one in its place."""
    own = weight.fields[0].axes
    shared = [axis for axis in c.axes if axis in own & present]
    if len(own) == 2 and len(shared) == 1:
        return shared[0]
    has, theirs = (" ".join(a for a in c.axes if a in axes) or "none" for axes in (own, present))
    if len(own) != 2:
        needed = "needs two: one axis of the operands, and one of the result"
        raise KgenError(f"{weight.name} has the axes {has}, but {needed}", hint="as in weights(x, y)[n, m]")
    if shared:
        raise KgenError(
            f"{shared[-1]} is both contracted and kept: {weight.name} and its operands have {has}",
            hint=f"the operands have one axis of {weight.name}",
        )
    raise KgenError(
        f"{weight.name} has the axes {has}, and its operands neither of them",
        hint=f"the axes of the operands are {theirs}: one of them is contracted",
    )


def _check_paths(c: Context, weight: Weights, *operands: Multivector) -> None:
    """Refuse operands with a path that the weight lacks; those that they lack are not read."""
    sides = [c.grades(x) for x in operands]
    declared = f"{weight.name} is declared as weights({', '.join(weight.operands)})"
    if len(sides) != len(weight.operands):
        has, needed = counted(len(weight.operands), "operand"), str(len(sides))
        raise KgenError(f"{weight.name} is of {has}, but the operation has {needed}", hint=declared)
    missing = [path for path in tables.paths_of(c.algebra, sides, c.layout.path_order) if path not in weight.paths]
    if missing:
        some = ["".join(map(str, path)) for path in missing[:6]] + ["…"] * (len(missing) > 6)
        which = f"{'paths' if len(missing) > 1 else 'path'} {' '.join(some)}"
        theirs = ", ".join(f"grades({', '.join(map(str, grades))})" for grades in sides)
        raise KgenError(f"{weight.name} lacks the {which} of its operands", hint=f"{declared}; they have {theirs}")


# involutions, dualities, grades


def image(kind: str, c: Context, x: Multivector) -> Value:
    return c.image(kind, x)


def grade(c: Context, x: Multivector, *grades: int) -> Value:
    return c.part(x, grades)


def parity(odd: int, c: Context, x: Multivector) -> Value:
    grades = [g for g in c.grades(x) if g % 2 == odd]
    if not grades:
        raise KgenError(f"the multivector has no {'odd' if odd else 'even'} grade")
    return c.part(x, grades)


# gates and norms


def gate(name: str, function: str, c: Context, x: Operand) -> Value:
    """x times a function of itself, or of its scalar component."""
    scalar = x if isinstance(x, Node) else c.component(x, c.scalar_blade())
    if scalar is None:
        message = f"{name} of a multivector needs its scalar component"
        raise KgenError(message, hint=f"{name}(x) is x times a function of x.e")
    return c.times(x, c.builder.call(function, scalar))


def grade_rms_norm(c: Context, x: Multivector, eps: Node, metric: str) -> Value:
    axis = _feature_axis(c, x)
    scaled: dict[int, Node] = {}
    for grade in c.grades(x):
        part, name = c.part(x, (grade,)), GRADES[grade]
        total = c.builder.name(c.builder.sum(_squares(c, part, metric), (axis,)), f"square_sum_{name}")
        mean = c.builder.mul(total, c.builder.reciprocal(c.builder.size(axis)))
        scale = c.builder.name(c.builder.call("rsqrt", c.builder.add(mean, eps)), f"inv_rms_{name}")
        scaled |= {blade: c.builder.mul(f, scale) for blade, f in part.items()}
    return c.multivector(scaled)


def _squares(c: Context, part: Multivector, metric: str) -> Node:
    """The plain sum of squares of one grade, or |<x ~x>_0|, whose sign is known when the metric is definite there."""
    fields = dict(part.items())
    if metric == "euclidean":
        return c.builder.add(*(c.builder.mul(f, f) for f in fields.values()))
    reverse = {t.source: t.sign for t in tables.image(c.algebra, "reverse", part.blades)}
    signs = {t.left: t.sign * reverse[t.right] for t in tables.product(c.algebra, "scalar", part.blades, part.blades)}
    total = c.builder.linear((s, c.builder.mul(fields[i], fields[i])) for i, s in signs.items())
    if len(set(signs.values())) < 2:
        return c.builder.scale(min(signs.values(), default=1), total)
    return c.builder.call("abs", total)


def _feature_axis(c: Context, x: Multivector) -> str:
    """The last axis of x, the kernel's outer axes aside: a norm over a batch is a mistake."""
    outer = {"b" if axis == "..." else axis for axis in c.kernel.memory if axis != "blade"}
    inner = [axis for axis in c.kernel.memory if axis != "blade"][-1:]
    features = [axis for axis in c.axes if axis in x.axes and (axis in inner or axis not in outer)]
    if not features:
        raise KgenError("the norm is a mean over features, which this multivector lacks")
    return features[-1]


# reductions and field functions


def sum(c: Context, x: Operand, over: str) -> Value:
    return c.each(lambda f: c.builder.sum(f, (over,)), x)


def mean(c: Context, x: Operand, over: str) -> Value:
    share = c.builder.reciprocal(c.builder.size(over))
    return c.each(lambda f: c.builder.mul(c.builder.sum(f, (over,)), share), x)


def max(c: Context, x: Operand, over: str) -> Value:
    return c.each(lambda f: c.builder.max(f, (over,)), x)


def dot(c: Context, a: Operand, b: Operand, over: str) -> Value:
    if isinstance(a, Multivector):
        a, b = b, a
    if isinstance(a, Multivector):
        raise KgenError("dot of two multivectors", hint="sum(x * y, over=n), or sum(scalar_product(x, y), over=n)")
    weight = a
    return c.each(lambda f: c.builder.sum(c.builder.mul(weight, f), (over,)), b)


def call(name: str, c: Context, *fields: Node) -> Value:
    return c.builder.call(name, *fields)


def where(c: Context, condition: Node, a: Node, b: Node) -> Value:
    return c.builder.call("where", condition, a, b)


def relu(c: Context, x: Node) -> Value:
    """x, and 0 where x <= 0: as in torch.relu the derivative at 0 is 0, and NaN stays."""
    return c.builder.call("where", c.builder.call("le", x, c.builder.zero), c.builder.zero, x)


def pointwise(c: Context, function: Callable[[Context, Node], Node], x: Operand) -> Value:
    return c.each(lambda f: function(c, f), x)


def detach(c: Context, x: Operand) -> Value:
    return c.each(lambda f: c.builder.call("detach", f), x)
