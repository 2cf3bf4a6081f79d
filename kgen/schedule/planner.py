"""The kernels and matrix products of one program: where it is cut, in which order its steps run.

In: results of a graph. Out: steps that make them, with the reason for each decision as text that emitted comments
print. The rules are those of `schedule.py`'s docstring.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Names, Node, postorder
from kgen.graph.simplify import cost, naive_cost, simplify
from kgen.graph.tensor import Tensor
from kgen.schedule.fusion import Fusion, fusion, lifted, rides, splits
from kgen.schedule.intermediates import (
    as_outputs,
    depends,
    frontier_of,
    labels_of,
    regroup,
    store_between,
    substituted,
    under_all_names,
)
from kgen.schedule.products import (
    MATRIX,
    Contraction,
    Factor,
    Grid,
    Operand,
    Pairing,
    Product,
    Summed,
    Way,
    alike,
    apart,
    contractions,
    joined,
    levels,
    stored,
    summed,
    targets,
    ways,
)
from kgen.schedule.program import CROWDED, MOST_LIVE, Fold, Kernel
from kgen.spec.model import PRECISIONS


class Planner:
    """Places the kernels of one direction; `plan` returns them in launch order."""

    def __init__(
        self, graph: Graph, name: str, stored: dict[Node, Node] | None = None, optional: Sequence[str] = ()
    ) -> None:
        self.graph, self.builder, self.name, self.optional = graph, graph.builder, name, optional
        self.outer, self.inner = graph.axes[:-1], graph.axes[-1]
        self.stored = stored or {}
        self.tensors = {t.name: t for t in graph.inputs}
        self.known: dict[Node, Node] = {}  # fields that kernels have stored for others, as inputs
        self.factors: dict[tuple[object, ...], Tensor] = {}  # stored factors, by fields, memory order and split
        self.steps: list[Kernel | Product] = []
        self.alternatives: list[tuple[str, str]] = []
        self.why: tuple[str, ...] = ()
        self.coming: list[Node] = []  # fields that are computed after the factors of products

    def plan(self, outputs: list[Output]) -> list[Kernel | Product]:
        """The steps for some results; what needs different matrix products is done one after the other."""
        for cluster in self._by_dots(outputs):
            self._stage(self._store_products(cluster))
        written = {t.name for step in self.steps for t in step.written}
        assert {o.tensor.name for o in outputs} <= written, f"{self.name} leaves a result unwritten"
        return self.steps

    def _by_dots(self, outputs: Sequence[Output]) -> list[list[Output]]:
        """Results that share matrix products; what needs none is computed along with the first."""
        clusters: list[tuple[set[Node], list[Output]]] = []
        for output in outputs:
            dots, members = {n for n in postorder(output.fields) if n.kind == "Dot"}, [output]
            if dots:
                for other in [c for c in clusters if c[0] & dots]:
                    clusters.remove(other)
                    dots, members = dots | other[0], [*other[1], *members]
                clusters.append((dots, members))
        chosen = [members for _, members in clusters] or [[]]
        chosen[0] += [o for o in outputs if not any(o in members for members in chosen)]
        return chosen

    def _stage(self, outputs: list[Output], *why: str) -> None:
        """The kernels of results without Dots; the innermost of the axes that they involve is their inner one."""
        groups: dict[str, list[Output]] = {}
        for output in substituted(self.builder, outputs, self.known):
            axes = frozenset(output.tensor.axes).union(*(n.axes for n in postorder(output.fields)))
            groups.setdefault(([self.inner, *(a for a in self.graph.axes if a in axes)])[-1], []).append(output)
        whole, self.why = (self.outer, self.inner), why
        for inner, group in groups.items():
            self.inner, self.outer = inner, self.graph.axes[: self.graph.axes.index(inner)]
            self._kernels(group)
        (self.outer, self.inner), self.why = whole, ()

    def _kernels(self, outputs: list[Output]) -> None:
        outputs = self._store_folds(outputs)
        folds, plain = [], []
        for output in outputs:
            parts = self._parts(output)
            if parts:
                folds.append((output, parts))
            else:
                plain.append(output)
        self._place(plain, folds)

    # matrix products

    def _store_products(self, outputs: list[Output]) -> list[Output]:
        """Level by level, make the Dots; gives the results that are still to be computed, which read them."""
        while found := levels(postorder(f for o in outputs for f in o.fields))[:1]:
            dots = self._distinct(found[0])
            sums = apart(self.builder, self.graph.axes, dots)
            whole = [part for dot in dots for _, part in sums.get(dot, [(1, dot)])]
            products = contractions(self.builder, self.graph.axes, whole, outputs, sums)
            self.coming = [f for o in outputs for f in o.fields]
            direct = targets(products, self._storable(outputs))
            chosen = [self._fusion(c, direct.get(c)) for c in products]
            added = self._added(products, chosen, outputs)
            early, outputs = self._early(added, outputs)
            direct |= targets(products, [s.products for s in added])
            products, chosen = self._together(products, chosen, direct, outputs)
            direct |= targets(products, self._storable(outputs))
            operands = self._operands(products, chosen, early)
            table: dict[Node, Node] = {}
            for c, choice, (left, right) in zip(products, chosen, operands):
                target = direct.get(c) or self._new_result(c)
                result = self.tensors[target.tensor.name] = self.builder.declare(target.tensor)
                is_added = any(target.tensor is s.products.tensor for s in added)
                if choice.computed:
                    outputs = self._contract(c, (left, right), target, c in direct, outputs, choice.why)
                else:
                    assert left and right
                    self.steps.append(self._product(c, left, right, target, choice.why, is_added))
                if not is_added:  # else more than the product lies there
                    table |= self._read_from(result, c.fields, target.first)
                outputs = [o for o in outputs if o.tensor is not result]
            table |= {dot: self.builder.linear((c, table[x]) for c, x in terms) for dot, terms in sums.items()}
            table.pop(self.builder.zero, None)
            outputs = substituted(self.builder, outputs, under_all_names(self.builder, table))
        self.coming = []
        return outputs

    def _added(
        self, products: Sequence[Contraction], chosen: Sequence[Fusion], outputs: Sequence[Output]
    ) -> list[Summed]:
        """The results that the library's products are added to, once the rest of them is there."""
        plain = [c for c, choice in zip(products, chosen) if not choice.computed]
        found = summed(self.builder, plain, [o for o in outputs if not self._is_read(o)])
        return [s for s in found if targets(plain, [s.products])]

    def _together(
        self,
        products: Sequence[Contraction],
        chosen: Sequence[Fusion],
        direct: Mapping[Contraction, Operand],
        outputs: Sequence[Output],
    ) -> tuple[list[Contraction], list[Fusion]]:
        """The products, those of one size as batches: one after the other, small ones leave a part of a GPU idle.

        Only if the same gradients need them, of which not all may be wanted, and if their factors, where they lie in
        memory, and the results that they are lie one after the other, too.
        """
        why, found = dict(zip(products, chosen)), dict[Contraction, Contraction]()
        below = {o.tensor.name: set(postorder(o.fields)) for o in outputs if o.tensor.name.startswith("grad_")}

        def kind(c: Contraction) -> object:
            dots = {dot for dot in c.fields if dot.kind == "Dot"}
            reached = frozenset(o for o, nodes in below.items() if not nodes.isdisjoint(dots))
            return c if why[c].computed else reached

        for members in alike(products, kind):
            whole = joined(self.builder, members, self._lies)
            if whole and (direct.keys().isdisjoint(members) or targets([whole], self._storable(outputs))):
                found |= dict.fromkeys(members, whole)
        fusions = dict[Contraction, Fusion]()
        for c in products:
            fusions.setdefault(found.get(c, c), why[c])
        return list(fusions), list(fusions.values())

    def _lies(self, factor: Factor) -> bool:
        return self._there(self._plainest(factor)) is not None

    def _early(self, added: Sequence[Summed], outputs: list[Output]) -> tuple[list[Output], list[Output]]:
        """What is computed before products: what these are added to, and beside that all that needs none; the rest."""
        if not added:
            return [], outputs
        ready = [o for o in outputs if not any(n.kind == "Dot" for n in postorder(o.fields))]
        names = {s.rest.tensor.name for s in added} | {o.tensor.name for o in ready}
        return [*(s.rest for s in added), *ready], [o for o in outputs if o.tensor.name not in names]

    def _read_from(self, tensor: Tensor, fields: Sequence[Node], first: int | None = None) -> dict[Node, Node]:
        """What is read in place of fields that are the components of a tensor from the first on."""
        return {f: self.builder.input(tensor.name, i, tensor.axes) for i, f in enumerate(fields, first or 0)}

    def _fusion(self, c: Contraction, target: Operand | None) -> Fusion:
        if target and (target.first is not None or target.tensor.interleaved):
            return Fusion((), ())
        missing = [f for f in (c.left, c.right) if not self._there(self._plainest(f))]
        return fusion(c, missing, self.graph.axes, self._known_tensors())

    def _with_stored(self, c: Contraction, operands: Pairing) -> Contraction:
        """The product with what is stored of its factors as inputs."""
        table = dict[Node, Node]()
        for factor, operand in zip((c.left, c.right), operands):
            if operand:
                table |= self._read_from(operand.tensor, self._plainest(factor).fields, operand.first)
        table = under_all_names(self.builder, {f: x for f, x in table.items() if f.kind not in ("Input", "Const")})

        def read(fields: tuple[tuple[Node, ...], ...]) -> tuple[tuple[Node, ...], ...]:
            return tuple(tuple(table.get(x, x) for x in line) for line in fields)

        return replace(c, grids=(Grid(read(c.grid.left), read(c.grid.right), c.grid.dots),))

    def _contract(
        self,
        c: Contraction,
        operands: Pairing,
        target: Operand,
        direct: bool,
        outputs: list[Output],
        why: tuple[str, ...],
    ) -> list[Output]:
        """A kernel of our own for a product and for the results that ride with it; gives the others.

        The sums are stored where they are a result themselves, or another result reads them.
        """
        parted, whole = splits(c, self.graph.axes), self._with_stored(c, operands)
        known, own = self._known_tensors(), target.tensor.name
        riding = [o for o in outputs if not parted and o.tensor.name != own and rides(o, whole, known)]
        others = [o for o in outputs if o not in riding]
        read = postorder(f for o in others for f in o.fields)
        sums = under_all_names(self.builder, {dot: dot for dot in c.fields if dot.kind == "Dot"})
        kept = direct or not riding or any(dot in read for dot in sums)
        stores = [*([Output(target.tensor, c.fields)] if kept else []), *riding]
        self.steps.append(self._contract_kernel(whole, stores, parted, why, self._by_library(c, target, riding)))
        return others

    def _by_library(self, c: Contraction, target: Operand, riding: Sequence[Output]) -> list[Kernel | Product]:
        """The steps that do the same with stored factors: without tensor cores the library is faster."""
        steps, factors, known, why = self.steps, dict(self.factors), dict(self.known), self.why
        self.steps = []
        ((left, right),) = self._operands([c], [Fusion((), ())], turn=False)
        assert left and right
        self.steps.append(self._product(c, left, right, target, ()))
        table = self._read_from(target.tensor, c.fields)
        table.pop(self.builder.zero, None)
        self._stage(substituted(self.builder, riding, under_all_names(self.builder, table)))
        found, self.steps, self.factors, self.known, self.why = self.steps, steps, factors, known, why
        name = f"{self._kernel_name()}_stored"
        return [replace(s, name=f"{name}{i or ''}") if isinstance(s, Kernel) else s for i, s in enumerate(found)]

    def _contract_kernel(
        self,
        c: Contraction,
        stores: Sequence[Output],
        parted: bool,
        why: tuple[str, ...],
        otherwise: Sequence[Kernel | Product],
    ) -> Kernel:
        c, stores = (c, stores) if parted else lifted(self.builder, c, stores)
        note = f"accumulates over {' '.join(c.shape.contracted)} in registers"
        note += "; the programs' sums are added in a fixed order" if parted else ""
        riding = (f"computes {o.tensor.name} of the sums" for o in stores if o.fields != c.fields)
        notes = (*why, note, *riding, *self._arithmetic())
        nodes = postorder([*c.factors, *(f for o in stores for f in o.fields)], stop=c.fields)
        tensors, operations = self._read(nodes), cost(c.factors)
        return Kernel(
            self._kernel_name(),
            "contract",
            (*c.shape.batch, *c.shape.rows),
            c.shape.contracted,
            c.shape.columns,
            tensors,
            tuple(n.tensor for n in nodes if n.kind == "Input" and n.tensor in self.graph.numbers),
            () if parted else tuple(stores),
            tuple(Fold(o.tensor, o.fields) for o in stores if parted),
            notes,
            operations,
            operations,
            live(c.factors, c.fields),
            False,
            tuple(dict.fromkeys(t.memory for t in tensors if t.memory in self.optional)),
            c,
            tuple(otherwise),
            self.graph.precision,
        )

    def _arithmetic(self) -> list[str]:
        """The note on a product's precision, where the spec fixes it."""
        found = self.graph.precision
        return [f"multiplies fp32 in {PRECISIONS[found]}, whatever torch's setting is"] if found else []

    def _kernel_name(self, suffix: str = "") -> str:
        number = sum(isinstance(s, Kernel) and s.name.startswith(self.name) for s in self.steps) - (suffix != "")
        return f"{self.name}{'_' + str(number) if number else ''}{suffix}"

    def _is_read(self, output: Output) -> bool:
        """Whether something is computed from a result, for which it must not be rounded to the result's dtype."""
        read = {a for n in postorder(self.coming) for a in n.args}
        return any(f in read for f in output.fields)

    def _storable(self, outputs: Sequence[Output]) -> list[Output]:
        """The results that products may be: nothing is computed from them, or they are of the products' dtype."""
        return [o for o in outputs if o.tensor.dtype or not self._is_read(o)]

    def _distinct(self, dots: Sequence[Node]) -> list[Node]:
        """The Dots without those that are others under other names of axes, whose results are read in their place."""
        chosen, twins = list[Node](), set[Node]()
        for dot in dots:
            if dot not in twins:
                chosen.append(dot)
                twins |= {self.builder.rename([dot], names)[0] for names in self.builder.exchanges}
        return chosen

    def _operands(
        self,
        products: Sequence[Contraction],
        chosen: Sequence[Fusion],
        early: Sequence[Output] = (),
        turn: bool = True,
    ) -> list[Pairing]:
        """Where the factors of products lie, none for those that are computed; those that lie nowhere are stored.

        Results that are computed `early` go along.
        """
        sides = [(self._plainest(c.left), self._plainest(c.right)) for c in products]
        tiled = self._in_tiles([f for pair, choice in zip(sides, chosen) if not choice.computed for f in pair], early)
        operands, fresh = list[Pairing](), list[Output]()
        for c, choice, (left, right) in zip(products, chosen, sides):
            there = self._there(left), self._there(right)
            turns = not there[0] and left in tiled, not there[1] and right in tiled
            a, b = ways(c, (there[0] or left, there[1] or right), turns)
            if choice.computed or not turn:
                a, b = (way if way is Way.FITS else Way.KEPT for way in (a, b))
            stored_left = None if c.left in choice.computed else self._operand(left, there[0], a, fresh)
            stored_right = None if c.right in choice.computed else self._operand(right, there[1], b, fresh)
            operands.append((stored_left, stored_right))
        why = ["stores factors of matrix products, in the order in which these read them"] if fresh else []
        why += ["stores what products are added to"] if early else []
        self._stage([*fresh, *early], *why)
        return operands

    def _there(self, factor: Factor) -> Operand | None:
        """Where a factor is already, in an order that no launcher chooses."""
        tensor = self.factors.get((factor.fields, factor.dims, 0))
        made = Operand(tensor, factor.transposed) if tensor else None
        return stored(factor, list(self._known_tensors().values())) or made

    def _operand(self, factor: Factor, there: Operand | None, way: Way, fresh: list[Output]) -> Operand:
        """A factor as a product reads it; one that is to be stored is added to `fresh`."""
        if there:
            return replace(there, way=way)
        key = (factor.fields, factor.dims, factor.split if way is Way.TURNED else 0)
        if key not in self.factors:
            labels = self._hinted(factor.fields)
            tensor = Tensor(
                self._numbered("operand"), factor.dims, labels, dtype=MATRIX, split=key[-1], several=factor.several
            )
            self.factors[key] = self.tensors[tensor.name] = self.builder.declare(tensor)
            fresh.append(Output(tensor, factor.fields))
        return Operand(self.factors[key], factor.transposed, way=way)

    def _in_tiles(self, factors: Sequence[Factor], beside: Sequence[Output]) -> list[Factor]:
        """The factors that a map kernel stores, which can turn tiles: nothing is reduced for them or beside them."""
        every: list[Factor | Output] = [*factors, *beside]
        below = {x: postorder(self.builder.substitute(x.fields, self.known)) for x in every}
        axes = {x: frozenset[str]().union(*(n.axes for n in below[x])) for x in below}
        reduced = [axes[x] for x in below if any(n.is_reduction for n in below[x])]
        return [f for f in factors if f.split and axes[f] not in reduced]

    def _plainest(self, factor: Factor) -> Factor:
        """The factor under the names of axes that fewest of its inputs have to be renamed for, the inner one last."""
        forms = [factor, *(_renamed(self.builder, factor, names) for names in self.builder.exchanges)]
        form = min(forms, key=lambda form: self._renamed_inputs(form.fields))
        last = self._last_axis(form)
        if form.turned and form.turned.dims[-1] == last:
            return replace(form.turned, turned=replace(form, turned=None))
        return form

    def _last_axis(self, factor: Factor) -> str:
        """The axis that is innermost in a factor: in a tensor that it repeats components of, or in the order of all."""
        tensors = {n.tensor if n.kind == "Input" else "" for n in factor.fields}
        (name,) = tensors if len(tensors) == 1 else ("",)
        axes = self._known_tensors()[name].axes if factor.several and name else self.graph.axes
        return max((d for d in factor.dims if isinstance(d, str)), key=axes.index)

    def _renamed_inputs(self, fields: Iterable[Node]) -> int:
        return sum(bool(t.source) for t in self._read(postorder(fields)))

    def _known_tensors(self) -> dict[str, Tensor]:
        """What has been stored, under all names of its axes."""
        others = {name: t for name, t in self.builder.tensors.items() if t.source in self.tensors}
        return self.tensors | others

    def _new_result(self, c: Contraction) -> Operand:
        return Operand(Tensor(self._numbered("contracted"), c.dims, self._hinted(c.fields), dtype=MATRIX), False)

    def _product(
        self,
        c: Contraction,
        left: Operand,
        right: Operand,
        target: Operand,
        why: tuple[str, ...],
        added: bool = False,
    ) -> Product:
        rows, contracted, columns = c.counts
        sides = [f"{n} fields by {' '.join(axes)}" for n, axes in ((rows, c.shape.rows), (columns, c.shape.columns))]
        note = f"{c.batch} at once: " if c.batch > 1 else ""
        note += f"rows {sides[0]}, columns {sides[1]}; contracts {contracted} fields by {' '.join(c.shape.contracted)}"
        orders = (f"{side}: {operand.way.value}" for side, operand in (("left", left), ("right", right)))
        notes = (note, *orders, *why, *self._arithmetic())
        precision, parted = self.graph.precision, splits(c, self.graph.axes)
        name = target.tensor.name
        return Product(name, c.shape, c.counts, left, right, target, notes, c.batch, added, precision, parted)

    def _hinted(self, fields: Sequence[Node]) -> tuple[str, ...]:
        return labels_of([self.builder.hints.get(f, "") for f in fields])

    def _parts(self, output: Output) -> list["_Part"]:
        """The result as one fold: all components reduced in one way over the same outer axes; else nothing."""
        parts = [_fold(self.builder, f, set(self.outer)) for f in output.fields]
        ways = {self._way(p) for p in parts if p and p.over}
        repeated = any(p.over & set(output.tensor.axes) for p in parts if p)  # along an axis that is summed
        return [p for p in parts if p] if None not in parts and len(ways) == 1 and not repeated else []

    def _way(self, part: "_Part") -> tuple[tuple[str, ...], str]:
        return tuple(a for a in self.outer if a in part.over), part.reduction

    def _group(self, node: Node) -> tuple[tuple[str, ...], str]:
        return self._way(_strip(self.builder, node))

    def _bodies(self, output: Output) -> list[Node]:
        """What must not contain a fold: what a fold accumulates, or the result itself."""
        return [p.field for p in self._parts(output)] or list(output.fields)

    def _numbered(self, name: str) -> str:
        """A name for the next tensors of a kind that there may be several of."""
        known = {t.split("_")[0] for t in self.tensors}
        numbers = (name, *(f"{name}{i}" for i in range(1, len(known) + 2)))
        return next(n for n in numbers if n not in known)

    def _store_folds(self, outputs: list[Output]) -> list[Output]:
        """Stage by stage, store the folds that another field reads."""
        bodies = [body for o in outputs for body in self._bodies(o)]
        dependent = [n for n in postorder(bodies) if n.is_reduction and set(n.over) & set(self.outer)]
        if not dependent:
            return outputs
        first = [n for n in dependent if not (depends(n.args, set(self.outer)))]
        tensors, where = store_between(self.graph, first, self._numbered("folded"), self._group)
        made = as_outputs(self.builder, tensors, where)
        self._place([], [(o, [_strip(self.builder, f) for f in o.fields]) for o in made])
        return self._store_folds(substituted(self.builder, outputs, self._remember(tensors, where)))

    def _remember(self, tensors: Sequence[Tensor], where: dict[Node, tuple[Tensor, int]]) -> dict[Node, Node]:
        """Stored fields as inputs, for this stage and the later ones."""
        self.tensors.update({t.name: self.builder.declare(t) for t in tensors})
        table = {n: self.builder.input(t.name, i, t.axes) for n, (t, i) in where.items()}
        self.known |= table
        return table

    # one stage: no fold below the results

    def _place(self, plain: list[Output], folds: list[tuple[Output, list["_Part"]]]) -> None:
        bodies = [f for o in plain for f in o.fields] + [p.field for _, parts in folds for p in parts]
        rows = depends(bodies, {self.inner})
        if rows and folds:
            plain, folds = self._cut(plain, folds, rows)
            rows = set()
        if not plain and not folds:
            return
        if folds:
            self._fold_kernels(plain, folds)
            return
        note = f"one program holds a whole row, because a reduction over {self.inner} is used at once"
        for group in self._by_domain(plain):
            if any(n in rows for o in group for n in o.fields):
                self._kernel("row", [*group, *self._shared_frontier(group)], [], (note,))
            else:
                self._map_kernels(group)

    def _cut(
        self, plain: list[Output], folds: list[tuple[Output, list["_Part"]]], rows: set[Node]
    ) -> tuple[list[Output], list[tuple[Output, list["_Part"]]]]:
        """Store the frontier in a row kernel; what remains reads it."""
        b = self.builder
        whole = [o for o in plain if self.inner not in o.tensor.axes and any(f in rows for f in o.fields)]
        rest = [o for o in plain if o not in whole]
        roots = [f for o in rest for f in o.fields] + [p.field for _, parts in folds for p in parts]
        frontier = frontier_of(roots, self.inner)
        frontier += [f for f in dict.fromkeys(roots) if f in rows and self.inner not in f.axes and f not in frontier]
        tensors, where = store_between(self.graph, frontier, self._numbered("frontier"))
        note = f"stores the row reductions on their own, because the next kernel folds over {' '.join(self.outer)}"
        for group in self._by_domain([*whole, *as_outputs(self.builder, tensors, where)]):
            self._row_kernel(group, note)
        table = self._remember(tensors, where)
        cut = [(o, [p.substitute(b, table) for p in parts]) for o, parts in folds]
        return substituted(b, rest, table), cut

    def _shared_frontier(self, outputs: list[Output]) -> list[Output]:
        """Row reductions that a fold will need, too; without folds they cost less where they are used."""
        later = postorder(self.coming)
        if not any(n.is_reduction and set(n.over) & set(self.outer) for n in later):
            return []
        frontier = [f for f in frontier_of([f for o in outputs for f in o.fields], self.inner) if f in set(later)]
        tensors, where = store_between(self.graph, frontier, self._numbered("frontier"))
        self._remember(tensors, where)
        return as_outputs(self.builder, tensors, where)

    def _row_kernel(self, outputs: list[Output], note: str) -> None:
        """A row kernel that may read a stored output in place of recomputing it, when that loads less."""
        roots = [f for o in outputs for f in o.fields]
        shorter = self.builder.substitute(roots, self.stored)
        before, after = _loads(roots, self.inner), _loads(shorter, self.inner)
        if after < before:
            why = (
                f"reads the stored output ({after} fields) in place of recomputing it from the inputs ({before} fields)"
            )
            self._kernel("row", list(regroup(outputs, shorter)[0]), [], (note, why))
            why = "recomputes the output from the inputs, because a 16-bit stored output is too coarse"
            self._kernel("row", outputs, [], (note, why), suffix="_recomputed")
            self.alternatives.append((self.steps[-2].name, self.steps[-1].name))
        else:
            self._kernel("row", outputs, [], (note,))

    def _fold_kernels(self, plain: list[Output], folds: list[tuple[Output, list["_Part"]]]) -> None:
        """One kernel for each set of folded axes; elementwise results ride with the first. Split by live values."""
        groups: dict[tuple[tuple[str, ...], tuple[str, ...], str], list[Fold]] = {}
        for output, parts in folds:
            over, reduction = next(self._way(p) for p in parts if p.over)
            kept = tuple(a for a in self.outer if a in output.tensor.axes)
            fold = Fold(output.tensor, tuple(p.field for p in parts), reduction)
            groups.setdefault((over, kept, reduction), []).append(fold)
        beside: dict[frozenset[str], list[Output]] = {}
        for domain, members in self._domains(plain).items():
            beside.setdefault(frozenset(domain) & set(self.outer), []).extend(members)
        for (over, kept, _), group in groups.items():
            here = beside.pop(frozenset((*over, *kept)), [])
            roots = [f for o in here for f in o.fields] + [f for g in group for f in g.fields]
            if here and self._overflows(roots, [f for g in group for f in g.fields]):
                why = "apart from the folds, because together they need more registers than a thread has"
                for part in self._by_domain(here):
                    self._map_kernels(part, why)
                here = []
            note = f"accumulates in registers over {' '.join(over)}; the partial results are added in a fixed order"
            self._kernel("fold", here, group, (note,))
        for rest in beside.values():
            for part in self._by_domain(rest):
                self._map_kernels(part)

    def _map_kernels(self, outputs: list[Output], *notes: str) -> None:
        """One kernel for results of one domain, or one for each when together they need too many registers."""
        if len(outputs) > 1 and self._overflows([f for o in outputs for f in o.fields], []):
            why = "one result alone, because together they need more registers than a thread has"
            for output in outputs:
                self._kernel("map", [output], [], (*notes, why))
        else:
            self._kernel("map", outputs, [], notes)

    def _overflows(self, roots: list[Node], accumulators: list[Node]) -> bool:
        """Whether one kernel would need more registers than a thread has; what is far beyond is not factored first."""
        if live(roots, accumulators) > 2 * MOST_LIVE:
            return True
        return live(self._factored(roots), accumulators) > MOST_LIVE

    def _factored(self, roots: list[Node]) -> list[Node]:
        """Equal fields with fewer operations; as they are, where factoring finds a Dot, which no kernel computes."""
        better = simplify(self.builder, roots)
        return roots if any(n.kind == "Dot" for n in postorder(better)) else better

    def _by_domain(self, plain: list[Output]) -> list[list[Output]]:
        """Results that vary along the same axes share a kernel."""
        return list(self._domains(plain).values())

    def _domains(self, plain: list[Output]) -> dict[tuple[str, ...], list[Output]]:
        groups: dict[tuple[str, ...], list[Output]] = {}
        for output in plain:
            axes = frozenset(output.tensor.axes).union(*(n.axes for n in postorder(output.fields)))
            groups.setdefault(tuple(a for a in self.graph.axes if a in axes), []).append(output)
        return groups

    # one kernel

    def _kernel(
        self, kind: str, stores: list[Output], folds: list[Fold], notes: tuple[str, ...], suffix: str = ""
    ) -> None:
        roots = [f for o in stores for f in o.fields] + [f for g in folds for f in g.fields]
        naive = naive_cost(roots, self.builder.hints)
        better = self._factored(roots)
        stores_, rest = regroup(stores, better)
        folds_ = []
        for fold in folds:
            folds_.append(replace(fold, fields=tuple(rest[: len(fold.fields)])))
            del rest[: len(fold.fields)]
        nodes = postorder(better)
        tensors = self._read(nodes)
        axes = frozenset[str]().union(
            *(n.axes for n in nodes), *(o.tensor.axes for o in stores), *(g.tensor.axes for g in folds)
        )
        domain = tuple(a for a in self.graph.axes if a in axes)
        orders = {t.axes for t in (*tensors, *(o.tensor for o in stores_))}
        if kind == "map" and len(orders) == 1 and axes == frozenset(*orders):  # all lie alike: as they lie
            (domain,) = orders
        flat = kind == "map" and all(_contiguous(t, domain) for t in (*tensors, *(o.tensor for o in stores_)))
        rows, loop, inner = self._divide(kind, domain, flat, folds_)
        numbers = tuple(n.tensor for n in nodes if n.kind == "Input" and n.tensor in self.graph.numbers)
        if turning := next((o.tensor.turning for o in stores if o.tensor.split), ""):
            notes = (*notes, f"turns its tiles for products in tf32, which are faster with {turning} innermost")
        alive = live(better, [f for fold in folds_ for f in fold.fields])
        shared = [t for t in tensors if t.interleaved and not {*rows, *loop} & set(t.axes)]
        if kind == "fold" and alive >= CROWDED and shared:
            why = f"because {alive} fields are alive at once"
            notes = (*notes, f"reloads adjacent components that all rows share, {why}")
        self.steps.append(
            Kernel(
                self._kernel_name(suffix),
                kind,
                rows,
                loop,
                inner,
                tensors,
                numbers,
                stores_,
                tuple(folds_),
                (*self.why, *notes),
                cost(better),
                naive,
                alive,
                flat,
                tuple(dict.fromkeys(t.memory for t in tensors if t.memory in self.optional)),
            )
        )

    def _read(self, nodes: Iterable[Node]) -> tuple[Tensor, ...]:
        used = {n.tensor for n in nodes if n.kind == "Input"}
        return tuple(t for name, t in self._known_tensors().items() if name in used)

    def _divide(
        self, kind: str, domain: tuple[str, ...], flat: bool, folds: Sequence[Fold]
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Rows, loop and inner axes. A map whose tensors all run along the whole domain runs over it flattened."""
        if flat:
            return (), (), domain
        if not domain:
            return (), (), (self.inner,)
        if kind == "fold":
            kept = {a for f in folds for a in f.tensor.axes}
            outer = domain[:-1]
            return tuple(a for a in outer if a in kept), tuple(a for a in outer if a not in kept), domain[-1:]
        if kind == "row" and domain[-1] != self.inner:
            return domain, (), (self.inner,)
        return domain[:-1], (), domain[-1:]


def _renamed(b: Builder, factor: Factor, names: Names) -> Factor:
    """A factor under other names of its axes."""
    dims = tuple(names.get(d, d) if isinstance(d, str) else d for d in factor.dims)
    turned = _renamed(b, factor.turned, names) if factor.turned else None
    return replace(factor, fields=tuple(b.rename(factor.fields, names)), dims=dims, turned=turned)


def _contiguous(tensor: Tensor, domain: tuple[str, ...]) -> bool:
    """Whether the domain's axes are all there, always in order, with no component axis between them."""
    positions = [i for i, d in enumerate(tensor.dims) if isinstance(d, str)]
    return (
        tensor.axes == domain
        and not tensor.split
        and positions == list(range(positions[0], positions[0] + len(domain)))
        if domain
        else False
    )


def _loads(roots: Sequence[Node], inner: str) -> int:
    """How many fields are read along the tile."""
    return sum(n.kind == "Input" and inner in n.axes for n in postorder(roots))


def live(roots: Sequence[Node], accumulators: Sequence[Node]) -> int:
    """The most fields alive at once when evaluated in postorder, accumulators included."""
    order = postorder(roots)
    last: dict[Node, int] = {}
    for i, node in enumerate(order):
        for a in node.args:
            last[a] = i
    alive = most = 0
    ends: dict[int, int] = {}
    for i, node in enumerate(order):
        if node.kind not in ("Const", "Size"):
            alive += 1
            ends[last.get(node, i)] = ends.get(last.get(node, i), 0) + 1
        most = max(most, alive)
        alive -= ends.pop(i, 0)
    return most + len(accumulators)


# folds at a result


@dataclass(frozen=True, slots=True)
class _Part:
    """A result's component as a reduction: sum or max of `field` along `over`."""

    field: Node
    over: frozenset[str]
    reduction: str

    def substitute(self, b: Builder, table: dict[Node, Node]) -> "_Part":
        return replace(self, field=b.substitute([self.field], table)[0])


def _strip(b: Builder, node: Node) -> _Part:
    return _Part(node.args[0], frozenset(node.over), "max" if node.kind == "Max" else "sum")


def _fold(b: Builder, node: Node, outer: set[str]) -> _Part | None:
    """The result as a fold, with constant factors moved inside; None if it is not one."""
    if node is b.zero:
        return _Part(node, frozenset(), "sum")
    if node.is_reduction:
        return _strip(b, node) if set(node.over) & outer else None
    if node.kind == "Add":
        parts = [_fold(b, x, outer) for x in node.args]
        if any(p is None or p.reduction == "max" for p in parts) or len({p.over for p in parts if p}) > 1:
            return None
        whole = [p for p in parts if p]
        return replace(whole[0], field=b.linear((c, p.field) for (c, _), p in zip(node.terms, whole)))
    if node.kind == "Mul":
        sums = [x for x in node.args if x.kind == "Sum" and set(x.over) & outer]
        others = [x for x in node.args if x not in sums]
        over = {axis for x in sums for axis in x.over}
        if len(sums) == 1 and not any(x.axes & over for x in others) and not depends(others, outer | over):
            part = _strip(b, sums[0])
            return replace(part, field=b.mul(part.field, *others))
    return None
