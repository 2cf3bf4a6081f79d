"""Arguments and results as tensors: how the fields of a kernel lie in memory.

In: the types of a spec and the values that a body returns. Out: `Tensor` and `Output`, with the rules

* a kernel's axes are those of its multivectors' memory order that inputs have, then others by first appearance, then
  those that `cat` makes; one that `rename` makes stands behind the one that it renames, that of an index before the one
  that it points into, for it takes its place;
* an undeclared result is named like the variable that is returned, when that is a plain name, no argument, and
  returned once; else `out`, `out1`, … (the number is the place in the tuple), skipping names that are taken;
* an undeclared multivector has the kernel's memory order, an undeclared field the same without the blade, both
  restricted to axes that they have; one axis that is not in the order takes the place of the one that is missing.
"""

import ast
from collections.abc import Sequence
from itertools import product

from kgen.errors import Follows, KgenError
from kgen.graph.graph import Output
from kgen.graph.node import Node
from kgen.graph.tensor import INDEX, INTEGER, SEED, Lookup, Tensor
from kgen.spec.body import with_made
from kgen.spec.model import COMPONENT_AXES, ELLIPSIS, Argument, Kernel, Spec, Type
from kgen.spec.private_names import private_names
from kgen.trace import algebra as tables
from kgen.trace.calls import kind
from kgen.trace.components import indexing
from kgen.trace.values import Context, Index, Indexed, Integer, Multivector, Seed, Value, Weights


def axes(kernel: Kernel) -> tuple[str, ...]:
    """All axes of a kernel, outermost first."""
    seen = dict.fromkeys(axis for argument in kernel.inputs if argument.type for axis in argument.type.axes)
    order = ["b" if axis == ELLIPSIS else axis for axis in kernel.memory if axis != "blade"]
    found = [*(axis for axis in order if axis in seen), *(axis for axis in seen if axis not in order)]
    found = [*with_made(kernel, found)]
    for index in (a.type for a in kernel.inputs if a.type and a.type.kind == "index"):
        if set(index.axes).isdisjoint(order) and index.into in found:
            found.remove(index.axes[0])
            found.insert(found.index(index.into), index.axes[0])
    return tuple(found)


def paths(spec: Spec, kernel: Kernel, name: str) -> tuple[tables.Path, ...]:
    """The product paths of a weights input in memory order: (left, out, right) grades, or (grade,) of one operand."""
    found = next((a for a in kernel.inputs if a.name == name), None)
    if found is None or found.type is None or found.type.kind != "weights" or spec.algebra is None:
        raise KgenError(f"{name} is not a weights input of {kernel.name}", kernel.mark)
    return tables.paths_of(spec.algebra, found.type.sides, spec.layout.path_order)


def tensor(spec: Spec, kernel: Kernel, argument: Argument) -> Tensor:
    """How an input lies in memory."""
    declared = argument.type
    assert declared is not None, "inputs are typed"
    labels = [_labels(spec, kernel, argument, dim) for dim in declared.memory if _is_component(dim)]
    extents = iter([len(names) for names in labels])
    dims = tuple(next(extents) if _is_component(dim) else "b" if dim == ELLIPSIS else dim for dim in declared.memory)
    flat = tuple("_".join(names) for names in product(*labels))
    dtype = {"index": INDEX, "integer": INTEGER, "seed": SEED}.get(declared.kind)
    return Tensor(argument.name, dims, flat, ELLIPSIS in declared.memory, dtype)


def _is_component(dim: str | int) -> bool:
    return isinstance(dim, int) or dim in COMPONENT_AXES


def _labels(spec: Spec, kernel: Kernel, argument: Argument, dim: str | int) -> tuple[str, ...]:
    """The names along a dim that enumerates components."""
    if argument.type and argument.type.kind == "seed":
        return ("",)
    if isinstance(dim, int):
        return tuple(map(str, range(dim)))
    if dim == "path":
        return tuple("".join(map(str, path)) for path in paths(spec, kernel, argument.name))
    assert spec.algebra is not None
    assert argument.type is not None
    if dim == "grade":
        if argument.type.kind == "weights":
            return tuple(str(grade) for (grade,) in paths(spec, kernel, argument.name))
        return tuple(str(grade) for grade in range(len(spec.algebra.squares) + 1))
    return tuple(spec.algebra.blades[i].name for i in tables.blades_of(spec.algebra, argument.type.grades))


def value(context: Context, argument: Argument, layout: Tensor) -> Value:
    """The fields of an input as the value its name has in the body."""
    declared = argument.type
    assert declared is not None
    name = argument.name
    fields = tuple(context.builder.input(layout.name, i, layout.axes) for i in range(len(layout.labels)))
    match declared.kind:
        case "multivector":
            return Multivector(tables.blades_of(context.algebra, declared.grades), fields)
        case "weights":
            return Weights(name, paths(context.spec, context.kernel, name), fields, declared.operands)
        case "index":
            return Index(name, Lookup(layout.axes[0], declared.into, layout.name), fields[0])
        case "integer":
            return Integer(fields[0])
        case "seed":
            return Seed(name, fields[0])
    extents = tuple(dim for dim in layout.dims if isinstance(dim, int))
    return Indexed(name, extents, fields) if extents else fields[0]


