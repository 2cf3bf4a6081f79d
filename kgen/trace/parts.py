"""The parts of an expression that have values of their own: what is looked at beside a mistake.

In: a syntax tree that `spec/body.py` has let pass, and what of it was looked at. Out: the parts that were not.
"""

import ast
from collections.abc import Collection

from kgen.spec.terms import terms_of
from kgen.spec.vocabulary import VOCABULARY


def within(node: ast.expr, met: Collection[ast.expr]) -> list[ast.expr]:
    """What within an expression has a value of its own, and was not looked at yet; in calls also names of axes."""
    match node:
        case ast.Call():
            found = _written_values(node)
        case ast.IfExp(body=body, orelse=otherwise):  # of which one was chosen, unless the condition is a mistake
            found = [] if body in met or otherwise in met else [body, otherwise]
        case ast.BinOp(left=left, op=ast.Pow()):
            found = [left]
        case ast.BinOp() | ast.UnaryOp() | ast.Compare() | ast.BoolOp() | ast.Attribute():
            found = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        case _:
            found = []
    return [part for part in found if part not in met]


def _written_values(node: ast.Call) -> list[ast.expr]:
    """The arguments of a call that are values, as far as its operation says: not axes, words and numbers of grades.

    The terms of a sum have values only where they are written out.
    """
    if terms_of(node) is not None:
        return []
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    types = {p.name: p.type for p in VOCABULARY[name].parameters} if name in VOCABULARY else {}
    before = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    positional = [] if "grades" in types.values() else node.args
    named = [k.value for k in node.keywords if types.get(k.arg or "") in ("field", "value", "number", "condition")]
    return [*before, *positional, *named]
