"""Calls in a body: the arguments that were written, checked against the parameters of an operation.

In: a row of `ops.py` and the syntax trees of a call's arguments. Out: one argument for each parameter, in their order,
as the row's lowering takes them. Mistakes are KgenErrors; those without a place belong to the call as a whole.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace

from kgen.errors import Follows, KgenError
from kgen.graph.node import Node
from kgen.spec import draws
from kgen.spec.body import examined, place
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
RANGE = "p is at least 0 and below 1"
NUMBERS = ("number", "probability")  # fields without axes


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
        case "seed":
            fits = isinstance(value, kinds.Seed)
        case "value" | "values":
            fits = isinstance(value, Node | Multivector)
        case "any":
            value = kinds.Integer(value.field) if isinstance(value, kinds.Index) else value
            fits = isinstance(value, Node | Multivector | kinds.Integer)
        case _:
            fits = isinstance(value, Node) and (parameter.type not in NUMBERS or not value.axes)
    if fits:
        return context.arithmetic(value) if isinstance(value, Node) and parameter.type != "condition" else value
    article = "an" if parameter.type == "index" else "a"
    wanted = "value" if parameter.type == "any" else parameter.type
    message = f"{operation} needs {article} {wanted} as {parameter.name}, not {kind(value)}"
    raise KgenError(message, hint=_conversion(context, operation, parameter.type, value))


def _conversion(context: Context, operation: str, wanted: str, value: Value) -> str | None:
    """How a value of the wrong type may become one of the right type."""
    if isinstance(value, Multivector) and wanted == "field":
        whole = VOCABULARY[operation].pointwise
        return f"pointwise({operation}, x) acts on each component" if whole else "x.e is the scalar component"
    if wanted == "index":
        return "an index is an input of integers, declared as index(v)[e]"
    if wanted == "seed":
        return "a seed is an input, declared as seed: seed"
    if isinstance(value, kinds.Integer | kinds.Index) and wanted == "condition":
        return "a comparison is a condition, such as i == 3"
    if isinstance(value, kinds.Integer | kinds.Index) and wanted in ("field", "value", "values", "multivector"):
        return "where(condition, a, b) chooses by a comparison of integers"
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
    if parameter.type == "along":
        return _axis(context, row, node, None)
    value = evaluate(node)
    try:
        found = checked(context, row.name, parameter, value)
    except KgenError as error:
        raise KgenError(error.message, place(context.kernel, node), error.hint) from None
    if isinstance(found, kinds.Seed):
        return _numbered(context, row, found, node)
    if parameter.type == "probability":
        _check_probability(context, row, value, node)
    return found


def _numbered(context: Context, row: Operation, seed: kinds.Seed, node: ast.expr) -> kinds.Seed:
    """The seed of one draw, which reads it by its own name: the place says which draw it is."""
    if not isinstance(node, ast.Name) or node.id != seed.name:
        raise KgenError(f"{row.name} reads the seed by another name", place(context.kernel, node), f"it is {seed.name}")
    return replace(seed, number=draws.number(context.kernel, examined(context.kernel).tree, node))


def _check_probability(context: Context, row: Operation, value: Value, node: ast.expr) -> None:
    """A number, or an option with such a default: what callers pass for it is looked at when they call."""
    kernel, mark = context.kernel, place(context.kernel, node)
    numbers = {o.name: o.default for o in kernel.options if o.name in kernel.numbers and isinstance(node, ast.Name)}
    p = value.value if isinstance(value, Node) and value.kind == "Const" else numbers.get(getattr(node, "id", ""))
    if p is None or not (isinstance(value, Node) and value.kind in ("Const", "Input")):
        raise KgenError(f"{row.name} needs a number or an option as p", mark, RANGE)
    if not 0 <= p < 1:
        raise KgenError(f"{row.name} with the probability {float(p):g}", mark, RANGE)


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
    present = frozenset[str]().union(*(x.axes for x in before if isinstance(x, Node | Multivector | kinds.Integer)))
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
        case kinds.Integer():
            return "a field of integers" if value.axes else "an integer"
        case kinds.Index():
            return f"the integer tensor {value.name}"
        case kinds.Seed():
            return f"the seed {value.name}"
        case bool():
            return "a bool option"
    return "a word"
