"""The form of whole rows of few features, with products of matrices inside.

In: a `program.Kernel` of kind "narrow". Out: a `NarrowText`. Guaranteed: as for other forms; what a product contracts
is zero beyond the end of its axis. A tile has all of a row: the block of rows runs down it and an axis across, or, of
weights, one axis down and another across. Each product is computed where its factors are loaded, so that few tiles are
alive at once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from kgen.emit.kernel.addresses import Addresses, read
from kgen.emit.kernel.block import LARGEST_CHUNK
from kgen.emit.kernel.headers import header
from kgen.emit.kernel.naming import Naming, stored
from kgen.emit.kernel.printer import number
from kgen.emit.kernel.rows import Access, Column, Index, Multiplication, NarrowText, Section, Statement
from kgen.emit.kernel.statements import Statements
from kgen.emit.kernel.strides import times
from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node, Number
from kgen.graph.tensor import Tensor
from kgen.schedule.narrow import multiple
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

ROW, ROW_MASK = "r", "row_mask"  # the template's


class _Tiles:
    """Where the tiles of a kernel lie, and which are loaded."""

    def __init__(self, kernel: Kernel, naming: Naming, row: str) -> None:
        self.kernel, self.naming, self.row = kernel, naming, row
        self.addresses = Addresses(kernel, naming)
        self.columns = {a: self._column(a, naming.names.unique) for a in kernel.inner}
        self.downs: dict[str, Column] = {}  # those that run down some tile
        self.loaded: dict[tuple[str, int, str], None] = {}  # tensors by their first components, and what runs down

    def _column(self, axis: str, unique: Callable[[str], str]) -> Column:
        index = self.naming.index[axis]
        block, mask, down = unique(f"BLOCK_{axis.upper()}"), unique(f"{index}_mask"), unique(f"{index}_down")
        return Column(size_name(axis), block, index, mask, down, unique(f"{down}_mask"))

    def base(self, tensor: Tensor) -> list[str]:
        return self.addresses.axis_offset(tensor, (self.row,))

    def at(self, tensor: Tensor, component: int, down: str) -> tuple[str, str]:
        """The pointer and the mask of a tile: along the block of rows, or with another axis that runs down."""
        naming, offsets, masks = self.naming, list[str](), list[str]()
        base = (naming.bases if self.row in tensor.axes or tensor in self.kernel.written else naming.pointers)[
            tensor.name
        ]
        for position, axis in enumerate(tensor.dims):
            if not isinstance(axis, str):
                continue
            if axis == self.row:
                index, mask = ROW, ROW_MASK
            elif axis == down:
                self.downs[axis] = self.columns[axis]
                index, mask = self.columns[axis].down, self.columns[axis].down_mask
            else:
                index, mask = self.columns[axis].index, self.columns[axis].mask
            offsets.append(times(index, *naming.stride(tensor, position)))
            masks.append(mask)
        pointer = " + ".join([base, *self.addresses.component_offset(tensor, component), *offsets])
        return pointer, self.addresses.load_mask(tensor, *masks)

    def chunk(self, tensor: Tensor) -> int:
        """How many adjacent components travel in one access."""
        counts = [d for d in tensor.dims if isinstance(d, int)]
        if not tensor.interleaved or len(counts) != 1:
            return 1
        return min(LARGEST_CHUNK, counts[0] & -counts[0])

    def loading(
        self,
        tensor: Tensor,
        names: Mapping[tuple[str, int], str],
        down: str,
        unused: str,
        wanted: Collection[tuple[str, int]] | None = None,
    ) -> Iterator[Access]:
        """The components of a tensor that have names, or those that are wanted, if they are not loaded yet.

        Those that travel with them are loaded, too.
        """
        chunk, chosen = self.chunk(tensor), names if wanted is None else wanted
        for first in range(0, len(tensor.labels), chunk):
            numbers = range(first, first + chunk)
            here = any((tensor.name, i) in chosen for i in numbers)
            if here and (tensor.name, first, down) not in self.loaded:
                self.loaded[tensor.name, first, down] = None
                together = tuple(names.get((tensor.name, i), unused) for i in numbers)
                yield Access(together, *self.at(tensor, first, down), chunk > 1)

    def storing(self, output: Output, values: Sequence[str], flag: str) -> Iterator[Access]:
        """The stores of a result; what is stored together has one shape."""
        tensor, chunk = output.tensor, self.chunk(output.tensor)
        for first in range(0, len(values), chunk):
            pointer, mask = self.at(tensor, first, "")
            here = list(zip(values, output.fields))[first : first + chunk]
            filled = [
                f"_fill({value}, {mask}, REAL)" if chunk > 1 and not field.axes >= set(tensor.axes) else value
                for value, field in here
            ]
            yield Access(tuple(filled), pointer, mask, chunk > 1, flag)


class Narrow:
    """The rows of a narrow kernel."""

    def __init__(self, kernel: Kernel, builder: Builder) -> None:
        self.kernel, self.builder = kernel, builder
        (self.row,) = kernel.rows or kernel.loop
        self.tensors = {t.name: t for t in kernel.inputs}
        self.sums = [(g.tensor, i, *multiple(f)) for g in kernel.folds for i, f in enumerate(g.fields)]
        factors = [x for *_, dot in self.sums for x in dot.args]
        self.naming = Naming(kernel, builder, [*(f for o in kernel.stores for f in o.fields), *factors], stored(kernel))
        self.statements = Statements(self.naming)
        # what sums of products are made of is made for each, so that fewer tiles are alive at once; the loads come
        # first, since a product's barrier holds back those that follow it, and each would be waited for by itself
        self.late = bool(self.sums) and not any(n.is_reduction for n in self.naming.nodes)
        self.tiles = _Tiles(kernel, self.naming, self.row)
        self.addresses, self.columns = self.tiles.addresses, self.tiles.columns
        self.weights: dict[tuple[Node, str], str] = {}  # the names of weights, by what runs down

    def text(self) -> NarrowText:
        """The whole kernel."""
        k, naming = self.kernel, self.naming
        products = tuple(self._products())
        shared = [t for t in k.inputs if self.row not in t.axes]
        moving = [t for t in k.inputs if self.row in t.axes]
        before = Section(loads=self._loads(shared, "unused"), statements=self.statements.computing(self._hoisted()))
        written = [*moving, *(o.tensor for o in k.stores)]
        body = Section(
            pointers=tuple(self.addresses.base(t, self.tiles.base(t)) for t in written),
            loads=self._loads(moving, "_"),
            statements=() if self.late else self._by_level(),
            products=products,
            stores=tuple(self._stores()),
            sums=tuple(self._accumulated()),
        )
        after = Section(
            pointers=tuple(self.addresses.partial_base(g.tensor, "program", ()) for g in k.folds),
            stores=tuple(self._partials()),
        )
        loads = Section(loads=tuple(a for p in products for a in p.loads))
        inner = k.inner[-1]
        return NarrowText(
            name=k.name,
            form="narrow",
            pointers=tuple(naming.pointers.values()),
            numbers=naming.numbers,
            sizes=naming.sizes,
            steps=(),
            unspecialised=(size_name(self.row),),
            flags=naming.switches,
            rows=Index(naming.index[self.row], size_name(self.row), ()),
            kept=Index("", "", ()),
            whole=True,
            inner=naming.index[inner],
            inner_count=size_name(inner),
            planes=self.addresses.planes(read([before, body, loads, after])),
            places=(),
            before=before,
            body=body,
            sweeps=(),
            after=after,
            notes=header(k, "narrow", naming.nodes, naming.names),
            helpers=frozenset(),
            columns=tuple(self.columns.values()),
            downs=tuple(self.tiles.downs.values()),
            sums=tuple(self._tiles_of_sums()),
            parted=bool(k.folds),
        )

    # loads

    def _loads(self, tensors: Iterable[Tensor], unused: str) -> tuple[Access, ...]:
        """What is read element by element; names that nothing reads have one type before a loop and in it."""
        nodes = [n for n in self.naming.nodes if n.kind == "Input" and n.tensor in self.tensors]
        names = {(n.tensor, n.component): self.naming.names[n] for n in nodes}
        unused = self.naming.names.unique(unused) if unused != "_" else unused
        return tuple(a for t in tensors for a in self.tiles.loading(t, names, "", unused))

    def _factor(self, node: Node, down: str) -> tuple[str, tuple[Access, ...]]:
        """An input as a factor of a product, and what loads it."""
        tensor = self.tensors[node.tensor]
        every = [self.builder.input(tensor.name, i, tensor.axes) for i in range(len(tensor.labels))]
        wanted = self.operands if down else self.operands | set(self.naming.nodes)
        names = {(tensor.name, n.component): self._name(n, down) for n in every if n in wanted}
        here = {(tensor.name, node.component)}
        return f"{self._name(node, down)}.to(MATRIX)", tuple(self.tiles.loading(tensor, names, down, "_", here))

    def _name(self, node: Node, down: str) -> str:
        """What a tile is called; weights with either axis down are two."""
        if not down:
            return self.naming.names[node]
        if (node, down) not in self.weights:
            self.weights[node, down] = self.naming.names.unique(self.naming.names.label(node))
        return self.weights[node, down]

    # products along rows

    @property
    def operands(self) -> set[Node]:
        """The inputs that are factors of products."""
        return {n for dot, _ in self._multiplied() for x in dot.args for n in (x.single[0][1],)}

    def _multiplied(self) -> Iterator[tuple[Node, Node]]:
        """The products that something reads, and what is read in their place."""
        read = set(self.naming.nodes)
        for output in self.kernel.inside:
            for i, dot in enumerate(output.fields):
                place = self.builder.input(output.tensor.name, i, output.tensor.axes)
                if place in read:
                    yield dot, place

    def _products(self) -> Iterator[Multiplication]:
        for dot, place in self._multiplied():
            (along,) = dot.over
            for at, pair in enumerate(dot.pairs):
                left, right = pair if self.row in pair[0].axes else pair[::-1]
                ((c, x),), ((d, w),) = left.single, right.single
                first, loads = self._factor(x, "")
                second, further = self._factor(w, along)
                scaled = first if c * d == 1 else f"({number(c * d)} * {self._name(x, '')}).to(MATRIX)"
                yield Multiplication(self.naming.names[place], f"{scaled}, {second}", (*loads, *further), at > 0)

    # sums along rows of products

    def _tiles_of_sums(self) -> Iterator[tuple[str, str, str]]:
        for tensor, i, _, dot in self.sums:
            if dot.kind == "Dot":
                down, across = (self.columns[a].block for a in tensor.axes)
                yield self.naming.accumulators[tensor.name, i], down, across

    def _accumulated(self) -> Iterator[Multiplication]:
        """The products, those that share a factor one after the other; what makes their factors just before them."""
        pending = [(t, i, pair) for t, i, _, dot in self.sums if dot.kind == "Dot" for pair in dot.pairs]
        done = {*self._hoisted(), *(n for n in self.naming.nodes if n.kind == "Input")}
        while pending:
            tensor, i, pair = pending.pop(0)
            pending.sort(key=lambda other: set(pair).isdisjoint(other[2]))
            first, second = tensor.axes
            left, right = pair if first in pair[0].axes else pair[::-1]
            needed = [n for n in self.naming.order.evaluation([left, right]) if n not in done]
            done.update(needed)
            factors = f"tl.trans({self._whole(left, first)}), {self._whole(right, second)}"
            name = self.naming.accumulators[tensor.name, i]
            yield Multiplication(name, factors, (), True, self.statements.computing(needed))

    def _whole(self, node: Node, axis: str) -> str:
        """A factor that is zero beyond the rows; what is loaded is by itself."""
        value = self.statements.value(node)
        if node.kind != "Input":
            value = f"tl.where({ROW_MASK} & {self.columns[axis].mask}, {value}, 0.0)"
        return f"{value}.to(MATRIX)"

    def _partials(self) -> Iterator[Access]:
        for fold in self.kernel.folds:
            down, chunk = fold.tensor.axes[0], self.tiles.chunk(fold.tensor)
            values = tuple(self._accumulator(*each) for each in self.sums if each[0] == fold.tensor)
            for first in range(0, len(values), chunk):
                place, flag = self.tiles.at(fold.tensor, first, down), self.naming.wanted.get(fold.tensor.name, "")
                yield Access(values[first : first + chunk], *place, chunk > 1, flag)

    def _accumulator(self, tensor: Tensor, component: int, factor: Number, dot: Node) -> str:
        """What was accumulated of a component; nothing, where it is zero."""
        if dot.kind != "Dot":
            down, across = (self.columns[a].block for a in tensor.axes)
            return f"tl.zeros([{down}, {across}], REAL)"
        name = self.naming.accumulators[tensor.name, component]
        return name if factor == 1 else f"{number(factor)} * {name}"

    # fields

    def _hoisted(self) -> list[Node]:
        """Fields that do not depend on the row."""
        known = {t.name for t in self.kernel.inputs if self.row not in t.axes} | {*self.kernel.numbers}
        found = dict[Node, None]()
        for node in self.naming.nodes:
            free = self.row not in node.axes and not node.is_reduction
            if free and (node.kind != "Input" or node.tensor in known) and all(a in found for a in node.args):
                found[node] = None
        return [*found]

    def _by_level(self) -> tuple[Statement, ...]:
        """What the first reductions need, these together, what the next ones need, and so on; then the rest."""
        done = set(self._hoisted())
        pending = dict.fromkeys(n for n in self.naming.nodes if n not in done)
        statements: list[Statement] = []
        for level in range(1, max(self.statements.level.values(), default=0) + 1):
            reduced = self.statements.reductions(level)
            needed = [n for n in self.naming.order.evaluation([n.args[0] for n in reduced]) if n in pending]
            statements += self.statements.computing(needed)
            for axis in dict.fromkeys(a for n in reduced for a in n.over):
                here = [n for n in reduced if axis in n.over]
                values, mask = [self.statements.value(n.args[0]) for n in here], self.columns[axis].mask
                statements += self.statements.reducing(here, values, f"{ROW_MASK} & {mask}")
            for n in (*needed, *reduced):
                pending.pop(n, None)
        return (*statements, *self.statements.computing(pending))

    def _stores(self) -> Iterator[Access]:
        for output in self.kernel.stores:
            values = [self.statements.value(f) for f in output.fields]
            yield from self.tiles.storing(output, values, self.naming.wanted.get(output.tensor.name, ""))
