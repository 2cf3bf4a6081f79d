"""Calls in a body: the arguments that were written, checked against the parameters of an operation.

In: a row of `ops.py` and the syntax trees of a call's arguments. Out: one argument for each parameter, in their order,
as the row's lowering takes them. Mistakes are KgenErrors; those without a place belong to the call as a whole.
"""

import ast
from collections.abc import Callable, Sequence

from kgen.errors import Follows, KgenError
from kgen.graph.node import Node
from kgen.spec.body import place
from kgen.spec.model import COMPONENT_AXES
from kgen.spec.synonyms import nearest
from kgen.spec.tensor_types import check_axis
from kgen.spec.vocabulary import VOCABULARY, Parameter
from kgen.trace import values as kinds
from kgen.trace.ops import OPERATIONS, Operation
from kgen.trace.values import Context, Multivector, Value
from kgen.wording import counted

Evaluate = Callable[[ast.expr], Value]
BY_NAME = ("axis", "other", "axes", "made", "word")  # parameters that are given by keyword only


def bind(
    context: Context,
    row: Operation,
    positional: Sequence[ast.expr],
    keywords: dict[str, ast.expr],
    evaluate: Evaluate,
) -> list[object]:
    """The arguments in the order of the parameters; axes and words are given by keyword only."""
    bound: list[object] = []
    rest = list(positional)
    for parameter in row.parameters:
        if parameter.type == "grades":
            bound += [_grade(context, node) for node in rest]
            rest = []
        elif parameter.type == "values":
            bound.append(tuple(_argument(context, row, parameter, node, evaluate) for node in rest))
            rest = []
        elif rest and parameter.type not in BY_NAME:
            bound.append(_argument(context, row, parameter, rest.pop(0), evaluate))
        elif parameter.name in keywords:
            written = keywords.pop(parameter.name)
            if parameter.type in ("axes", "made"):
                bound.append(_axes(context, row, written) if parameter.type == "axes" else _made(context, row, written))
            elif parameter.type in ("axis", "other"):
                bound.append(_axis(context, row, written, bound if parameter.type == "axis" else None))
            else:
                bound.append(_argument(context, row, parameter, written, evaluate))
        elif parameter.default:
            bound.append(_default(context, parameter))
        else:
            raise KgenError(f"{row.name} needs its argument {parameter.name}", hint=str(row))
    _refuse_rest(row, positional, rest, keywords, bound)
    return bound


def checked(context: Context, operation: str, parameter: Parameter, value: Value) -> Value:
    """The value, when it has the parameter's type."""
    match parameter.type:
        case "multivector":
            fits = isinstance(value, Multivector)
        case "weights":
            fits = isinstance(value, kinds.Weights)
        case "index":
            fits = isinstance(value, kinds.Index)
        case "value" | "values":
            fits = isinstance(value, Node | Multivector)
        case _:
            fits = isinstance(value, Node) and (parameter.type != "number" or not value.axes)
    if fits:
        return context.arithmetic(value) if isinstance(value, Node) and parameter.type != "condition" else value
    article = "an" if parameter.type == "index" else "a"
    message = f"{operation} needs {article} {parameter.type} as {parameter.name}, not {kind(value)}"
    raise KgenError(message, hint=_conversion(context, operation, parameter.type, value))


def _conversion(context: Context, operation: str, wanted: str, value: Value) -> str | None:
    """How a value of the wrong type may become one of the right type."""
    if isinstance(value, Multivector) and wanted == "field":
        whole = VOCABULARY[operation].pointwise
        return f"pointwise({operation}, x) acts on each component" if whole else "x.e is the scalar component"
    if wanted == "index":
        return "an index is an input of integers, declared as index(v)[e]"
    if isinstance(value, Node) and wanted == "multivector" and context.spec.algebra:
        return "a field s as a multivector is s * e"
    return None


