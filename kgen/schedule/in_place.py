"""Which inputs are read in place though their rows may lie apart, as those of a part of the channels do.

In: the program of a forward or of its derivative. Out: the same, whose inputs and kernels have such tensors `stepped`.
Guaranteed: one has two axes, of which the first is the results' first one, as in batches and their cotangents and not
in weights; it is no result, for these are contiguous; only maps, rows and folds read it, all of it and along their
tile: what the library multiplies, and kernels like it, take what is contiguous. So does a flat tile of planes, whose
loads would be of one element each, for it may end a row anywhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel, Program, Step

READING = ("map", "row", "fold")  # kinds of kernels


def in_place(program: Program, results: Collection[Tensor]) -> Program:
    """The program with steps; `results` are the forward's."""
    along = {t.axes[:1] for t in results}
    steps = [step for p in program.both for step in p.every_step]
    read = {t.name for step in steps for t in step.inputs} - {t.name for t in results}
    names = {t.name for t in program.inputs if t.name in read and t.axes[:1] in along and _has_rows(t)}
    names -= {t.memory for step in steps for t in step.inputs if not _takes(step, t)}
    return _reading(program, names)


def _reading(program: Program, names: Collection[str]) -> Program:
    """The program, and the one for rows of few features, with these inputs stepped wherever they are read."""
    return replace(
        program,
        inputs=_stepped(program.inputs, names),
        steps=tuple(_step(step, names) for step in program.steps),
        narrow=_reading(program.narrow, names) if program.narrow else None,
    )


def _step(step: Step, names: Collection[str]) -> Step:
    if not isinstance(step, Kernel):
        return step
    otherwise = tuple(_step(other, names) for other in step.otherwise)
    return replace(step, inputs=_stepped(step.inputs, names), otherwise=otherwise)


def _has_rows(tensor: Tensor) -> bool:
    """Whether it is real numbers along two axes, with components inside of the second one or around both."""
    return tensor.dtype is None and len(tensor.axes) == 2 and all(isinstance(d, str) for d in tensor.dims[1:-1])


def _takes(step: Step, tensor: Tensor) -> bool:
    """Whether a step can read the rows of a tensor wherever they are."""
    if not isinstance(step, Kernel) or step.kind not in READING or step.flat and not tensor.interleaved:
        return False
    return tensor.axes[-1:] == step.inner[-1:] and not (tensor.slices or tensor.lookups or tensor.source)


def _stepped(tensors: Sequence[Tensor], names: Collection[str]) -> tuple[Tensor, ...]:
    return tuple(replace(t, stepped=True) if t.name in names else t for t in tensors)
