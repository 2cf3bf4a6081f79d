"""Loads and stores of a block of rows times a tile.

In: a `Block`, a kernel's `Statements`, tensors and fields. Out: rows. Guaranteed: adjacent components travel together,
and a name that nothing reads has one type.
"""

from collections.abc import Iterable, Iterator, Sequence

from kgen.emit.kernel.block import Block
from kgen.emit.kernel.rows import Access
from kgen.emit.kernel.statements import Statements
from kgen.graph.graph import Output
from kgen.graph.node import Node
from kgen.graph.tensor import INDEX, INTEGER, SEED, Tensor


class Accesses:
    """What is loaded and stored, by whether it is for each tile or once."""

    def __init__(self, block: Block, statements: Statements) -> None:
        self.block, self.statements, self.naming = block, statements, block.naming

    def loads(self, nodes: Sequence[Node], tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        """What is loaded for each row or tile. Of components that travel together the first ones are loaded last.

        Formulas read these first. Loaded first, they were computed with before the others were under way: the product's
        gradients of Cl(4,1) took 253 us, in this order 226 (H200, 4096 x 256).
        """
        loads = [a for t in tensors for a in self._loaded(nodes, t, "_")]
        together = [a for a in loads if a.dense]
        return tuple(together.pop() if a.dense else a for a in loads)

    def loads_before(self, tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        """What is loaded once. Triton wants one type of a name before a loop and in it, so `_` is left to the loop."""
        unused = self.naming.names.unique("unused") if self.block.form in ("fold", "sweep") else "_"
        return tuple(a for t in tensors for a in self._loaded(self.naming.nodes, t, unused))

    def stores(self, outputs: Iterable[Output]) -> tuple[Access, ...]:
        """Stores of results."""
        return tuple(a for output in outputs for a in self._stored(output))

    def _loaded(self, nodes: Sequence[Node], tensor: Tensor, unused: str) -> Iterator[Access]:
        """Components that travel with others and that nothing reads are called `unused`."""
        names = {n.component: self.naming.names[n] for n in nodes if n.kind == "Input" and n.tensor == tensor.name}
        chunk = self.block.chunk(tensor)
        for first in range(0, len(tensor.labels), chunk):
            here = range(first, first + chunk)
            if not names.keys().isdisjoint(here):
                together = tuple(names.get(i, unused) for i in here)
                integer = tensor.dtype in (INDEX, INTEGER, SEED)
                kind, other = ("tl.int64", "0") if integer else ("REAL", "0.0")
                yield Access(together, *self.block.source(tensor, first), chunk > 1, kind=kind, other=other)

    def _stored(self, output: Output) -> Iterator[Access]:
        tensor, chunk = output.tensor, self.block.chunk(output.tensor)
        values = [self._value(field, chunk > 1) for field in output.fields]
        for first in range(0, len(values), chunk):
            if tensor.cleared and _is_zero(output.fields[first]):
                continue
            pointer, mask = self.block.target(tensor, first)
            flag = self.naming.wanted.get(tensor.memory, "")
            yield Access(tuple(values[first : first + chunk]), pointer, mask, chunk > 1, flag)

    def _value(self, field: Node, together: bool) -> str:
        """What is stored together has one shape."""
        value = self.statements.value(field)
        return f"_fill({value}, mask, REAL)" if together and not field.axes >= self.block.inner else value


def _is_zero(field: Node) -> bool:
    return field.kind == "Const" and field.value == 0
