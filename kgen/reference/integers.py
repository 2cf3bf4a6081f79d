"""Integers in the reference: inputs of integers, places along axes, and what is compared of them.

In: the `Values` of a kernel, and values of integers, or numbers as they are written. Out: values of integers, and
conditions. Guaranteed: integers are int64 and have all axes of the kernel, as tensors of real numbers do; where they
meet these is a KgenError.
"""

import ast
import re
from dataclasses import replace

from kgen.errors import KgenError
from kgen.reference import arithmetic
from kgen.reference import probe as probes
from kgen.reference.values import ATOM, BITS, UNARY, Value, Values

KINDS = ("integer", "index")
SIGNS = {ast.Add: 1, ast.Sub: -1}
JUNCTIONS = {ast.And: (" & ", "and"), ast.Or: (" | ", "or")}


def among(*values: Value) -> bool:
    return any(value.kind in KINDS for value in values)


def whole(v: Values, x: Value) -> Value:
    """Integers with all axes of the kernel; the numbers of an index lie along its own."""
    if x.kind == "index":
        (along,) = x.axes
        shape = "".join(f"[{', '.join(':' if axis == along else 'None' for axis in v.axes)}]")
        return replace(x, kind="integer", text=f"{x.at(ATOM)}.long(){shape}", level=ATOM, into="")
    if x.kind == "integer" or x.kind == "number" and re.fullmatch(r"[0-9 ()+*-]+", x.text):
        return x
    raise KgenError(f"integers are needed here, not a {x.kind}")


def iota(v: Values, axis: str) -> Value:
    """The place along an axis."""
    i = v.axes.index(axis)
    text = f"_ref_iota({v.like()}, {v.sizes[axis]}, {i}, {len(v.axes)})"
    return Value("integer", text, ATOM, frozenset((axis,)), probes=(probes.place(i),))


def compared(v: Values, operator: str, a: Value, b: Value) -> Value:
    return arithmetic.compare(v, operator, whole(v, a), whole(v, b))


def combined(v: Values, operator: ast.operator, a: Value, b: Value) -> Value:
    """a + b, a - b or a * b."""
    a, b = whole(v, a), whole(v, b)
    if isinstance(operator, ast.Mult):
        return replace(arithmetic.scaled(a, b), kind="integer")
    if type(operator) not in SIGNS:
        raise KgenError("integers have + - * and comparisons")
    return replace(arithmetic.added(v, a, b, SIGNS[type(operator)]), kind="integer")


def negated(v: Values, x: Value) -> Value:
    return arithmetic.negated(v, whole(v, x))


# conditions


def junction(operator: ast.boolop, parts: list[Value]) -> Value:
    """All conditions, or any."""
    sign, name = JUNCTIONS[type(operator)]
    if any(part.kind != "condition" for part in parts):
        raise KgenError("conditions are combined with conditions")
    text = sign.join(part.at(BITS + 1) for part in parts)
    axes = frozenset[str]().union(*(part.axes for part in parts))
    return Value("condition", text, BITS, axes, probes=(probes.opaque(name, *(part.probes[0] for part in parts)),))


def opposite(x: Value) -> Value:
    """Where a condition does not hold."""
    return replace(x, text=f"~{x.at(UNARY)}", level=UNARY, probes=(probes.opaque("not", x.probes[0]),))
