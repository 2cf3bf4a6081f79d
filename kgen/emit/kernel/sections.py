"""A kernel as finished rows for its template: what is loaded, computed, accumulated and stored, where, in which order.

In: a `program.Kernel`. Out: `KernelText`, whose strings the templates only place. Guaranteed: every name is defined
before it is used, every access that can overrun has a mask, and addresses are int64 bases plus int32 offsets in a tile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgen.emit.kernel.headers import header
from kgen.emit.kernel.printer import Expressions, Extent, Names, component_index, steps, stride, times
from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.graph.order import Order, owners
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Fold, Kernel
from kgen.spec.private_names import size_name

LARGEST_CHUNK = (
    8  # adjacent components that a thread loads at once and splits in registers: 16 bytes in bf16, two loads in fp32
)


WIDTH = 106  # of a statement's name and expression; with the indent it fits a line of 120
LONGEST_INSIDE = 70  # characters of an expression inside another
TYPICAL_NAME = 8
FEW_USES = 3  # of a short product: the compiler finds what is equal, a reader has one name less to look up
NEUTRAL = {"sum": "0.0", "max": '-float("inf")'}  # what does not change a reduction
MOST_TOGETHER = 8  # row sums that travel through shared memory at once


@dataclass(frozen=True, slots=True)
class Access:
    """A load or a store. `names` are targets or values; several for adjacent components that travel together."""

    names: tuple[str, ...]
    pointer: str
    mask: str
    dense: bool  # all components of an element at once, from contiguous memory
    flag: str = ""  # compile-time switch that guards it
    kind: str = "REAL"  # the dtype of what is loaded: MATRIX for a factor of a matrix product


@dataclass(frozen=True, slots=True)
class Statement:
    """An assignment; a long sum is one statement that assigns and more that add."""

    name: str
    expression: str
    operator: str = "="


@dataclass(frozen=True, slots=True)
class Accumulator:
    """What a fold keeps in registers for one component of a result."""

    name: str
    expression: str
    function: str
    flag: str
    whole_row: bool  # the field is constant along the tile
    masked: bool  # lanes beyond the tile would be added into the result


@dataclass(frozen=True, slots=True)
class Section:
    """Consecutive work: loads, then statements and reductions in order, then accumulations and stores."""

    pointers: tuple[Statement, ...] = ()
    loads: tuple[Access, ...] = ()
    statements: tuple[Statement, ...] = ()
    accumulators: tuple[Accumulator, ...] = ()
    stores: tuple[Access, ...] = ()


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over a row in tiles: the tile's work, and the row's once the sums are known."""

    tile: Section
    row: Section


@dataclass(frozen=True, slots=True)
class Index:
    """A flat index, called like its axis where it is one, and the index along each of several axes."""

    name: str
    count: str
    axes: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class KernelText:
    """Everything a kernel template needs. `form` names the template: flat, tile, fold, sweep or contract."""

    name: str
    form: str
    pointers: tuple[str, ...]
    numbers: tuple[str, ...]
    sizes: tuple[str, ...]
    unspecialised: tuple[str, ...]  # all counts but the inner axis's size: they must not recompile
    flags: tuple[str, ...]
    rows: Index  # what a program's row, or its loop over rows, runs over
    kept: Index  # fold: the outer axes that are not folded
    whole: bool  # tile: the tile is a whole row
    inner: str
    inner_count: str
    planes: tuple[Statement, ...]
    before: Section  # what does not depend on the row; in a sweep, what does not depend on the tile
    body: Section
    sweeps: tuple[Sweep, ...]
    partial_bases: tuple[Statement, ...]
    partials: tuple[Access, ...]
    notes: tuple[str, ...]
    helpers: frozenset[str]  # what the template computes for addresses and partial results, by its name there

    @property
    def sections(self) -> tuple[Section, ...]:
        """All that it does, in order."""
        return (self.before, self.body, *(part for sweep in self.sweeps for part in (sweep.tile, sweep.row)))

    @property
    def read_beside(self) -> tuple[str, ...]:
        """What reads fields in no section."""
        return ()


