"""What a body picks out of a value: a component by its blade, a field by its index.

In: a value, and the name or the whole numbers that are written behind it, as in `x.e12`, `w[3]` or `weight[0, 1, 1]`.
Out: the field. Guaranteed: what the value lacks is a KgenError that says what it has; `expressions.py` adds the place.
"""

import ast
import re

from kgen.errors import KgenError
from kgen.graph.node import Node
from kgen.spec.model import Blade
from kgen.spec.signature import blade
from kgen.trace.calls import kind
from kgen.trace.values import Context, Index, Indexed, Integer, Multivector, Seed, Value, Weights


def component(context: Context, value: Value, name: str) -> tuple[Blade, Node]:
    """A multivector's component by the name of its blade, and the blade."""
    if not isinstance(value, Multivector):
        raise KgenError(f"{kind(value)} has no component {name}")
    present = {context.algebra.blades[i]: field for i, field in value.items()}
    for found, field in present.items():
        if found.name == name:
            return found, field
    grades = ", ".join(map(str, context.grades(value)))
    hint = reordered(context, name) or f"its grades are {grades}"
    raise KgenError(f"the multivector has no component {name}", hint=hint)


def reordered(context: Context, name: str) -> str | None:
    """What a blade is whose indices are in another order than the algebra's, or which the algebra has not."""
    algebra = context.spec.algebra
    if algebra is None or not re.fullmatch(r"e[0-9]+", name) or name in {blade.name for blade in algebra.blades}:
        return None
    try:
        written = blade(name, len(algebra.squares), algebra.first)
    except KgenError as error:
        return error.hint
    known = next(found for found in algebra.blades if found.mask == written.mask)
    return f"{name} is {'-' if written.sign != known.sign else ''}{known.name} in this algebra"


def indices(node: ast.expr) -> tuple[int, ...]:
    """The whole numbers in brackets."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return tuple(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, int))


def item(value: Value, index: tuple[int, ...]) -> Node:
    """The field of weights by its path, or of an indexed tensor by its place."""
    match value:
        case Weights():
            return _weight(value, index)
        case Indexed():
            return _entry(value, index)
    raise KgenError(f"{kind(value)} takes no index")


def indexing(value: Value) -> str | None:
    """A hint how the fields of a value are had that has several, told apart by whole numbers."""
    match value:
        case Indexed(name=""):
            return "of f = components(...) a field is f[0]"
        case Weights(name=name, operands=(_,)) | Indexed(name=name, extents=(_,)):
            return f"{name}[0] is a field; for each grade, sum(x.grade(g) * {name}[g] for g in x.grades)"
        case Weights() | Indexed():
            return "name one of its fields, as in w[3, 0] or weight[0, 1, 1]"
        case Seed(name=name):
            return f"{name} is read by dropout(x, p, {name})"
        case Index(name=name):
            return f"gather(x, {name}) has x where it says, segment_sum(x, {name}) adds there"
        case Integer():
            return "where(condition, a, b) chooses by a comparison of integers"
    return None


def _weight(weights: Weights, path: tuple[int, ...]) -> Node:
    if path in weights.paths:
        return weights.fields[weights.paths.index(path)]
    if len(weights.operands) == len(path) == 1:
        grades = ", ".join(str(grade) for (grade,) in weights.paths)
        raise KgenError(f"{weights.name} has no grade {path[0]}", hint=f"its grades are {grades}")
    known = " ".join("".join(map(str, each)) for each in weights.paths)
    raise KgenError(f"{weights.name} has no path {list(path)}", hint=f"[left, out, right] is one of {known}")


def _entry(tensor: Indexed, index: tuple[int, ...]) -> Node:
    if len(index) != len(tensor.extents) or not all(i < n for i, n in zip(index, tensor.extents)):
        place, extents = f"{tensor.name}{list(index)}", list(tensor.extents)
        raise KgenError(f"{place} is outside of {'its' if tensor.name else 'the'} extents {extents}")
    flat = 0
    for i, extent in zip(index, tensor.extents):
        flat = flat * extent + i
    return tensor.fields[flat]
