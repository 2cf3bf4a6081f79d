"""`and`, `or` and `not` in a body: of options, which choose a variant, and of conditions, which are fields.

In: the values of the parts, and their places. Out: a truth value, or a condition. A mistake is a KgenError.
"""

import ast
from collections.abc import Sequence

from kgen.errors import KgenError, Mark
from kgen.graph.arithmetic import is_condition
from kgen.graph.node import Node
from kgen.trace.values import Context, Value

BETWEEN = "between fields, write where(condition, a, b)"


Part = tuple[Value, Mark]


def negated(context: Context, value: Value, mark: Mark) -> Value:
    """Not the part."""
    if isinstance(value, Node) and is_condition(value):
        return context.builder.call("not", value)
    return not flag(value, mark)


def combined(context: Context, operator: ast.boolop, parts: Sequence[Part]) -> Value:
    """All of the parts, or any."""
    every = isinstance(operator, ast.And)
    if not any(isinstance(value, Node) and is_condition(value) for value, _ in parts):
        chosen = [flag(value, mark) for value, mark in parts]
        return all(chosen) if every else any(chosen)
    return context.builder.call("and" if every else "or", *(_condition(value, mark) for value, mark in parts))


def flag(value: Value, mark: Mark) -> bool:
    """The truth value of an option."""
    if not isinstance(value, bool):
        raise KgenError("a condition of `if` is a bool option", mark, BETWEEN)
    return value


def _condition(value: Value, mark: Mark) -> Node:
    if isinstance(value, Node) and is_condition(value):
        return value
    hint = "an option chooses, as in `a if flag else b`; of a field s, `s != 0` is a condition"
    raise KgenError("beside a condition `and` and `or` take conditions", mark, hint)
