"""The form of a matrix product that computes its factors on the way.

In: a `program.Kernel` of kind "contract". Out: a `ContractText`. Guaranteed: as for other forms; and beyond the end of
the contracted axis one of the factors is zero. Three tiles have axes of their own: the left factor's runs down the rows
and across the contracted axis, the right one's down the contracted axis and along the columns, the result's down the
rows and along the columns.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kgen.emit.kernel.addresses import Addresses, read
from kgen.emit.kernel.headers import header
from kgen.emit.kernel.naming import Naming, Result, stored
from kgen.emit.kernel.rows import Access, ContractText, Index, Section, Statement
from kgen.emit.kernel.statements import Statements
from kgen.emit.kernel.strides import times
from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.products import Contraction
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

ROW, COLUMN, ACROSS, DOWN = "row", "column", "across", "down"  # offsets within tiles, as columns and rows of numbers
MASKS = {ROW: "row_mask", COLUMN: "column_mask", ACROSS: "across_mask", DOWN: "down_mask"}

Tile = Mapping[str, str]  # the offset that runs along each of a tile's axes


class Contract:
    """The rows of a contract kernel."""

    def __init__(self, kernel: Kernel, contraction: Contraction, builder: Builder) -> None:
        self.kernel, self.grid, self.factors = kernel, contraction.grid, contraction.factors
        shape = contraction.shape
        (self.row,), (self.along,), (column,) = shape.rows, shape.contracted, shape.columns
        self.batch = shape.batch
        self.left, self.right = {self.row: ROW, self.along: ACROSS}, {self.along: DOWN, column: COLUMN}
        self.result = {self.row: ROW, column: COLUMN}
        inside = {a for n in postorder(self.factors) for a in n.args}
        self.direct = {n for n in self.factors if n.kind == "Input" and n not in inside}  # as loaded
        self.sums = [dot for dots in self.grid.dots for dot in dots if dot.kind == "Dot"]
        self.roots = [*self.factors, *kernel.roots]
        self.naming = Naming(kernel, builder, self.roots, [*self._titles()])
        self.addresses = Addresses(kernel, self.naming)
        self.statements = Statements(self.naming)

    def text(self) -> ContractText:
        """The whole kernel."""
        k, naming = self.kernel, self.naming
        inputs = {n.tensor for n in postorder(self.factors) if n.kind == "Input"}
        fixed = [t for t in k.inputs if self.along not in t.axes and t.name in inputs]
        moving = [t for t in k.inputs if self.along in t.axes]
        computed = self.statements.computing(naming.order.evaluation(self.factors))
        before = Section(self._bases(fixed), self._loads(fixed))
        body = Section(self._bases(moving), self._loads(moving), computed, tuple(self._products()))
        after = self._after([t for t in k.inputs if t not in fixed and t not in moving])
        return ContractText(
            name=k.name,
            form="contract",
            pointers=tuple(naming.pointers.values()),
            numbers=naming.numbers,
            sizes=naming.sizes,
            steps=(),
            unspecialised=self._unspecialised(),
            flags=naming.switches,
            rows=Index(naming.index[self.row], size_name(self.row), ()),
            kept=Index("".join(naming.index[axis] for axis in self.batch), "", ()),
            whole=False,
            inner=naming.index[k.inner[0]],
            inner_count=size_name(k.inner[0]),
            planes=self.addresses.planes(read([before, body, after])),
            places=(),
            before=before,
            body=body,
            sweeps=(),
            after=after,
            notes=header(k, "contract", naming.order.evaluation(self.roots, stop=self.sums), naming.names),
            helpers=frozenset(),
            along=naming.index[self.along],
            along_count=size_name(self.along),
            parted=bool(k.folds),
            sums=tuple(naming.names[dot] for dot in self.sums),
            precision=k.precision is not None,
        )

    def _titles(self) -> Iterator[Result]:
        """The sums are called as what is stored of them, the factors by their sides."""
        for tensor, fields in self._written():
            yield from ((f, tensor.component_name(i)) for i, f in enumerate(fields) if f in self.sums)
        yield from stored(self.kernel)
        for side, lines in (("left", self.grid.left), ("right", self.grid.right)):
            yield from ((f, side) for line in lines for f in line if f.kind not in ("Input", "Const"))

    def _written(self) -> Iterator[tuple[Tensor, Sequence[Node]]]:
        yield from ((o.tensor, o.fields) for o in self.kernel.stores)
        yield from ((f.tensor, f.fields) for f in self.kernel.folds)

    def _unspecialised(self) -> tuple[str, ...]:
        """All sizes but those along which some tensor is contiguous: Triton asks whether its rows are aligned."""
        kept = {size_name(t.axes[-1]) for t in self.addresses.tensors if len(t.axes) > 1} | {*self.naming.starts}
        return tuple(size for size in self.naming.sizes if size not in kept)

    # addresses: a 64-bit base for each tile, 32-bit offsets within it

    def _bases(self, tensors: Iterable[Tensor]) -> tuple[Statement, ...]:
        axes, addresses = self.kernel.axes, self.addresses
        return tuple(addresses.base(t, addresses.axis_offset(t, axes)) for t in tensors if t.axes)

    def _result_bases(self) -> tuple[Statement, ...]:
        k = self.kernel
        partials = (self.addresses.partial_base(fold.tensor, "program", k.axes) for fold in k.folds)
        return (*self._bases(o.tensor for o in k.stores), *partials)

    def _at(self, tensor: Tensor, component: int, tile: Tile) -> str:
        base = (self.naming.bases if tensor.axes else self.naming.pointers)[tensor.name]
        along = [(i, tile[d]) for i, d in enumerate(tensor.dims) if isinstance(d, str) and d in tile]
        offsets = [times(offset, *self.naming.stride(tensor, i)) for i, offset in along]
        return " + ".join([base, *self.addresses.component_offset(tensor, component), *offsets])

    def _within(self, tensor: Tensor, tile: Tile) -> list[str]:
        return [MASKS[offset] for axis, offset in tile.items() if axis in tensor.axes]

    # loads, factors, products, stores

    def _loads(self, tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        loads = []
        for tile, fields in ((self.left, self.grid.left), (self.right, self.grid.right)):
            inputs = [n for n in postorder({x for line in fields for x in line}) if n.kind == "Input"]
            for tensor in tensors:
                found = sorted((n for n in inputs if n.tensor == tensor.name), key=lambda n: n.component)
                loads += [self._load(tensor, node, tile) for node in found]
        return tuple(loads)

    def _load(self, tensor: Tensor, node: Node, tile: Tile) -> Access:
        mask = self.addresses.load_mask(tensor, *self._within(tensor, tile))
        kind = "MATRIX" if node in self.direct else "REAL"
        return Access((self.naming.names[node],), self._at(tensor, node.component, tile), mask, False, "", kind)

    def _products(self) -> Iterator[Statement]:
        """Each sum, and the pairs of factors that are multiplied into it."""
        for left, dots in zip(self.grid.left, self.grid.dots):
            for column, dot in enumerate(dots):
                if dot.kind == "Dot":
                    pairs = [(a, line[column]) for a, line in zip(left, self.grid.right)]
                    yield from (self._product(dot, a, b) for a, b in pairs if "Const" not in (a.kind, b.kind))

    def _product(self, dot: Node, a: Node, b: Node) -> Statement:
        return Statement(self.naming.names[dot], f"{self._operand(a)}, {self._operand(b)}")

    def _operand(self, node: Node) -> str:
        name = self.naming.names[node]
        return name if node in self.direct else f"{name}.to(MATRIX)"

    def _after(self, tensors: Sequence[Tensor]) -> Section:
        """Results that are computed of the sums, and the stores."""
        fields = [f for o in self.kernel.stores for f in o.fields]
        nodes = [n for n in self.naming.order.evaluation(fields, stop=self.sums) if n not in self.sums]
        inputs = sorted((n for n in nodes if n.kind == "Input" and n.tensor not in self.kernel.numbers), key=_place)
        by_name = {t.name: t for t in tensors}
        return Section(
            pointers=(*self._bases(tensors), *self._result_bases()),
            loads=tuple(self._load(by_name[n.tensor], n, self.result) for n in inputs),
            statements=self.statements.computing(nodes),
            stores=tuple(self._stores()),
        )

    def _stores(self) -> Iterator[Access]:
        for t, fields in self._written():
            flag = self.naming.wanted.get(t.memory, "")
            mask = " & ".join(self._within(t, self.result))
            for i, field in enumerate(fields):
                value = self.statements.value(field) if field.kind != "Const" else "tl.zeros([ROWS, BLOCK], REAL)"
                yield Access((value,), self._at(t, i, self.result), mask, False, flag)


def _place(node: Node) -> tuple[str, int]:
    return node.tensor, node.component
