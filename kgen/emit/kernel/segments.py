"""The form that sums what an index gives to a position: each program walks the places of one, and computes its results.

In: a `program.Kernel` of kind "segment". Out: a `SegmentText`: what is done once, a walk for each index, and what is
made of the sums. Guaranteed: a position's places are added in the order of the sorted index, so bits do not change
between runs; what does not vary along a walk is computed before it.
"""

from collections.abc import Iterable, Sequence

from kgen.emit.kernel.accesses import Accesses
from kgen.emit.kernel.addresses import Addresses, count, read
from kgen.emit.kernel.block import Block
from kgen.emit.kernel.headers import header
from kgen.emit.kernel.naming import Naming, stored
from kgen.emit.kernel.rows import Accumulator, Found, Section, SegmentText, Statement, Sweep, Walk
from kgen.emit.kernel.statements import Statements
from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Lookup, Tensor
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

HELPERS = {"at", "first_tile"}  # what the template computes only where something reads it


class Segments:
    """One kernel of segments."""

    def __init__(self, kernel: Kernel, builder: Builder) -> None:
        self.kernel = kernel
        self.naming = Naming(kernel, builder, kernel.roots, stored(kernel))
        self.addresses, self.statements = Addresses(kernel, self.naming), Statements(self.naming)
        self.accesses = self._accesses("")
        self.sums = [n for n in self.naming.nodes if n.kind == "Segment"]
        inside = set(postorder(a for n in self.sums for a in n.args))
        still = [n for n in self.naming.nodes if not n.axes & set(kernel.loop) and n not in self.sums]
        self.first = [n for n in still if n in inside]
        self.last = [n for n in still if n not in inside]

    def text(self) -> SegmentText:
        k, naming = self.kernel, self.naming
        before, after = self._before(), self._after()
        sweeps = tuple(map(self._walk, k.segments))
        used = read([before, *(part for sweep in sweeps for part in (sweep.tile, sweep.row)), after])
        columns = {size_name(axis) for axis in k.inner}
        return SegmentText(
            name=k.name,
            form="segment",
            pointers=tuple(naming.pointers.values()),
            numbers=naming.numbers,
            sizes=naming.sizes,
            steps=(),
            unspecialised=tuple(size for size in naming.sizes if size not in columns),
            flags=naming.switches,
            rows=self.addresses.index("row", ()),
            kept=self.addresses.index("kept", k.rows),
            whole=False,
            inner=self.accesses.block.tile,
            inner_count=count(k.inner),
            planes=self.addresses.planes(used),
            places=(),
            before=before,
            body=Section(),
            sweeps=sweeps,
            after=after,
            notes=header(k, "segment", naming.nodes, naming.names),
            helpers=used & HELPERS,
            walks=tuple(map(self._sorted, k.segments)),
        )

    def _accesses(self, scattered: str) -> Accesses:
        return Accesses(Block(self.kernel, "segment", self.addresses, scattered), self.statements)

    def _before(self) -> Section:
        """What walks read that is the same all along them, and the positions that are the same."""
        return Section(
            lookups=self._lookups(self.accesses, self.kernel.inputs, along=False),
            pointers=self.accesses.block.bases(self._read([*self.first, *self.last])),
            loads=self.accesses.loads(self.first, self._read(self.first)),
            statements=self.statements.computing(self.first),
        )

    def _after(self) -> Section:
        """What is made of the sums."""
        return Section(
            pointers=self.accesses.block.bases(o.tensor for o in self.kernel.stores),
            loads=self.accesses.loads(self.last, self._read(self.last)),
            statements=self.statements.computing(self.last),
            stores=self.accesses.stores(self.kernel.stores),
        )

    def _lookups(self, accesses: Accesses, tensors: Sequence[Tensor], along: bool) -> tuple[Found, ...]:
        """The positions that tensors are read at by indices along the walk, or by others."""
        chosen = [t for t in tensors if any((by.along in self.kernel.loop) == along for by in t.lookups)]
        return tuple(f for moving in (False, True) for f in accesses.block.lookups(chosen, moving))

    def _read(self, nodes: Iterable[Node]) -> list[Tensor]:
        """The tensors that fields are loaded from."""
        names = {n.tensor for n in nodes if n.kind == "Input"}
        return [t for t in self.kernel.inputs if t.name in names]

    # walks

    def _sorted(self, by: Lookup) -> Walk:
        pointers, index = self.naming.pointers, self.naming.index
        return Walk(
            index[by.along], pointers[f"order_{by.tensor}"], f"{pointers[f'starts_{by.tensor}']} + {index[by.into]}"
        )

    def _walk(self, by: Lookup) -> Sweep:
        """One pass over the places of a position, and the sums once they are whole."""
        sums = [n for n in self.sums if n.lookup == by]
        accesses, still = self._accesses(by.along), {*self.first}
        needed = self.naming.order.evaluation([n.args[0] for n in sums], stop=still)
        along = [n for n in needed if n not in still]
        tensors = self._read(along)
        tile = Section(
            lookups=self._lookups(accesses, tensors, along=True),
            pointers=accesses.block.bases(tensors),
            loads=accesses.loads(along, tensors),
            statements=self.statements.computing(along),
            accumulators=tuple(map(self._accumulator, sums)),
        )
        return Sweep(tile, Section(statements=tuple(map(self._total, sums))))

    def _whole_row(self, segment: Node) -> bool:
        return not self.accesses.block.along(segment.axes)

    def _accumulator(self, segment: Node) -> Accumulator:
        value, name = self.statements.value(segment.args[0]), self.naming.names[segment]
        return Accumulator(name, value, "sum", "", self._whole_row(segment), masked=True)

    def _total(self, segment: Node) -> Statement:
        name = self.naming.names[segment]
        return Statement(name, f"tl.sum({name})" if self._whole_row(segment) else f"_column_sum({name}, ROWS)")
