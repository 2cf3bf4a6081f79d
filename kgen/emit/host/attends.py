"""Attention whose scores are never stored.

In: an `Attend` of a program. Out: rows that call the runtime for it. Guaranteed: tensors are seen as matrices of
positions in the dtype of products, and what has no cotangent as zero.
"""

from collections.abc import Sequence
from dataclasses import replace

from kgen.emit.host.extents import count, extents, shape
from kgen.emit.host.rows import Assigned, Attending, Step
from kgen.emit.host.values import MATRIX, Chosen, Masked, Matrix, Present, Seen, Zeros
from kgen.emit.host.variant import Direction
from kgen.graph.tensor import Tensor
from kgen.schedule import products
from kgen.schedule.attend import Attend


def attended(direction: Direction, step: Attend) -> list[Step]:
    """The call; before the first one that reads cotangents, zeros for those that are missing."""
    program = direction.program
    returned = {t.name for t in (*program.outputs, *program.saved)}
    call = Attending(
        function=step.name,
        groups=tuple(tuple(_matrices(step, t) for t in group) for group in step.groups),
        rows=tuple(_rows(step, t) for t in step.rows),
        mask=_masked(step),
        written=tuple(t.name for t in step.written),
        seen=tuple(_result(direction, t) for t in step.written if t.name in returned),
    )
    first = next(s for s in program.attends if s.groups[-1] == step.groups[-1])
    missing = [t for t in step.groups[-1] if t.name in program.optional] if first is step else []
    return [*(_or_zero(direction, t) for t in missing), call]


def _or_zero(direction: Direction, cotangent: Tensor) -> Assigned:
    zeros = Zeros(direction.place, shape(cotangent), MATRIX)
    return Assigned(cotangent.name, Chosen(cotangent.name, Present((cotangent.name,)), zeros))


def _result(direction: Direction, tensor: Tensor) -> Seen:
    return Seen(tensor.name, shape(tensor), None if tensor.dtype else direction.dtype(tensor))


def _masked(step: Attend) -> Masked | None:
    mask = step.mask
    if mask is None or not (mask.causal or mask.labels):
        return None
    labels = _seen(mask.labels, mask.labels.axes[:-1], mask.labels.axes[-1:]) if mask.labels else None
    return Masked(mask.causal, labels, _number(mask.fill))


def _number(value: float) -> str:
    short = f"{value:g}".replace("e+0", "e")
    return short if float(short) == value else repr(value)


def _rows(step: Attend, tensor: Tensor) -> Matrix:
    """A tensor of a number, or of several, for each position."""
    several = tuple(str(d) for d in tensor.dims if isinstance(d, int))
    seen = _seen(tensor, step.batch, tensor.axes[-1:])
    return replace(seen, view=(*several, *seen.view))


def _matrices(step: Attend, tensor: Tensor) -> Matrix:
    """A tensor as matrices of positions and what lies at each."""
    numbers, axes = step.width(tensor)
    return _seen(tensor, step.batch, [tensor.dims[len(step.batch)]], (count(axes, numbers),))


def _seen(tensor: Tensor, batch: Sequence[str], positions: Sequence[str | int], width: tuple[str, ...] = ()) -> Matrix:
    dims = (count(batch), *extents(positions), *width)
    return Matrix(tensor.memory, (), (), dims, bool(width) and tensor.dtype != products.MATRIX, None, False)