def _refuse_rest(
    row: Operation,
    positional: Sequence[ast.expr],
    rest: list[ast.expr],
    keywords: dict[str, ast.expr],
    bound: list[object],
) -> None:
    if keywords:
        raise KgenError(f"{row.name} has no argument {min(keywords)}", hint=str(row))
    if rest:
        needed = ", which is given by name" if row.parameters[-1].type in BY_NAME else ""
        raise KgenError(f"{row.name} does not take {counted(len(positional), 'argument')}{needed}", hint=str(row))
    if row.parameters[-1].type == "grades" and len(bound) < 2:
        raise KgenError(f"{row.name} needs a grade", hint=str(row))


def _argument(context: Context, row: Operation, parameter: Parameter, node: ast.expr, evaluate: Evaluate) -> object:
    if parameter.type == "word":
        return _word(context, parameter, node)
    if parameter.type == "function":
        return _function(context, row, node)
    value = evaluate(node)
    try:
        return checked(context, row.name, parameter, value)
    except KgenError as error:
        raise KgenError(error.message, place(context.kernel, node), error.hint) from None


def _axis(context: Context, row: Operation, node: ast.expr, before: Sequence[object] | None) -> str:
    """The name of an axis, which the arguments before it have, if they are given."""
    mark, every = place(context.kernel, node), f"the axes are {' '.join(context.axes)}"
    if not isinstance(node, ast.Name):
        raise KgenError(f"{row.name} needs the name of an axis", mark, every)
    if node.id not in context.axes:
        if not context.whole:
            raise Follows
        raise KgenError(f"there is no axis {node.id}", mark, nearest(node.id, context.axes) or every)
    if before is None or any(x is context.builder.zero for x in before):  # zero is constant along every axis
        return node.id
    present = frozenset[str]().union(*(x.axes for x in before if isinstance(x, Node | Multivector)))
    if node.id not in present:
        have = " ".join(axis for axis in context.axes if axis in present) or "none"
        raise KgenError(f"{row.name} over {node.id}, which the value lacks", mark, f"its axes: {have}")
    return node.id


def _axes(context: Context, row: Operation, node: ast.expr) -> tuple[str, ...]:
    """The names of one axis or of several."""
    return tuple(_axis(context, row, each, None) for each in (node.elts if isinstance(node, ast.Tuple) else [node]))


def _made(context: Context, row: Operation, node: ast.expr) -> str:
    """The name of an axis that the call makes, which inputs may have, too."""
    mark = place(context.kernel, node)
    if not isinstance(node, ast.Name):
        raise KgenError(f"{row.name} needs a name for its axis", mark, "as in to=k")
    if node.id in COMPONENT_AXES:
        raise KgenError(f"`{node.id}` is not an axis to write here", mark)
    check_axis(node.id)
    return node.id


def _word(context: Context, parameter: Parameter, node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and node.value in parameter.choices:
        return str(node.value)
    choices = " or ".join(f'"{word}"' for word in parameter.choices)
    raise KgenError(f"{parameter.name} is {choices}", place(context.kernel, node))


def _function(context: Context, row: Operation, node: ast.expr) -> Callable[..., Value]:
    if isinstance(node, ast.Name) and node.id in OPERATIONS and VOCABULARY[node.id].pointwise:
        return OPERATIONS[node.id].lower
    hint = "one of " + " ".join(name for name, word in VOCABULARY.items() if word.pointwise)
    raise KgenError(f"{row.name} needs a field function of one argument", place(context.kernel, node), hint)


def _grade(context: Context, node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise KgenError("a grade is a whole number", place(context.kernel, node), "as in x.grade(1)")


def _default(context: Context, parameter: Parameter) -> object:
    return parameter.default if parameter.type == "word" else context.builder.const(float(parameter.default))


def kind(value: Value) -> str:
    """What a value is, in words."""
    match value:
        case Node():
            return "a field" if value.axes else "a number"
        case Multivector():
            return "a multivector"
        case kinds.Weights():
            return f"the weights {value.name}"
        case kinds.Indexed():
            return f"the indexed tensor {value.name}" if value.name else "a tensor of components"
        case kinds.Index():
            return f"the integer tensor {value.name}"
        case bool():
            return "a bool option"
    return "a word"
