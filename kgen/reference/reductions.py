"""What the reference does along an axis: sums, means, maxima and contractions over it, another name
for it, and what an index reads or adds there; values one after the other along one.

In: the `Values` of a kernel, operands among them, and axes by name. Out: values; the tensor of one that lost an axis
keeps it with extent one. Guaranteed: an axis that a value lacks is a KgenError.
"""

from collections.abc import Sequence
from dataclasses import replace

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.arithmetic import scaled
from kgen.reference.values import ATOM, Value, Values


def reduced(v: Values, name: str, x: Value, axis: str) -> Value:
    """The sum, mean or max of each component; that of what is identically zero is zero along every axis."""
    if x.kind == "number" and not x.probes[0]:
        return x
    if axis not in x.axes:
        raise KgenError(f"{name} over {axis}, which the value lacks")
    dim = v.axes.index(axis)
    found = tuple(probes.reduce(name, probe, [dim]) for probe in x.probes)
    text = f"{x.at(ATOM)}.{'amax' if name == 'max' else name}({dim}, keepdim=True)"
    return replace(x, text=text, level=ATOM, axes=x.axes - {axis}, probes=found, view=False)


def renamed(v: Values, x: Value, axis: str, to: str) -> Value:
    """x along another axis of the same extent."""
    if axis not in x.axes or to in x.axes:
        raise KgenError(f"{axis} cannot be called {to} here")
    i, j = sorted((v.axes.index(axis), v.axes.index(to)))
    first, second = sorted((v.alike.get(v.axes[n], v.axes[n]) for n in (i, j)), key=v.axes.index)
    v.alike |= {a: first for a in v.axes if first != second == v.alike.get(a, a)}
    found = tuple(probes.exchange(probe, i, j) for probe in x.probes)
    text = f"{x.at(ATOM)}.transpose({i}, {j})"
    return replace(x, text=text, level=ATOM, axes=x.axes - {axis} | {to}, probes=found)


def extent(v: Values, axis: str) -> Value:
    """How many places an axis has."""
    probe = probes.random("extent", v.axes.index(axis), ())
    return v.field(f"{v.like()}.new_full((), {v.sizes[axis]})", frozenset(), probe)


def gathered(v: Values, x: Value, index: Value) -> Value:
    """x at the positions that an index has, along the index's axis."""
    (along,) = index.axes
    return _looked_up(v, x, index, index.into, along, "gather")


def segment_sum(v: Values, x: Value, index: Value) -> Value:
    """For each position the sum of x where the index has it."""
    (along,) = index.axes
    return _looked_up(v, x, index, along, index.into, "segment_sum")


def _looked_up(v: Values, x: Value, index: Value, source: str, target: str, name: str) -> Value:
    if source not in x.axes or target in x.axes:
        raise KgenError(f"{name} needs a value along {source} that is not along {target}")
    i, j = v.axes.index(source), v.axes.index(target)
    found = tuple(probes.look_up(index.text, probe, i, j) for probe in x.probes)
    size = f", {v.sizes[target]}" if name == "segment_sum" else ""
    text = f"_ref_{name}({x.text}, {index.text}, {i}, {j}{size})"
    return replace(x, text=text, level=ATOM, axes=x.axes - {source} | {target}, probes=found, view=False)


def joined(v: Values, parts: Sequence[Value], axes: Sequence[str], whole: str) -> Value:
    """Values one after the other, each along its own of the axes, together along another."""
    v.joined[whole] = tuple(a for axis in axes for a in v.joined.get(axis, (axis,)))
    if any(x.kind == "multivector" for x in parts):
        lifted = [v.lifted(x) for x in parts]
        grades = tuple(sorted({grade for x in lifted for grade in x.grades}))
        parts = [v.regraded(x, grades) for x in lifted]
    parts = [v.spread(x, x.axes | {axis}) for x, axis in zip(parts, axes)]
    dim, own = v.axes.index(whole), [v.axes.index(axis) for axis in axes]
    found = tuple(probes.join(list(zip(column, own)), dim) for column in zip(*(x.probes for x in parts)))
    along = frozenset[str]().union(*(x.axes - {axis} for x, axis in zip(parts, axes))) | {whole}
    text = f"_ref_cat({dim}, {', '.join(f'({x.text}, {at})' for x, at in zip(parts, own))})"
    return replace(parts[0], text=text, level=ATOM, axes=along, probes=found, view=False)


def dot(v: Values, a: Value, b: Value, axis: str) -> Value:
    """The sum of a b, contracted without its terms in memory."""
    product = scaled(a, b)
    if not a.axes or not b.axes:
        return reduced(v, "sum", product, axis)
    if axis not in product.axes:
        raise KgenError(f"dot over {axis}, which the values lack")
    dim = v.axes.index(axis)
    found = tuple(probes.reduce("sum", probe, [dim]) for probe in product.probes)
    text, axes = f"_ref_contract({a.text}, {b.text}, {dim})", product.axes - {axis}
    return replace(product, text=text, level=ATOM, axes=axes, probes=found, view=False)
