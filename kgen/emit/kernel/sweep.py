"""The form for rows of any length: they are swept in tiles.

In: a `program.Kernel` and its parts. Out: what is done before, and a `Sweep` for each level of nested reductions and
one for the results along the tile. Guaranteed: every name is defined before it is used; a sweep computes again what it
needs along the tile.
"""

from collections.abc import Sequence

from kgen.emit.kernel.accesses import Accesses
from kgen.emit.kernel.rows import Access, Accumulator, Section, Sweep
from kgen.graph.node import Node
from kgen.schedule.program import Kernel


class Sweeps:
    """The passes over a row."""

    def __init__(self, kernel: Kernel, accesses: Accesses) -> None:
        self.kernel, self.accesses = kernel, accesses
        self.block, self.statements, self.naming = accesses.block, accesses.statements, accesses.naming
        self.rowwise = [n for n in self.naming.nodes if not self.block.along(n.axes)]
        self.depth = max(self.statements.level[n] for n in self.rowwise)

    def before(self) -> Section:
        """What does not depend on the tile, nor on a reduction."""
        k = self.kernel
        return Section(
            lookups=self.block.lookups(k.inputs, moving=True),
            pointers=self.block.bases([*k.inputs, *(o.tensor for o in k.stores)]),
            loads=self.accesses.loads_before(t for t in k.inputs if not self.block.along(t.axes)),
            statements=self.statements.computing(n for n in self.rowwise if self.statements.level[n] == 0),
        )

    def passes(self) -> tuple[Sweep, ...]:
        """One for each level, from the innermost reductions on, and one for the results."""
        sweeps = [self._reducing(level) for level in range(1, self.depth + 1)]
        outputs = [o for o in self.kernel.stores if self.block.along(o.tensor.axes)]
        if outputs:
            tile = self._tile([f for o in outputs for f in o.fields], (), self.accesses.stores(outputs))
            sweeps.append(Sweep(tile, Section()))
        return tuple(sweeps)

    def _reducing(self, level: int) -> Sweep:
        reduced = self.statements.reductions(level)
        after = [n for n in self.rowwise if self.statements.level[n] == level and not n.is_reduction]
        outputs = [o for o in self.kernel.stores if level == self.depth and not self.block.along(o.tensor.axes)]
        totals = self.statements.reducing(reduced, [self.naming.names[n] for n in reduced], "True")
        row = Section(
            statements=(*totals, *self.statements.computing(after)),
            stores=self.accesses.stores(outputs),
        )
        return Sweep(self._tile([n.args[0] for n in reduced], reduced), row)

    def _tile(self, fields: Sequence[Node], reduced: Sequence[Node], stores: tuple[Access, ...] = ()) -> Section:
        """What computes fields along the tile, and accumulates or stores them."""
        needed = self.naming.order.evaluation(fields, stop=self.rowwise)
        along = [n for n in needed if self.block.along(n.axes)]
        return Section(
            lookups=self.block.lookups(self.kernel.inputs, moving=False),
            loads=self.accesses.loads(along, [t for t in self.kernel.inputs if self.block.along(t.axes)]),
            statements=self.statements.computing(along),
            accumulators=tuple(map(self._accumulator, reduced)),
            stores=stores,
        )

    def _accumulator(self, node: Node) -> Accumulator:
        value = self.statements.value(node.args[0])
        return Accumulator(self.naming.names[node], value, node.kind.lower(), "", whole_row=False, masked=True)
