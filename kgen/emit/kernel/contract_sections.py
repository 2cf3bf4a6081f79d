"""A contract kernel as finished rows for its template: a matrix product that computes its factors on the way.

In: a `program.Kernel` of kind "contract". Out: a `KernelText`. Guaranteed: as for other kernels; and beyond the end of
the contracted axis one of the factors is zero. Three tiles have axes of their own: the left factor's runs down the rows
and across the contracted axis, the right one's down the contracted axis and along the columns, the result's down the
rows and along the columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kgen.emit.kernel.headers import header
from kgen.emit.kernel.printer import times
from kgen.emit.kernel.sections import Access, Index, KernelText, Section, Statement, Writer
from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

ROW, COLUMN, ACROSS, DOWN = "row", "column", "across", "down"  # offsets within tiles, as columns and rows of numbers
MASKS = {ROW: "row_mask", COLUMN: "column_mask", ACROSS: "across_mask", DOWN: "down_mask"}

Tile = Mapping[str, str]  # the offset that runs along each of a tile's axes


@dataclass(frozen=True, slots=True)
class ContractText(KernelText):
    """What the template needs besides: `rows`, `kept` and `inner` are the result's rows, its batch and its columns."""

    along: str  # the contracted axis
    along_count: str
    parted: bool  # programs share the contracted axis, and store partial sums
    sums: tuple[str, ...]  # accumulators
    products: tuple[Statement, ...]  # what is added to them, two factors each time
    after: Section  # what is computed of the sums, and the stores
    precision: bool  # whether the launcher says how fp32 is multiplied

    @property
    def sections(self) -> tuple[Section, ...]:
        return (self.before, self.body, self.after)

    @property
    def read_beside(self) -> tuple[str, ...]:
        return tuple(p.expression for p in self.products)


