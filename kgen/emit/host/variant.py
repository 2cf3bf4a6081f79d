"""What launchers are written from.

In and out: frozen data. A `Variant` is a function with its bool options decided; a `Direction` is one order of its
derivatives with the plan of its memory, and answers what all rows of that launcher ask.
"""

from collections.abc import Collection
from dataclasses import dataclass

from kgen.emit.host.values import DtypeOf, Promoted, Wanted
from kgen.graph.tensor import Tensor
from kgen.schedule.buffers import Plan
from kgen.schedule.program import Program
from kgen.schedule.program import Step as Launch
from kgen.spec.model import Kernel
from kgen.spec.private_names import operator_name
from kgen.trace.trace import private_grads


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel with its bool options decided."""

    kernel: Kernel
    name: str
    flags: tuple[tuple[str, bool], ...]
    programs: tuple[Program, ...]  # the forward, and derivatives by their order
    online: "Variant | None" = None  # the same with attention whose scores are never stored

    @property
    def both(self) -> tuple["Variant", ...]:
        """That which takes its place where it can, and itself."""
        return (self.online, self) if self.online else (self,)

    @property
    def forward(self) -> Program:
        return self.programs[0]

    @property
    def operator(self) -> str:
        return operator_name(self.name)


@dataclass(frozen=True, slots=True)
class Direction:
    """The forward of a variant, or a derivative."""

    variant: Variant
    program: Program
    plan: Plan

    @property
    def backward(self) -> bool:
        return self.program.graph.name != self.variant.forward.graph.name

    @property
    def place(self) -> str:
        """The tensor on whose device all others are."""
        return self.program.inputs[0].name

    @property
    def promoted(self) -> Promoted:
        """The dtype of all inputs that are differentiated, or of all that float."""
        floating = [t.name for t in self.program.graph.inputs if t.dtype is None]
        return Promoted(tuple(private_grads(self.variant.kernel)) or tuple(floating))

    def is_gradient(self, tensor: Tensor) -> bool:
        """Whether a tensor that a step writes is a gradient, which has the shape and the dtype of what it is of."""
        return self.backward and not tensor.dtype

    def dtype(self, result: Tensor) -> DtypeOf | Promoted:
        """The dtype of a result for its caller."""
        return DtypeOf(source(result)) if self.backward else self.promoted

    def is_added(self, tensor: Tensor) -> bool:
        """Whether products are added to a result, which is in their dtype until then: its rest is not rounded alone."""
        added = any(p.added and p.result.name == tensor.name for p in self.program.products)
        return added and tensor.dtype is None

    def present(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of the tensors that may be missing, each once."""
        return tuple(dict.fromkeys(name for name in names if name in self.program.optional))

    # conditions

    def wanted(self, names: Collection[str]) -> Wanted:
        """Whether a caller wants one of these gradients."""
        return Wanted(tuple(i for i, t in enumerate(self.program.outputs) if t.name in names))

    def needed(self, result: Tensor) -> Wanted:
        """Whether a gradient is wanted, or another that is computed from it."""
        readers = [step for step in self.program.steps if result.name in step.reads]
        return self.wanted({result.name}.union(*map(self.program.reached, readers)))

    def guard(self, step: Launch) -> Wanted | None:
        """A step that not all gradients need runs if one of those that need it is wanted."""
        reached = self.wanted(self.program.reached(step))
        everything = len(reached.positions) == len(self.program.outputs)
        return None if everything or not self.backward else reached


def source(gradient: Tensor) -> str:
    """What a gradient is of."""
    return gradient.name.removeprefix("grad_")
