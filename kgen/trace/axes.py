"""How operations on axes become fields: other names, places, indices, and values side by side.

In: a `values.Context` and the checked arguments of a call. Out: a value, made by the builder. What cannot be computed
is a KgenError without a place; the caller knows where the call is written.
"""

from kgen.errors import KgenError
from kgen.graph.node import Node
from kgen.trace.values import Context, Index, Indexed, Integer, Operand, Value
from kgen.wording import counted

# axes


def rename(c: Context, x: Operand | Integer, axis: str, to: str) -> Value:
    if to in x.axes:
        raise KgenError(
            f"the value has an axis {to} already", hint=f"its axes: {' '.join(a for a in c.axes if a in x.axes)}"
        )
    if {axis, to} & _leading(c):
        raise KgenError("leading axes `...` have no other name")
    c.alike(axis, to)
    names = {axis: to, to: axis}
    if isinstance(x, Integer):
        return Integer(c.builder.rename([x.field], names)[0])
    return c.each(lambda f: c.builder.rename([f], names)[0], x)


def extent(c: Context, axis: str) -> Value:
    if axis in _leading(c):
        raise KgenError("the extent of leading axes `...`, of which there is any number", hint="that of a named axis")
    return c.builder.size(axis)


# integers and indices


def iota(c: Context, axis: str) -> Value:
    """Leading axes are counted by nobody: callers may add some."""
    if axis in _leading(c):
        raise KgenError("iota along leading axes `...`, of which there is any number", hint="along a named axis")
    return Integer(c.builder.iota(axis))


def _leading(c: Context) -> set[str]:
    """The axis that flattens leading ones, if there is one."""
    return {t.axes[0] for t in c.builder.tensors.values() if t.leading}


def gather(c: Context, x: Operand | Integer, index: Index) -> Value:
    _check_lookup("gather", index, index.lookup.into, index.lookup.along, x)
    if isinstance(x, Integer):
        if x.field.kind != "Input":
            raise KgenError("gather reads integers that are an input", hint="gather first, then compare or add")
        return Integer(c.builder.gather(x.field, index.lookup))
    return c.each(lambda f: c.builder.gather(f, index.lookup), x)


def segment_sum(c: Context, x: Operand, index: Index) -> Value:
    _check_lookup("segment_sum", index, index.lookup.along, index.lookup.into, x)
    if isinstance(x, Node):
        return c.builder.segments([x], index.lookup)[0]
    return c.multivector(dict(zip(x.blades, c.builder.segments(x.fields, index.lookup))))


def _check_lookup(name: str, index: Index, here: str, there: str, x: Operand | Integer) -> None:
    """Refuse a value without the axis that the index takes, or with the one that it gives."""
    declared = f"{index.name} is declared as index({index.lookup.into})[{index.lookup.along}]"
    if here not in x.axes:
        raise KgenError(f"{name} by {index.name} along {here}, which the value lacks", hint=declared)
    if there in x.axes:
        raise KgenError(f"{name} by {index.name} makes an axis {there}, which the value has already", hint=declared)


def cat(c: Context, parts: tuple[Operand, ...], axes: tuple[str, ...], to: str) -> Value:
    """Component by component: what a part lacks of the blades that others have is zero there."""
    along = axes * len(parts) if len(axes) == 1 else axes
    if len(along) != len(parts) or len(parts) < 2:
        joined = counted(len(parts), "value")
        raise KgenError(
            f"cat of {joined} along {counted(len(axes), 'axis', 'axes')}", hint="one axis, or one for each value"
        )
    if to in along:
        raise KgenError(
            f"cat makes an axis of its own, and {to} is that of a value", hint="give it another name, as in to=k"
        )
    if _leading(c) & {*along, to}:
        raise KgenError("leading axes `...` are not joined")
    for number, (part, axis) in enumerate(zip(parts, along), 1):
        if part.axes and axis not in part.axes:
            have = " ".join(a for a in c.axes if a in part.axes)
            raise KgenError(
                f"value {number} of cat lacks the axis {axis}", hint=f"its axes: {have}; axis=(n, m) names them in turn"
            )
    if all(isinstance(part, Node) for part in parts):
        return c.builder.cat([part for part in parts if isinstance(part, Node)], along, to)
    components = [dict(c.as_multivector(part).items()) for part in parts]
    blades = sorted({blade for found in components for blade in found})
    zero = c.builder.zero
    return c.multivector({i: c.builder.cat([found.get(i, zero) for found in components], along, to) for i in blades})


# tensors without an algebra


def components(c: Context, parts: tuple[Operand, ...]) -> Value:
    """Those of multivectors in the order of their blades, as many as there are."""
    fields = [f for part in parts for f in ([part] if isinstance(part, Node) else part.fields)]
    if not fields:
        raise KgenError("components of nothing", hint="as in components(x, s)")
    return Indexed("", (len(fields),), tuple(fields))