class ContractWriter(Writer):
    """The rows of a contract kernel."""

    def __init__(self, kernel: Kernel, builder: Builder) -> None:
        assert kernel.contraction
        self.contraction = kernel.contraction
        self.factors = self.contraction.factors
        shape, self.grid = self.contraction.shape, self.contraction.grid
        (row,), (along,), (column,) = shape.rows, shape.contracted, shape.columns
        self.left, self.right = {row: ROW, along: ACROSS}, {along: DOWN, column: COLUMN}
        self.result = {row: ROW, column: COLUMN}
        self.row, self.along, self.batch = row, along, shape.batch
        inside = {a for n in postorder(self.factors) for a in n.args}
        self.direct = {n for n in self.factors if n.kind == "Input" and n not in inside}  # as loaded
        self.written = [
            *((o.tensor, o.fields) for o in kernel.stores),
            *((f.tensor, f.fields) for f in kernel.folds),
        ]
        self.sums = [dot for dots in self.grid.dots for dot in dots if dot.kind == "Dot"]
        super().__init__(kernel, builder, "contract")

    def _roots(self) -> list[Node]:
        return [*self.factors, *self.kernel.roots]

    def _name_results(self) -> None:
        """The sums are called as what is stored of them, the factors by their sides."""
        for tensor, fields in self.written:
            for i, field in enumerate(fields):
                if field in self.sums:
                    self.names.claim(field, self.names.label(field) or tensor.component_name(i))
        super()._name_results()
        for side, lines in (("left", self.grid.left), ("right", self.grid.right)):
            for field in (x for line in lines for x in line if x.kind not in ("Input", "Const")):
                self.names.claim(field, self.names.label(field) or side)
                self.named.add(field)
        self.named |= set(self.sums)

    def text(self, name: str) -> ContractText:
        k = self.kernel
        sizes = tuple(dict.fromkeys(size_name(a) for a in self._sized_axes()))
        read = {n.tensor for n in postorder(self.factors) if n.kind == "Input"}
        fixed = [t for t in k.inputs if self.along not in t.axes and t.name in read]
        moving = [t for t in k.inputs if self.along in t.axes]
        before = Section(self._bases(fixed), self._tile_loads(fixed))
        body = Section(self._bases(moving), self._tile_loads(moving), self._computed())
        after = self._after([t for t in k.inputs if t not in fixed and t not in moving])
        return ContractText(
            name,
            self.form,
            tuple(self.pointers[t.name] for t in (*k.inputs, *k.written)),
            self.numbers,
            sizes,
            self._unspecialised(sizes, (*k.inputs, *k.written)),
            self._flags(),
            Index(self.index[self.row], size_name(self.row), ()),
            Index("".join(self.index[axis] for axis in self.batch), "", ()),
            False,
            self.index[k.inner[0]],
            size_name(k.inner[0]),
            self._planes([*k.inputs, *k.written]),
            before,
            body,
            (),
            (),
            (),
            header(k, self.form, self.order.evaluation(self.roots, stop=self.sums), self.names),
            frozenset(self.helpers),
            self.index[self.along],
            size_name(self.along),
            bool(k.folds),
            tuple(self.names[dot] for dot in self.sums),
            self._products(),
            after,
            k.precision is not None,
        )

    def _unspecialised(self, sizes: Sequence[str], tensors: Iterable[Tensor]) -> tuple[str, ...]:
        """All sizes but those along which some tensor is contiguous: Triton asks whether its rows are aligned."""
        kept = {size_name(t.axes[-1]) for t in tensors if len(t.axes) > 1}
        return tuple(size for size in sizes if size not in kept)

    # addresses: a 64-bit base for each tile, 32-bit offsets within it

    def _bases(self, tensors: Iterable[Tensor]) -> tuple[Statement, ...]:
        return tuple(
            Statement(self.bases[t.name], " + ".join([self.pointers[t.name], *self._axis_offset(t, self.kernel.axes)]))
            for t in tensors
            if t.axes
        )

    def _result_bases(self) -> tuple[Statement, ...]:
        k = self.kernel
        partials = (self._partial_base(fold.tensor, "program", k.axes) for fold in k.folds)
        return (*self._bases(o.tensor for o in k.stores), *partials)

    def _at(self, tensor: Tensor, component: int, tile: Tile) -> str:
        base = (self.bases if tensor.axes else self.pointers)[tensor.name]
        offsets = []
        for position, axis in enumerate(tensor.dims):
            if isinstance(axis, str) and axis in tile:
                offsets.append(times(tile[axis], *self._stride(tensor, position)))
        return " + ".join([base, *self._component_offset(tensor, component), *offsets])

    def _within(self, tensor: Tensor, tile: Tile) -> list[str]:
        return [MASKS[offset] for axis, offset in tile.items() if axis in tensor.axes]

    # loads, factors, products, stores

    def _tile_loads(self, tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        loads = []
        for tile, fields in ((self.left, self.grid.left), (self.right, self.grid.right)):
            inputs = [n for n in postorder({x for line in fields for x in line}) if n.kind == "Input"]
            for tensor in tensors:
                found = sorted((n for n in inputs if n.tensor == tensor.name), key=lambda n: n.component)
                loads += [self._load(tensor, node, tile) for node in found]
        return tuple(loads)

    def _load(self, tensor: Tensor, node: Node, tile: Tile) -> Access:
        mask = self._load_mask(tensor, *self._within(tensor, tile))
        kind = "MATRIX" if node in self.direct else "REAL"
        return Access((self.names[node],), self._at(tensor, node.component, tile), mask, False, "", kind)

    def _computed(self) -> tuple[Statement, ...]:
        """What is computed of the loaded fields: all that is named, and the factors."""
        return self._statements(self.order.evaluation(self.factors))

    def _products(self) -> tuple[Statement, ...]:
        """Each sum, and the pairs of factors that are multiplied into it."""
        rows = []
        for left, dots in zip(self.grid.left, self.grid.dots):
            for column, dot in enumerate(dots):
                if dot.kind == "Dot":
                    pairs = [(a, line[column]) for a, line in zip(left, self.grid.right)]
                    rows += [self._product(dot, a, b) for a, b in pairs if "Const" not in (a.kind, b.kind)]
        return tuple(rows)

    def _product(self, dot: Node, a: Node, b: Node) -> Statement:
        return Statement(self.names[dot], f"{self._operand(a)}, {self._operand(b)}")

    def _operand(self, node: Node) -> str:
        return self.names[node] if node in self.direct else f"{self.names[node]}.to(MATRIX)"

    def _after(self, tensors: Sequence[Tensor]) -> Section:
        """Results that are computed of the sums, and the stores."""
        fields = [f for o in self.kernel.stores for f in o.fields]
        nodes = [n for n in self.order.evaluation(fields, stop=self.sums) if n not in self.sums]
        inputs = sorted((n for n in nodes if n.kind == "Input" and n.tensor not in self.kernel.numbers), key=_place)
        by_name = {t.name: t for t in tensors}
        return Section(
            (*self._bases(tensors), *self._result_bases()),
            tuple(self._load(by_name[n.tensor], n, self.result) for n in inputs),
            self._statements(nodes),
            (),
            self._sums_stored(),
        )

    def _sums_stored(self) -> tuple[Access, ...]:
        stores = []
        for t, fields in self.written:
            flag = self.flags.get(t.name, "")
            mask = " & ".join(self._within(t, self.result))
            for i, field in enumerate(fields):
                name = self.spell.use(field) if field.kind != "Const" else "tl.zeros([ROWS, BLOCK], REAL)"
                stores.append(Access((name,), self._at(t, i, self.result), mask, False, flag))
        return tuple(stores)


def _place(node: Node) -> tuple[str, int]:
    return node.tensor, node.component
