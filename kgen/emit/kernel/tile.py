"""The forms whose tile is resident: flat, tile, and what a fold does for each row.

In: a `program.Kernel` and its parts. Out: what is done once, and what for each block of rows. Guaranteed: every name is
defined before it is used, and fields that do not depend on the row are loaded and computed once, unless that would
crowd a fold's registers.
"""

from collections.abc import Iterable, Sequence

from kgen.emit.kernel.accesses import Accesses
from kgen.emit.kernel.rows import Accumulator, Section, Statement
from kgen.graph.node import Node
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel


class Tile:
    """The work on a tile that stays in registers."""

    def __init__(self, kernel: Kernel, accesses: Accesses) -> None:
        self.kernel, self.accesses = kernel, accesses
        self.block, self.statements, self.naming = accesses.block, accesses.statements, accesses.naming

    def sections(self, accumulators: tuple[Accumulator, ...]) -> tuple[Section, Section]:
        """What is done once, and then for each block of rows."""
        k = self.kernel
        fixed = [t for t in k.inputs if self._is_loaded_once(t)]
        moving = [t for t in k.inputs if t not in fixed]
        hoisted = self._hoisted(fixed)
        before = Section(
            lookups=self.block.lookups(k.inputs, moving=False),
            loads=self.accesses.loads_before(fixed),
            statements=self.statements.computing(hoisted),
        )
        body = Section(
            lookups=self.block.lookups(k.inputs, moving=True),
            pointers=self.block.bases([*moving, *(o.tensor for o in k.stores)]),
            loads=self.accesses.loads(self.naming.nodes, moving),
            statements=self._by_level(hoisted),
            accumulators=accumulators,
            stores=self.accesses.stores(k.stores),
        )
        return before, body

    def _is_loaded_once(self, tensor: Tensor) -> bool:
        """In a crowded fold fields that lie apart need a pointer each, which stays, too; others are loaded again."""
        crowded = self.block.form == "fold" and self.kernel.crowded
        return not self.block.moves(tensor.axes) and not (crowded and tensor.interleaved)

    def _hoisted(self, loaded: Sequence[Tensor]) -> dict[Node, None]:
        """Fields that do not depend on the row are computed once, before the row's loads."""
        known = {*(t.name for t in loaded), *self.kernel.numbers}
        hoisted: dict[Node, None] = {}
        for node in self.naming.nodes:
            free = not self.block.moves(node.axes) and not node.is_reduction
            if free and (node.kind != "Input" or node.tensor in known) and all(a in hoisted for a in node.args):
                hoisted[node] = None
        return hoisted

    def _by_level(self, done: Iterable[Node]) -> tuple[Statement, ...]:
        """What the first reductions need, these together, what the next ones need, and so on; then the rest."""
        pending = dict.fromkeys(n for n in self.naming.nodes if n not in set(done))
        statements: list[Statement] = []
        for level in range(1, max(self.statements.level.values(), default=0) + 1):
            reduced = self.statements.reductions(level)
            values = [n.args[0] for n in reduced]
            needed = [n for n in self.naming.order.evaluation(values) if n in pending]
            statements += self.statements.computing(needed)
            statements += self.statements.reducing(reduced, [self.statements.value(v) for v in values], "mask")
            for n in (*needed, *reduced):
                pending.pop(n, None)
        return (*statements, *self.statements.computing(pending))
