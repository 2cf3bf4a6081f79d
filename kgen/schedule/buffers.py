"""Lifetimes of what kernels hand to each other, and which of them share memory.

In: a `schedule.Program`. Out: a `Plan`: for each intermediate tensor the workspace it lives in. Two intermediates of
one shape share a workspace when the first is read for the last time before the second is written.
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


@dataclass(frozen=True, slots=True)
class Plan:
    lifetimes: tuple[Lifetime, ...]

    def workspace(self, name: str) -> str | None:
        """The workspace of a tensor, None for what is no intermediate."""
        return next((life.workspace for life in self.lifetimes if life.tensor.name == name), None)


def plan(program: Program) -> Plan:
    """The workspaces of a program's intermediates, in the order in which they are written."""
    kept = {t.name for t in (*program.outputs, *program.saved)}
    lifetimes: list[Lifetime] = []
    for first, step in enumerate(program.steps):
        for tensor in step.written:
            if tensor.name in kept or any(life.tensor.name == tensor.name for life in lifetimes):
                continue
            readers = [i for i, s in enumerate(program.steps) if tensor.name in s.reads]
            last = max(readers, default=first)
            workspace = None if tensor.dtype == MATRIX else _free(program, lifetimes, tensor, first)
            lifetimes.append(Lifetime(tensor, first, last, workspace or tensor.name))
    return Plan(tuple(lifetimes))


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
