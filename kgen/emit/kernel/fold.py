"""What a fold accumulates over the rows, and stores of it.

In: a `program.Kernel` and its parts. Out: accumulators, and the section that stores each program's partial results, at
(slot, …) of a workspace. Guaranteed: what all tiles have alike counts once.
"""

from kgen.emit.kernel.block import Block
from kgen.emit.kernel.rows import Access, Accumulator, Section
from kgen.emit.kernel.statements import Statements
from kgen.graph.node import Node
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Fold, Kernel

NEUTRAL = {"sum": "0.0", "max": '-float("inf")'}  # what does not change a reduction


class Folds:
    """The folds of a kernel."""

    def __init__(self, kernel: Kernel, block: Block, statements: Statements) -> None:
        self.kernel, self.block, self.statements = kernel, block, statements
        self.addresses, self.naming = block.addresses, block.naming
        self.folded = [(fold, i, node) for fold in kernel.folds for i, node in enumerate(fold.fields)]

    def accumulators(self) -> tuple[Accumulator, ...]:
        """What is kept in registers."""
        return tuple(self._accumulator(*each) for each in self.folded)

    def partials(self) -> Section:
        """What is stored of it."""
        bases = (
            self.addresses.partial_base(f.tensor, self._slot(f.tensor), self.kernel.rows) for f in self.kernel.folds
        )
        return Section(pointers=tuple(bases), stores=tuple(self._partial(*each) for each in self.folded))

    def _slot(self, tensor: Tensor) -> str:
        """Tiles have a slot each where they add to one result."""
        return "program" if self.block.along(tensor.axes) else "slot"

    def _accumulator(self, fold: Fold, component: int, node: Node) -> Accumulator:
        whole = not self.block.along(node.axes)
        flag = self.naming.wanted.get(fold.tensor.memory, "")
        masked = not self.block.along(fold.tensor.axes) and not whole
        name = self.naming.accumulators[fold.tensor.name, component]
        return Accumulator(name, self.statements.value(node), fold.reduction, flag, whole, masked)

    def _partial(self, fold: Fold, component: int, node: Node) -> Access:
        tensor, name = fold.tensor, self.naming.accumulators[fold.tensor.name, component]
        if self.block.along(tensor.axes):
            value, mask = f"_column_{fold.reduction}({name}, ROWS)", "tile_mask"
        else:
            value, mask = f"tl.{fold.reduction}({name})", ""
            if not self.block.along(node.axes):  # every tile has the same: it counts once
                value = f"tl.where(first_tile, {value}, {NEUTRAL[fold.reduction]})"
        pointer, flag = self._pointer(tensor, component), self.naming.wanted.get(tensor.memory, "")
        return Access((value,), pointer, mask, False, flag)

    def _pointer(self, tensor: Tensor, component: int) -> str:
        offset = self.addresses.component_offset(tensor, component)
        along = self.addresses.axis_offset(tensor, self.kernel.inner)
        ordered = [*along, *offset] if tensor.interleaved else [*offset, *along]
        return " + ".join([self.naming.bases[tensor.name], *ordered])