def private(kernel: Kernel, outputs: Sequence[str]) -> dict[str, str]:
    """What stages call the kernel's tensors and numbers, by their names in the spec."""
    return private_names([*(a.name for a in kernel.inputs), *kernel.numbers, *outputs], axes(kernel))


def output_names(kernel: Kernel, returned: Sequence[ast.expr]) -> tuple[str, ...]:
    """The names of the results: declared, or by the rule above."""
    if kernel.outputs:
        return tuple(output.name for output in kernel.outputs)
    inputs = {argument.name for argument in kernel.inputs} | {option.name for option in kernel.options}
    written = [node.id if isinstance(node, ast.Name) and node.id not in inputs else "" for node in returned]
    names = [name if written.count(name) == 1 else "" for name in written]
    for place, name in enumerate(names):
        free = (f"out{n or ''}" for n in range(place, place + len(names) + len(inputs) + 1))
        names[place] = name or next(n for n in free if n not in inputs and n not in names)
    return tuple(names)


def output(context: Context, name: str, declared: Type | None, result: Value, leading: bool) -> Output:
    """A result with its place in memory. `leading`: the inputs' `b` flattens any number of axes."""
    result = context.arithmetic(result) if isinstance(result, Node) else result
    if not isinstance(result, Node | Multivector | Indexed):
        raise KgenError(f"{name} is neither a multivector nor a field", hint=indexing(result))
    if isinstance(result, Multivector):
        result = _fill(context, name, declared, result)
    elif declared is not None and declared.kind == "multivector":
        raise KgenError(f"{name} is declared as a multivector, but the body returns {kind(result)}")
    memory = declared.memory if declared is not None and declared.memory else _memory(context, name, result)
    _check_extents(name, memory, result)
    order = ["b" if dim == ELLIPSIS else dim for dim in memory]
    undeclared = sorted(result.axes - set(order))
    if undeclared:
        raise KgenError(
            f"{name} varies along {undeclared[0]}, which its declaration lacks", hint=f"add {undeclared[0]}"
        )
    known = {*context.axes, *(["blade"] if isinstance(result, Multivector) else [])}
    unknown = [dim for dim in order if isinstance(dim, str) and dim not in known]
    if unknown and not context.whole:
        raise Follows
    if unknown:
        message = f"{name} is declared along {unknown[0]}, which is no axis of an input"
        raise KgenError(message, hint="results have the axes of the inputs, and those that cat makes")
    lead = leading and order[:1] == ["b"]
    if isinstance(result, Node):
        return Output(Tensor(name, tuple(order), leading=lead), (result,))
    if isinstance(result, Indexed):
        labels = tuple("_".join(map(str, place)) for place in product(*map(range, result.extents)))
        return Output(Tensor(name, tuple(order), labels, lead), result.fields)
    labels = tuple(context.algebra.blades[i].name for i in result.blades)
    dims = tuple(len(labels) if dim == "blade" else dim for dim in order)
    return Output(Tensor(name, dims, labels, lead), result.fields)


def _fill(context: Context, name: str, declared: Type | None, result: Multivector) -> Multivector:
    """The result with all declared grades, those that it lacks being zero."""
    if declared is None or not declared.grades:
        return result
    if declared.kind != "multivector":
        raise KgenError(f"{name} is declared as a field, but the body returns a multivector")
    extra = set(context.grades(result)) - set(declared.grades)
    if extra:
        raise KgenError(f"{name} has grade {min(extra)}, which its declaration lacks", hint="select with x.grade(...)")
    blades, fields = tables.blades_of(context.algebra, declared.grades), dict(result.items())
    return Multivector(blades, tuple(fields.get(i, context.builder.zero) for i in blades))


def _check_extents(name: str, memory: Sequence[str | int], result: Node | Multivector | Indexed) -> None:
    """Refuse a declaration whose fixed extents are not the result's."""
    written, own = [d for d in memory if isinstance(d, int)], (
        list(result.extents) if isinstance(result, Indexed) else []
    )
    if written != own:
        has = f"the extents {own}" if own else "no components that are told apart by numbers"
        raise KgenError(f"{name} is declared with the extents {written}, but {kind(result)} has {has}")


def _memory(context: Context, name: str, result: Node | Multivector | Indexed) -> tuple[str | int, ...]:
    """The memory order of an undeclared result; components that are told apart by numbers come last."""
    order = ["b" if axis == ELLIPSIS else axis for axis in context.kernel.memory] or list(context.axes)
    extra = [axis for axis in context.axes if axis in result.axes and axis not in order]
    missing = [axis for axis in order if axis != "blade" and axis not in result.axes]
    if extra and len(extra) == len(missing) == 1:
        order[order.index(missing[0])] = extra[0]
    elif extra and context.kernel.memory:
        if isinstance(result, Multivector) or set(order) & result.axes:
            message = (
                f"{name} varies along {extra[0]}, which has no place in the memory order {list(context.kernel.memory)}"
            )
            raise KgenError(message, hint=f"declare {name} with its axes under `outputs:`")
        order = list(context.axes)
    keep = result.axes | ({"blade"} if isinstance(result, Multivector) else set())
    return (*(axis for axis in order if axis in keep), *(result.extents if isinstance(result, Indexed) else ()))
