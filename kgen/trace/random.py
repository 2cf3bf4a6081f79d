"""How random numbers become fields: the lowering of dropout, which a row of `ops.py` names.

In: a `values.Context` and the checked arguments of a call. Out: a value whose components are multiplied by draws.
"""

from kgen.errors import KgenError
from kgen.graph.node import Node
from kgen.graph.variables import GRADES
from kgen.trace.values import Context, Operand, Seed, Value


def dropout(c: Context, x: Operand, p: Node, seed: Seed, each: str) -> Value:
    """Components that are kept together have one number: of an element all, else those of a grade."""
    b, axes = c.builder, [axis for axis in c.axes if axis in x.axes]
    if not axes:
        raise KgenError("dropout of a value without axes", hint="what has none is kept or dropped as a whole")
    if p is b.zero:
        return x
    scale = b.reciprocal(b.sub(b.one, p))

    def kept(field: Node, part: int, name: str) -> Node:
        return b.mul(field, b.name(b.mul(b.draw(seed.field, p, seed.number, part, axes), scale), f"kept{name}"))

    if isinstance(x, Node):
        return kept(x, 0, f"_{c.label}" * bool(c.label))
    parts = {i: c.grade(i) if each == "grade" else 0 for i in x.blades}
    names = {g: f"_{GRADES[g]}" if each == "grade" else "" for g in parts.values()}
    return c.multivector({i: kept(f, parts[i], names[parts[i]]) for i, f in x.items()})
