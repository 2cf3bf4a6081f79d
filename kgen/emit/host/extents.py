"""Extents as launchers name them.

In: axes and dims of tensors. Out: products of extents such as `B * N`, shapes, and where each extent is read from.
Guaranteed: the first input that has an axis says how long it is.
"""

from collections.abc import Iterable, Sequence

from kgen.emit.host.rows import Shape
from kgen.graph.tensor import Slice, Tensor
from kgen.schedule.program import Program
from kgen.spec.private_names import size_name

LEADING = "*lead"  # any number of axes, which kernels see as one


def count(axes: Sequence[str], fields: int = 1) -> str:
    """The positions along axes, of several fields that are stacked there."""
    return " * ".join([*([str(fields)] if fields > 1 else []), *map(size_name, axes)]) or "1"


def extents(dims: Iterable[str | int]) -> tuple[str, ...]:
    return tuple(str(d) if isinstance(d, int) else size_name(d) for d in dims)


def starts(part: Slice) -> tuple[str, str]:
    """Where a part of a tensor starts along its dim, and how long it is."""
    return " + ".join(map(size_name, part.axes[: part.index])) or "0", size_name(part.axes[part.index])


def shape(tensor: Tensor) -> tuple[str, ...]:
    """The extents of a tensor as its caller sees it."""
    found = extents(tensor.dims)
    return (LEADING, *found[1:]) if tensor.leading else found


def shapes(inputs: Iterable[Tensor]) -> tuple[Shape, ...]:
    """What the inputs say about the extents of the axes."""
    rows, known = list[Shape](), set[str]()
    for tensor in inputs:
        new = [axis for axis in tensor.axes if axis not in known]
        if new:
            known.update(new)
            rows.append(_shape(tensor, new))
    return tuple(rows)


def joined(program: Program, inputs: Iterable[Tensor]) -> tuple[tuple[str, str], ...]:
    """The extents of which no input says how long they are, as far as the steps ask: another's, or sums of others."""
    known = {axis for tensor in inputs for axis in tensor.axes}
    asked = {d for step in program.every_step for t in (*step.inputs, *step.written) for d in t.strided}
    asked |= {n.axis for kernel in program.every_kernel for n in kernel.nodes if n.kind == "Size"}
    graph = program.graph
    named = zip(graph.axes, map(str, graph.extents(graph.axes)))
    made = {axis: (one,) for axis, one in named if axis != one} | graph.builder.joined
    new = [(whole, axes) for whole, axes in made.items() if whole not in known]
    for whole, axes in reversed(new):
        asked |= set(axes) if whole in asked else set()
    return tuple((size_name(whole), " + ".join(map(size_name, axes))) for whole, axes in new if whole in asked)


def _shape(tensor: Tensor, new: Sequence[str]) -> Shape:
    targets = [size_name(d) if isinstance(d, str) and d in new else "_" for d in tensor.dims]
    if not tensor.leading:
        return Shape(tensor.name, tuple(targets), "")
    leads = tensor.axes[0] in new
    return Shape(tensor.name, (LEADING if leads else "*_", *targets[1:]), size_name(tensor.axes[0]) if leads else "")