class Writer:
    """The rows of one form of a kernel."""

    def __init__(self, kernel: Kernel, builder: Builder, form: str) -> None:
        self.kernel, self.form = kernel, form
        self.flat = kernel.flat
        self.inner = set(kernel.inner)
        self.outer = (*kernel.rows, *kernel.loop)
        self.blocked = kernel.loop if form == "fold" else kernel.rows  # what a block of rows runs over
        self.steps = _steps(kernel.written)
        self.names = Names(builder, kernel.inputs, {*map(size_name, self._sized_axes()), *self.steps.values()})
        self.order = Order(builder, kernel.nodes)
        self.roots = self._roots()
        self.nodes = self.order.evaluation(self.roots)
        self._name_arguments()
        self.named = self._choose_named()
        self._name_results()
        self._name_long()
        self._name_others()
        self.spell = Expressions(self.names, self.named, self.order)
        self.helpers: set[str] = set()
        self.planes: set[str] = set()  # what separates components in some address

    def _roots(self) -> list[Node]:
        """What the kernel is there to compute, in order."""
        return self.kernel.roots

    def _name_arguments(self) -> None:
        """What is no field, by what it belongs to: sizes keep their names, the others give way in this order."""
        k, unique = self.kernel, self.names.unique
        tensors = dict.fromkeys(t.name for t in (*k.inputs, *k.written))
        self.index = {axis: unique(axis) for axis in k.axes}
        numbers = {n.tensor: self.names[n] for n in self.nodes if n.kind == "Input" and n.tensor in k.numbers}
        self.numbers = tuple(numbers[name] for name in k.numbers)
        self.pointers = {name: unique(f"{name}_ptr") for name in tensors}
        self.bases = {name: unique(f"{name}_row") for name in tensors}
        self.given = {name: unique(f"HAS_{name.upper()}") for name in k.optional}  # may be missing, and read as zero
        self.flags = {t.name: unique(t.name.upper()) for t in k.written if t.name.startswith("grad_")}  # if wanted
        self.flag = unique(f"{k.turning.upper()}_INNERMOST") if k.turning else ""
        self.plane_names: dict[tuple[str, ...], str] = {}
        for tensor in (*k.inputs, *k.written):
            self._plane(tensor)

    # which fields are assigned to a name: what is used more than once, what the spec names, what is expensive

    def _choose_named(self) -> set[Node]:
        uses = dict.fromkeys(self.nodes, 0)
        for node in self.nodes:
            for a in _arguments(node):
                uses[a] += 1
        for root in self.kernel.roots:
            uses[root] += 1
        named = set()
        for node in self.nodes:
            if node.kind in ("Input", "Const"):
                continue
            few = FEW_USES if self._short(node) else 1
            if node.is_reduction or uses[node] > few or self.names.label(node):
                named.add(node)
        for node in self.nodes:  # a value that is constant along the tile is computed outside the tile's arithmetic
            for a in _arguments(node):
                below = a.kind not in ("Input", "Const") and a.axes != node.axes and not a.axes & self.inner
                if below and node.axes & self.inner and a.axes:
                    named.add(a)
        return named

    def _short(self, node: Node) -> bool:
        """Whether a field is a product of two others: written where it is used, it is computed once all the same."""
        leaves = (a.kind in ("Input", "Const", "Size") or self.names.label(a) for a in node.args)
        return node.kind == "Mul" and len(node.args) == 2 and all(leaves)

    def _name_results(self) -> None:
        """What the spec names keeps its name; other stored fields, and what is accumulated, have their result's."""
        for output in self.kernel.stores:
            for i, f in enumerate(output.fields):
                if f.kind not in ("Input", "Const", "Size"):
                    self.named.add(f)
                    self.names.claim(f, self.names.label(f) or output.tensor.component_name(i))
        self.accumulators = {
            (fold.tensor.name, i): self.names.unique(fold.tensor.component_name(i))
            for fold in self.kernel.folds
            for i in range(len(fold.fields))
        }

    def _name_long(self) -> None:
        """What would be long inside another expression is a statement of its own."""
        length: dict[Node, int] = {}
        for node in self.nodes:
            whole = sum(length[a] + 3 for a in _arguments(node)) + 8 * (node.kind == "Call")
            if whole > LONGEST_INSIDE and node.kind in ("Add", "Mul", "Call", "Reciprocal"):
                self.named.add(node)
            length[node] = TYPICAL_NAME if node in self.named or not node.args else whole

    def _name_others(self) -> None:
        """Inputs and what has a name first; then the rest, after the results that first need it."""
        for node in self.nodes:
            if node.kind == "Input" or (node in self.named and self.names.label(node)):
                self.names.claim(node, self.names.label(node))
        titles = {f: self.accumulators[g.tensor.name, i] for g in self.kernel.folds for i, f in enumerate(g.fields)}
        titles |= self.names.names
        owner = owners([n for n in self.nodes if n in titles])
        for node in self.nodes:
            if node in self.named:
                self.names.number(node, titles[owner.get(node, node)])

    # addresses

    def _plane(self, tensor: Tensor) -> list[tuple[str, str]]:
        """Names for the products of sizes that separate a tensor's components."""
        result = []
        for position, d in enumerate(tensor.dims):
            if isinstance(d, int):
                _, names = self._stride(tensor, position)
                if len(names) > 1:
                    product = " * ".join((f"tl.cast({names[0]}, tl.int64)", *names[1:]))
                    result.append((self._plane_name(names), product))
        return result

    def _stride(self, tensor: Tensor, position: int) -> Extent:
        """The distance between neighbours along a dim, of sizes and of steps by their names here."""
        factor, sizes = stride(tensor, position)
        return factor, tuple(self.steps.get(size, size) for size in sizes)

    def _own_steps(self, tensor: Tensor) -> dict[str, str]:
        """The steps of a tensor that may be turned, by name."""
        found = steps(tensor) if tensor.split else []
        return {self.steps[name]: f"{turned} if {self.flag} else {straight}" for name, turned, straight in found}

    def _plane_name(self, sizes: tuple[str, ...]) -> str:
        if sizes not in self.plane_names:
            step = sizes[-1] in self.steps.values()  # along an axis: all of them
            wish = sizes[-1].replace("_step", "_steps") if step else "".join(sizes)
            self.plane_names[sizes] = self.names.unique(wish)
        return self.plane_names[sizes]

    def _component_offset(self, tensor: Tensor, component: int) -> list[str]:
        steps: dict[tuple[str, ...], int] = {}
        for position, index in component_index(tensor, component):
            if index:
                factor, sizes = self._stride(tensor, position)
                names = (self._plane_name(sizes),) if len(sizes) > 1 else tuple(sizes)
                self.planes.update(names)
                steps[names] = steps.get(names, 0) + index * factor
        return [times(str(count), 1, names) for names, count in steps.items()]

    def _axis_offset(self, tensor: Tensor, axes: Iterable[str]) -> list[str]:
        terms = []
        for position, d in enumerate(tensor.dims):
            if isinstance(d, str) and d in axes:
                factor, sizes = self._stride(tensor, position)
                terms.append(times(self.index[d], factor, sizes))
        return terms

    def _chunk(self, tensor: Tensor) -> int:
        """How many adjacent components travel in one access."""
        last = tensor.dims[-1] if tensor.dims else None
        components = [d for d in tensor.dims if isinstance(d, int)]
        if not isinstance(last, int) or len(components) != 1 or not self.inner <= set(tensor.axes):
            return 1
        return min(LARGEST_CHUNK, last & -last)

    def _tile_offset(self, tensor: Tensor) -> str:
        """The element's offset within the tile, in units of the innermost stride."""
        if self.flat:
            return "tile"
        return self.index[self.kernel.inner[0]] if self.inner & set(tensor.axes) else ""

    def _pointer(self, tensor: Tensor, component: int) -> str:
        """Base pointer, component and position along the tile."""
        has_rows = bool(set(self.outer) & set(tensor.axes)) or self.flat
        base = (self.bases if has_rows else self.pointers)[tensor.name]
        offset = self._component_offset(tensor, component)
        tile = self._tile_offset(tensor)
        if not tile:
            return " + ".join([base, *offset, *self._down(tensor)])
        position = max(i for i, d in enumerate(tensor.dims) if d in self.inner)
        factor, sizes = self._stride(tensor, position)
        along = self._along(tensor, tile, factor, sizes)
        slower = bool(tensor.dims) and isinstance(tensor.dims[0], int)  # slowest first, as in the tensor
        return " + ".join([base, *(offset + along if slower else along + offset)])

    def _down(self, tensor: Tensor) -> list[str]:
        """The offset of a row within the block of rows."""
        if self.flat or len(self.blocked) != 1 or self.blocked[0] not in tensor.axes:
            return []
        factor, sizes = self._stride(tensor, tensor.dims.index(self.blocked[0]))
        return [times("r", factor, sizes)]

    def _along(self, tensor: Tensor, tile: str, factor: int, sizes: tuple[str, ...]) -> list[str]:
        """The offset along the tile, and down the block of rows: one index `at` where elements of rows are adjacent."""
        down = self._down(tensor)
        adjacent = [times("r", factor, (size_name(self.kernel.inner[0]), *sizes))]
        if down and down == adjacent:
            self.helpers.add("at")
            return [times("at", factor, sizes)]
        return [*down, times(tile, factor, sizes)]

    def _load_mask(self, tensor: Tensor, *masks: str) -> str:
        """The masks, and the switch of a tensor that may be missing."""
        return " & ".join(filter(None, [*masks, self.given.get(tensor.memory)]))

    def _mask(self, tensor: Tensor, store: bool = False) -> str:
        has_inner = bool(self.inner & set(tensor.axes))
        has_rows = bool(set(self.blocked) & set(tensor.axes))
        if has_inner:
            return "mask" if has_rows or self.form in ("flat", "sweep") else "tile_mask"
        guard = "row_mask" if has_rows else ""
        if store and self.kernel.kind != "row":
            self.helpers.add("first_tile")
            guard = f"{guard} & first_tile" if guard else "first_tile"
        return guard

    def _row_pointers(self, tensors: Iterable[Tensor]) -> tuple[Statement, ...]:
        rows = []
        for t in tensors:
            if self.flat:
                factor, _ = self._stride(t, max(i for i, d in enumerate(t.dims) if isinstance(d, str)))
                rows.append(Statement(self.bases[t.name], f"{self.pointers[t.name]} + {times('start', factor, ())}"))
            elif set(self.outer) & set(t.axes):
                offset = self._axis_offset(t, self.outer)
                rows.append(Statement(self.bases[t.name], " + ".join([self.pointers[t.name], *offset])))
        return tuple(rows)

    # loads and stores

    def _moving_loads(self, nodes: Sequence[Node], tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        """What is loaded for each row or tile. Of components that travel together the first ones are loaded last.

        Formulas read these first. Loaded first, they were computed with before the others were under way: the product's
        gradients of Cl(4,1) took 253 us, in this order 226 (H200, 4096 x 256).
        """
        loads = self._loads(nodes, tensors)
        together = [a for a in loads if a.dense]
        return tuple(together.pop() if a.dense else a for a in loads)

    def _loads(self, nodes: Sequence[Node], tensors: Iterable[Tensor], unused: str = "_") -> tuple[Access, ...]:
        """Components that travel with others and that nothing reads are called `unused`."""
        loads = []
        for tensor in tensors:
            used = {n.component: n for n in nodes if n.kind == "Input" and n.tensor == tensor.name}
            if not used:
                continue
            chunk = self._chunk(tensor)
            for first in range(0, len(tensor.labels), chunk):
                here = range(first, first + chunk)
                names = tuple(self.names[used[i]] if i in used else unused for i in here)
                if set(names) != {unused}:
                    loads.append(
                        Access(
                            names, self._pointer(tensor, first), self._load_mask(tensor, self._mask(tensor)), chunk > 1
                        )
                    )
        return tuple(loads)

    def _loads_before(self, tensors: Iterable[Tensor]) -> tuple[Access, ...]:
        """What is loaded once. Triton wants one type of a name before a loop and in it, so `_` is left to the loop."""
        unused = self.names.unique("unused") if self.form in ("fold", "sweep") else "_"
        return self._loads(self.nodes, tensors, unused)

    def _stores(self, whole: bool | None = None) -> tuple[Access, ...]:
        """Stores of results; with `whole`, only of those that have (False) or lack (True) the inner axis."""
        stores: list[Access] = []
        for output in self.kernel.stores:
            tensor = output.tensor
            if whole is not None and whole == bool(self.inner & set(tensor.axes)):
                continue
            flag = self.flags.get(tensor.name, "")
            values = tuple(self.spell.use(f) for f in output.fields)
            chunk = self._chunk(tensor)
            if chunk > 1:
                values = tuple(
                    v if f.axes >= self.inner else f"_fill({v}, mask, REAL)" for v, f in zip(values, output.fields)
                )
            for first in range(0, len(values), chunk):
                part = values[first : first + chunk]
                pointer, mask = self._pointer(tensor, first), self._mask(tensor, True)
                if self.kernel.kind == "row" and not self.kernel.rows and not self.inner & set(tensor.axes):
                    pointer, mask = f"{pointer} + r", "row_mask"  # a sum of the only row lies in a block of rows
                stores.append(Access(part, pointer, mask, chunk > 1, flag))
        return tuple(stores)

    # statements

    def _row_reductions(self, nodes: Sequence[Node], values: Sequence[str], mask: str) -> list[Statement]:
        """Row reductions of one level: the sums share one pass through shared memory."""
        result = []
        for kind in ("Sum", "Max"):
            chosen = [(self.names[n], v) for n, v in zip(nodes, values) if n.kind == kind]
            if kind == "Max":
                groups = [[c] for c in chosen]
            else:
                groups = [chosen[i : i + MOST_TOGETHER] for i in range(0, len(chosen), MOST_TOGETHER)]
            for group in groups:
                function = f"row_{kind.lower()}" + (str(len(group)) if len(group) > 1 else "")
                names, arguments = ", ".join(n for n, _ in group), ", ".join(v for _, v in group)
                result.append(Statement(names, f"_{function}({arguments}, {mask})"))
        return result

    def _statement(self, node: Node) -> list[Statement]:
        name = self.names[node]
        return [Statement(name, text, operator) for operator, text in self.spell.define(node, WIDTH - len(name))]

    def _statements(self, nodes: Iterable[Node]) -> tuple[Statement, ...]:
        return tuple(s for n in nodes if n in self.named for s in self._statement(n))

    # the whole kernel

    def text(self, name: str) -> KernelText:
        k = self.kernel
        results = k.written
        sizes = tuple(dict.fromkeys(size_name(a) for a in self._sized_axes()))
        before, body, sweeps = self._swept() if self.form == "sweep" else self._resident()
        partials = self._partials() if k.folds else ()
        rows = k.loop if self.form == "fold" else k.rows
        kept = k.rows if self.form == "fold" else ()
        return KernelText(
            name,
            self.form,
            tuple(self.pointers[t.name] for t in (*k.inputs, *results)),
            self.numbers,
            sizes,
            (*(s for s in sizes if s != size_name(k.inner[-1])), *(["programs"] if self.form == "fold" else [])),
            self._flags(),
            self._index("row", rows),
            self._index("kept", kept),
            k.kind == "row",
            self.index[k.inner[0]] if not self.flat else "tile",
            _count(k.inner),
            self._planes([*k.inputs, *results]),
            before,
            body,
            sweeps,
            self._partial_bases(),
            partials,
            header(k, self.form, self.nodes, self.names),
            frozenset(self.helpers),
        )

    def _flags(self) -> tuple[str, ...]:
        """Compile-time switches: of what may be missing, of gradients that may not be wanted, and of a memory order."""
        return (*self.given.values(), *self.flags.values(), *filter(None, [self.flag]))

    def _sized_axes(self) -> list[str]:
        """Axes whose size the kernel reads: its own, and those of Size fields."""
        return [*self.kernel.axes, *(n.axis for n in self.kernel.nodes if n.kind == "Size")]

    def _planes(self, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
        wanted = dict[str, str]()
        for t in tensors:
            wanted |= self._own_steps(t) | {name: text for name, text in self._plane(t) if name in self.planes}
        return tuple(Statement(name, text) for name, text in wanted.items())

    def _index(self, flat: str, axes: Sequence[str]) -> Index:
        if len(axes) == 1:
            return Index(self.index[axes[0]], _count(axes), ())
        return Index(flat, _count(axes), self._decode(f"({flat} + r)" if flat == "row" else flat, axes))

    def _decode(self, flat: str, axes: Sequence[str]) -> tuple[Statement, ...]:
        """The index along each of several axes from the flat index."""
        rows = []
        for i, axis in enumerate(axes):
            after = " * ".join(size_name(a) for a in axes[i + 1 :])
            text = f"{flat} // ({after})" if after else flat
            rows.append(Statement(self.index[axis], f"{text} % {size_name(axis)}" if i else text))
        return tuple(rows)

    # the tile is resident

    def _resident(self) -> tuple[Section, Section, tuple[Sweep, ...]]:
        k = self.kernel
        crowded = self.form == "fold" and k.crowded  # fields that lie apart need a pointer each, which stays, too
        fixed = [t for t in k.inputs if not set(self.outer) & set(t.axes) and not self.flat]
        fixed = [t for t in fixed if not (crowded and t.interleaved)]
        moving = [t for t in k.inputs if t not in fixed]
        hoisted = self._hoisted(fixed)
        before = Section(loads=self._loads_before(fixed), statements=self._statements(hoisted))
        body = Section(
            self._row_pointers([*moving, *(o.tensor for o in k.stores)]),
            self._moving_loads(self.nodes, moving),
            self._by_level(hoisted),
            tuple(self._accumulator(fold, i, n) for fold in k.folds for i, n in enumerate(fold.fields)),
            self._stores(),
        )
        return before, body, ()

    def _by_level(self, done: Iterable[Node]) -> tuple[Statement, ...]:
        """What the first reductions need, these together, what the next ones need, and so on; then the rest."""
        level = self._levels()
        pending = dict.fromkeys(n for n in self.nodes if n not in set(done))
        statements: list[Statement] = []
        for current in range(1, max(level.values(), default=0) + 1):
            reduced = [n for n in self.nodes if n.is_reduction and level[n] == current]
            needed = [n for n in self.order.evaluation([n.args[0] for n in reduced]) if n in pending]
            statements += self._statements(needed)
            statements += self._row_reductions(reduced, [self.spell.use(n.args[0]) for n in reduced], "mask")
            for n in (*needed, *reduced):
                pending.pop(n, None)
        return (*statements, *self._statements(pending))

    def _levels(self) -> dict[Node, int]:
        """How many reductions are nested at or below each field."""
        level: dict[Node, int] = {}
        for node in self.nodes:
            level[node] = max((level[a] for a in node.args), default=0) + node.is_reduction
        return level

    def _hoisted(self, loaded: Sequence[Tensor]) -> dict[Node, None]:
        """Fields that do not depend on the row are computed once, before the row's loads."""
        hoisted: dict[Node, None] = {}
        for node in self.nodes:
            known = node.kind != "Input" or node.tensor in {*(t.name for t in loaded), *self.kernel.numbers}
            free = not node.axes & set(self.outer) and not node.is_reduction and not self.flat and known
            if free and all(a in hoisted for a in node.args):
                hoisted[node] = None
        return hoisted

    def _accumulator(self, fold: Fold, component: int, node: Node) -> Accumulator:
        whole = not node.axes & self.inner
        flag = self.flags.get(fold.tensor.name, "")
        lacks = not self.inner & set(fold.tensor.axes)
        name = self.accumulators[fold.tensor.name, component]
        return Accumulator(name, self.spell.use(node), fold.reduction, flag, whole, lacks and not whole)

    def _partial_bases(self) -> tuple[Statement, ...]:
        """Where a program's partial results start: the workspace has a first dim for programs (and tiles)."""
        rows = []
        for fold in self.kernel.folds:
            t = fold.tensor
            slot = "slot" if not self.inner & set(t.axes) else "program"
            rows.append(self._partial_base(t, slot, self.kernel.rows))
        return tuple(rows)

    def _partial_base(self, tensor: Tensor, slot: str, axes: Iterable[str]) -> Statement:
        factor, sizes = self._stride(Tensor(tensor.name, (1, *tensor.dims)), 0)
        offsets = [times(f"tl.cast({slot}, tl.int64)", factor, sizes), *self._axis_offset(tensor, axes)]
        return Statement(self.bases[tensor.name], " + ".join([self.pointers[tensor.name], *offsets]))

    def _partials(self) -> tuple[Access, ...]:
        """Each program's result, at (slot, …) of the workspace of partial results."""
        result = []
        for fold in self.kernel.folds:
            t = fold.tensor
            lacks = not self.inner & set(t.axes)
            flag = self.flags.get(t.name, "")
            for i, node in enumerate(fold.fields):
                terms = [self.bases[t.name], *self._component_offset(t, i)]
                name = self.accumulators[t.name, i]
                if lacks:
                    self.helpers.add("slot")
                    value = f"tl.{fold.reduction}({name})"
                    if not node.axes & self.inner:  # every tile has the same: it counts once
                        self.helpers.add("first_tile")
                        value = f"tl.where(first_tile, {value}, {NEUTRAL[fold.reduction]})"
                    access = Access((value,), " + ".join(terms), "", False, flag)
                else:
                    along = self._axis_offset(t, self.kernel.inner)
                    terms = [terms[0], *along, *terms[1:]] if isinstance(t.dims[-1], int) else [*terms, *along]
                    access = Access(
                        (f"_column_{fold.reduction}({name}, ROWS)",), " + ".join(terms), "tile_mask", False, flag
                    )
                result.append(access)
        return tuple(result)

    # the row is swept in tiles

    def _swept(self) -> tuple[Section, Section, tuple[Sweep, ...]]:
        k = self.kernel
        level = self._levels()
        rowwise = [n for n in self.nodes if not n.axes & self.inner]
        before = Section(
            self._row_pointers([*k.inputs, *(o.tensor for o in k.stores)]),
            self._loads_before(t for t in k.inputs if not self.inner & set(t.axes)),
            self._statements(n for n in rowwise if level[n] == 0),
        )
        depth = max(level[n] for n in rowwise)
        sweeps = []
        for current in range(1, depth + 1):
            reduced = [n for n in self.nodes if n.is_reduction and level[n] == current]
            after = [n for n in rowwise if level[n] == current and not n.is_reduction]
            stores = self._stores(whole=True) if current == depth else ()
            totals = self._row_reductions(reduced, [self.names[n] for n in reduced], "True")
            row = Section(statements=(*totals, *self._statements(after)), stores=stores)
            sweeps.append(Sweep(self._tile_section(reduced, [], rowwise), row))
        results = [f for o in k.stores for f in o.fields if self.inner & set(o.tensor.axes)]
        if results:
            sweeps.append(Sweep(self._tile_section([], results, rowwise), Section()))
        return before, Section(), tuple(sweeps)

    def _tile_section(self, reduced: Sequence[Node], results: Sequence[Node], rowwise: Sequence[Node]) -> Section:
        needed = self.order.evaluation([*(n.args[0] for n in reduced), *results], stop=rowwise)
        along = [n for n in needed if n.axes & self.inner]
        return Section(
            loads=self._moving_loads(along, [t for t in self.kernel.inputs if self.inner & set(t.axes)]),
            statements=self._statements(along),
            accumulators=tuple(
                Accumulator(self.names[n], self.spell.use(n.args[0]), n.kind.lower(), "", False, True) for n in reduced
            ),
            stores=self._stores(whole=False) if results else (),
        )


def _steps(tensors: Iterable[Tensor]) -> dict[str, str]:
    """What the steps along tensors that may be turned are called in a kernel: by axes, one name for equal ones."""
    found, known = dict[str, str](), dict[tuple[str, str, str], str]()
    for tensor in (t for t in tensors if t.split):
        for name, turned, straight in steps(tensor):
            axis = name.removeprefix(f"{tensor.name}:")
            number = sum(a == axis for a, _, _ in known) + 1
            found[name] = known.setdefault((axis, turned, straight), f"{axis}_step{number if number > 1 else ''}")
    return found


def _arguments(node: Node) -> tuple[Node, ...]:
    """What a field's expression reads; a Dot has none, for it is a sum of its own."""
    return () if node.kind == "Dot" else node.args


def _count(axes: Sequence[str]) -> str:
    """The number of positions along axes; a product is computed in 64 bits."""
    names = [size_name(a) for a in axes]
    return " * ".join((f"tl.cast({names[0]}, tl.int64)", *names[1:])) if len(names) > 1 else (names or ["1"])[0]
