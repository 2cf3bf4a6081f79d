"""What is allocated when, how long it lives, and what shares memory.

In: a `schedule.Program`. Out: a `Plan`: the results that are allocated before its first step, and for each intermediate
tensor its lifetime and the workspace it lives in. Guaranteed: two intermediates share a workspace only if they have one
shape, and the first is read for the last time before the second is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kgen.graph.tensor import Tensor
from kgen.schedule.products import MATRIX
from kgen.schedule.program import Program


@dataclass(frozen=True, slots=True)
class Lifetime:
    """An intermediate tensor: written by step `first`, read for the last time by step `last` (of `Program.steps`)."""

    tensor: Tensor
    first: int
    last: int
    workspace: str  # the name of the tensor whose memory it uses; its own where it is the first there
    comes_with_step: bool  # step `first` allocates it: as the sum of partial results, or as a matrix product
    given_back: bool  # after step `last`, as what is large is where steps follow


@dataclass(frozen=True, slots=True)
class Plan:
    lifetimes: tuple[Lifetime, ...]
    results: tuple[Tensor, ...]  # of the program, allocated before its first step; the others come with theirs

    def before(self, step: int) -> tuple[Lifetime, ...]:
        """The intermediates that have memory when a step starts, and not before."""
        return tuple(life for life in self.lifetimes if life.first == step and not life.comes_with_step)

    def after(self, step: int) -> tuple[Tensor, ...]:
        """The intermediates that a step is the last to read, and whose memory is given back."""
        return tuple(life.tensor for life in self.lifetimes if life.last == step and life.given_back)

    def workspace(self, name: str) -> str | None:
        """The workspace of a tensor, None for what is no intermediate."""
        return next((life.workspace for life in self.lifetimes if life.tensor.name == name), None)


def plan(program: Program) -> Plan:
    """The workspaces of a program's intermediates, in the order in which they are written."""
    results = (*program.outputs, *program.saved)
    kept, made = {t.name for t in results}, _made(program)
    read = {name: i for i, step in enumerate(program.steps) for name in step.reads}  # where last
    lifetimes: list[Lifetime] = []
    for first, step in enumerate(program.steps):
        for tensor in step.written:
            if tensor.memory in kept or any(life.tensor.name == tensor.name for life in lifetimes):
                continue
            last = read.get(tensor.name, first)
            large = tensor.dtype == MATRIX  # what enters and leaves matrix products
            workspace = None if large else _free(program, lifetimes, tensor, first)
            given_back = large and last < len(program.steps) - 1
            lifetimes.append(Lifetime(tensor, first, last, workspace or tensor.name, tensor.name in made, given_back))
    return Plan(tuple(lifetimes), tuple(t for t in results if t.name not in made))


def _made(program: Program) -> set[str]:
    """What the step that writes it allocates: the sum of partial results, or all of what a product gives."""
    folds = {fold.tensor.name for kernel in program.kernels for fold in kernel.folds}
    made = {t.name for step in program.attends for t in step.written}
    return folds | made | {p.result.name for p in program.products if p.whole}


def _free(program: Program, lifetimes: Sequence[Lifetime], tensor: Tensor, first: int) -> str | None:
    """A workspace of the same shape that nobody reads any more, and that is there whatever gradients are wanted.

    What enters and leaves matrix products is given back instead.
    """
    busy = {life.workspace for life in lifetimes if life.last >= first}
    reached = program.reached(program.steps[first])
    for life in lifetimes:
        alike = life.tensor.dims == tensor.dims and life.tensor.dtype != MATRIX
        if alike and life.workspace not in busy and reached <= program.reached(program.steps[life.first]):
            return life.workspace
    return None
