"""Operators of a body that are no operation of the vocabulary: sums, products, quotients, powers, comparisons.

In: the operator as it is written, and its operands' values. Out: a value, made by `values.Context`. Guaranteed: what
has no meaning is a KgenError; `expressions.py` adds the place.
"""

import ast

from kgen.errors import KgenError
from kgen.graph.node import Node
from kgen.graph.variables import GRADES
from kgen.trace.values import Context, Multivector, Operand, Value


def label(node: ast.expr) -> str:
    """The name that an operand is written as, if it is a name, or one of its grades."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="grade"), args=[ast.Constant(value=int(grade))]):
            return f"{name}_{GRADES[grade]}" if grade < len(GRADES) else ""
    return ""


def arithmetic(context: Context, node: ast.BinOp, a: Operand, b: Operand) -> Value:
    """a + b, a - b, a * b or a / b."""
    match node.op:
        case ast.Add():
            return context.combine([(1, a), (1, b)])
        case ast.Sub():
            return context.combine([(1, a), (-1, b)])
        case ast.Mult():
            context.label = label(node.right if isinstance(a, Node) else node.left)
            return context.times(a, b)
    if isinstance(b, Multivector):
        raise KgenError("division by a multivector", hint="multiply by ~b / norm_squared(b) where b is a versor")
    if b is context.builder.zero:
        raise KgenError("division by zero")
    context.label = label(node.left)
    return context.times(a, context.builder.reciprocal(b))


def compare(context: Context, function: str, a: Operand, b: Operand) -> Node:
    """A condition."""
    if not isinstance(a, Node) or not isinstance(b, Node):
        raise KgenError("a comparison is between fields", hint="x.e is the scalar component")
    return context.builder.call(function, a, b)


def power(context: Context, base: Operand, exponent: ast.expr) -> Value:
    """base ** exponent, a whole number as it is written."""
    sign = 1
    if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
        sign, exponent = -1, exponent.operand
    if not isinstance(base, Node):
        raise KgenError("`**` of a multivector", hint="write the product, as in x * x")
    if not isinstance(exponent, ast.Constant) or type(exponent.value) is not int:
        raise KgenError("the exponent of `**` is a whole number", hint="sqrt(x), or exp(p * log(x))")
    if exponent.value > 64:
        raise KgenError("the exponent of `**` is at most 64", hint="exp(p * log(x))")
    if base is context.builder.zero and sign < 0:
        raise KgenError("division by zero")
    return context.builder.power(base, sign * exponent.value)
