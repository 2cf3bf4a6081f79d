"""Integers in a body: what is compared, and the sums and products of it.

In: values of which some are integers, and what a body does with them. Out: conditions and integers. Guaranteed: real
numbers and integers never meet, for there is no conversion of one into the other; a mistake is a KgenError, and
`expressions.py` adds the place.
"""

import ast
from collections.abc import Callable

from kgen.errors import KgenError
from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.trace.calls import kind
from kgen.trace.values import Context, Index, Integer, Value

BESIDE = "integers are compared with integers: where(condition, a, b) chooses between fields"
OPERATORS: dict[str, Callable[[Builder, Node, Node], Node]] = {
    "Add": lambda b, x, y: b.add(x, y),
    "Sub": lambda b, x, y: b.sub(x, y),
    "Mult": lambda b, x, y: b.mul(x, y),
}


def among(*values: Value) -> bool:
    """Whether one of the values is of integers, and all are to be."""
    return any(isinstance(value, Integer | Index) for value in values)


def compare(context: Context, function: str, a: Value, b: Value) -> Node:
    """A condition."""
    return context.builder.call(function, _field("compared", a, b), _field("compared", b, a))


def arithmetic(context: Context, operator: ast.operator, a: Value, b: Value) -> Integer:
    """a + b, a - b or a * b."""
    made = OPERATORS.get(type(operator).__name__)
    if made is None:
        raise KgenError("integers have + - * and comparisons", hint=BESIDE)
    return Integer(made(context.builder, _field("combined", a, b), _field("combined", b, a)))


def negative(context: Context, operator: ast.unaryop, a: Integer | Index) -> Integer:
    """-a or +a."""
    if isinstance(operator, ast.Invert):
        raise KgenError("integers have + - * and comparisons", hint=BESIDE)
    return Integer(context.builder.neg(a.field) if isinstance(operator, ast.USub) else a.field)


def _field(done: str, value: Value, other: Value) -> Node:
    """A side: integers, or a whole number as it is written."""
    if isinstance(value, Integer | Index):
        return value.field
    if isinstance(value, Node) and value.kind == "Const" and isinstance(value.value, int):
        return value
    written = f"the number {float(value.value):g}" if isinstance(value, Node) and value.kind == "Const" else kind(value)
    raise KgenError(f"{kind(other)} cannot be {done} with {written}", hint=BESIDE)
