"""Matrix products in a program: level by level, who computes them, and where factors and results lie.

In: results, some of them of Dots. Out: steps of a draft that make all Dots; the results that are still to be computed,
which read them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kgen.graph.graph import Output
from kgen.graph.node import Node, holds_dot, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.batching import alike, apart, joined
from kgen.schedule.dense import terms_apart
from kgen.schedule.draft import Draft
from kgen.schedule.factors import lies, operands, plainest, why_copied
from kgen.schedule.fusion import Fusion, fusion, rides, splits
from kgen.schedule.grouping import contractions, levels, one_name_each
from kgen.schedule.intermediates import as_outputs, regroup, store_between, substituted, under_all_names
from kgen.schedule.joint import always_added
from kgen.schedule.kernels import arithmetic, contract_kernel
from kgen.schedule.placement import Summed, summed, targets
from kgen.schedule.products import MATRIX, Contraction, Grid, Operand, Pairing, Product, Scaled
from kgen.schedule.program import Kernel, Step
from kgen.schedule.residuals import read_again
from kgen.schedule.stages import add_stages
from kgen.schedule.store import Store

STORED = Fusion((), ())  # the library multiplies, without a reason
FACTORS = "stores factors of matrix products, in the order in which these read them"
RESIDUALS = "stores what later steps would make anew, each of the results of all products before it"
RESTS = "stores what products are added to"


def add_products(draft: Draft, outputs: Sequence[Output]) -> list[Output]:
    """Level by level, make the Dots; gives the results that are still to be computed, which read them."""
    rest = list(outputs)
    while found := levels(postorder(f for o in rest for f in o.fields))[:1]:
        rest = _Level(draft, rest).add(found[0])
    return rest


def by_dots(outputs: Sequence[Output]) -> list[list[Output]]:
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


@dataclass(frozen=True, slots=True)
class _Choice:
    """The products of a level, who computes each, and which results some are."""

    products: tuple[Contraction, ...]
    fusions: tuple[Fusion, ...]
    direct: Mapping[Contraction, Operand]  # the places of results that are products, or sums of one with a rest
    added: tuple[Summed, ...]
    joint: Mapping[Contraction, Contraction]  # products that are added to what other products made

    def adds_to(self, tensor: Tensor) -> bool:
        """Whether a product is added to what lies in a result."""
        return any(tensor is s.products.tensor for s in self.added)


class _Level:
    """Dots that do not depend on each other, and the results that need them."""

    def __init__(self, draft: Draft, outputs: Sequence[Output]) -> None:
        self.draft, self.graph, self.builder, self.store = draft, draft.graph, draft.builder, draft.store
        self._await(outputs)
        self.residuals = dict[Node, Node]()  # fields that are stored with the factors, as later levels read them
        held = [x for field in draft.saved.values() for _, x in field.terms]  # a Dot, or scaled where factors are read
        self.saved = set(under_all_names(draft.builder, dict(zip(held, held))))

    def _await(self, outputs: Sequence[Output]) -> None:
        """These are still to be computed."""
        self.outputs = list(outputs)
        self.later = [f for o in outputs for f in o.fields]  # what is computed after the factors
        self.read = {a for n in postorder(self.later) for a in n.args}

    def add(self, dots: Sequence[Node]) -> list[Output]:
        """Steps that make the Dots; gives the results that are left."""
        distinct = one_name_each(self.builder, self.graph.axes, dots)
        sums = (terms_apart if self.graph.dense else apart)(self.builder, self.graph.axes, distinct)
        self.saved |= {part for dot in self.saved & sums.keys() for part in _parts(sums, dot)}
        choice, early = self._choose(distinct, sums)
        table = self._steps(choice, early)
        table |= {
            dot: self.builder.add(*(self.builder.mul(c, table[x]) for c, x in terms)) for dot, terms in sums.items()
        }
        table.pop(self.builder.zero, None)
        table = under_all_names(self.builder, table | self.residuals)
        saved = self.draft.saved
        done = self.builder.substitute([*saved.values(), *(f for o in self.outputs for f in o.fields)], table)
        self.draft.saved = dict(zip(saved, done))
        return list(regroup(self.outputs, done[len(saved) :])[0])

    # what is decided

    def _choose(self, dots: Sequence[Node], sums: Mapping[Node, Sequence[Scaled]]) -> tuple[_Choice, list[Output]]:
        """The products of Dots, and the results that are computed before them."""
        whole = [part for dot in dots for part in _parts(sums, dot)]
        products = contractions(self.builder, self.graph.axes, whole, self.outputs, sums, self.graph.dense)
        self.draft.mates += [self._saved_by(c, sums) for c in products]
        direct = self._direct(products)
        fusions = {c: self._fusion(c, direct.get(c)) for c in products}
        joint = self._joint([c for c in products if not fusions[c].computed])
        direct = self._direct([c for c in products if c not in joint]) if joint else direct
        direct = {c: target for c, target in direct.items() if not (target.tensor.slices and fusions[c].computed)}
        added = self._added([c for c in products if not fusions[c].computed and c not in joint])
        early = self._early(added)
        direct |= targets(products, [s.products for s in added])
        batched = self._together(fusions, direct, {*joint, *joint.values()})
        direct |= self._direct([c for c in batched if c not in joint])
        return _Choice(tuple(batched), tuple(batched.values()), direct, tuple(added), joint), early

    def _joint(self, products: Sequence[Contraction]) -> dict[Contraction, Contraction]:
        """The products that are added to what others made; where they were read nothing is left of them."""
        fields = [f for o in self.outputs for f in o.fields]
        found = always_added(self.builder, products, fields, [*self.graph.roots, *fields])
        saved = self.draft.saved
        for pair in (pair for c, first in found.items() for pair in zip(c.fields, first.fields)):
            self.draft.mates.append({field for field, dot in saved.items() if any(x in pair for _, x in dot.terms)})
        gone = under_all_names(self.builder, {dot: self.builder.zero for c in found for dot in c.fields})
        done = self.builder.substitute([*saved.values(), *fields], gone)
        self.draft.saved = dict(zip(saved, done))
        self._await(regroup(self.outputs, done[len(saved) :])[0])
        return found

    def _is_read(self, output: Output) -> bool:
        """Whether something is computed from a result, for which it must not be rounded to the result's dtype."""
        return any(f in self.read for f in output.fields)

    def _saved_by(self, c: Contraction, sums: Mapping[Node, Sequence[Scaled]]) -> set[Node]:
        """The fields for the backward that a product makes, or a part of which."""
        made = set(c.fields)
        saved = self.draft.saved.items()
        return {field for field, dot in saved if not made.isdisjoint(_parts(sums, dot))}

    def _direct(self, products: Sequence[Contraction]) -> dict[Contraction, Operand]:
        """The products that are results, but those that are saved, which stay in the products' dtype."""
        return targets([c for c in products if self.saved.isdisjoint(c.fields)], self._storable())

    def _storable(self) -> list[Output]:
        """The results that products may be: nothing is computed from them, or they are of the products' dtype."""
        return [o for o in self.outputs if o.tensor.dtype or not self._is_read(o)]

    def _fusion(self, c: Contraction, target: Operand | None) -> Fusion:
        if target and (target.first is not None or target.tensor.interleaved):
            return STORED
        missing = [f for f in (c.left, c.right) if not lies(self.store, f)]
        return fusion(c, missing, self.graph.axes, self.store.visible)

    def _added(self, plain: Sequence[Contraction]) -> list[Summed]:
        """The results that the library's products are added to, once the rest of them is there."""
        free = [c for c in plain if self.saved.isdisjoint(c.fields)]
        found = summed(self.builder, free, [o for o in self.outputs if not self._is_read(o)])
        return [s for s in found if targets(free, [s.products])]

    def _early(self, added: Sequence[Summed]) -> list[Output]:
        """What is computed before products: what these are added to, and beside that all that needs none."""
        if not added:
            return []
        ready = [o for o in self.outputs if not holds_dot(o.fields)]
        early = [*(s.rest for s in added), *ready]
        names = {o.tensor.name for o in early}
        self.outputs = [o for o in self.outputs if o.tensor.name not in names]
        return early

    def _together(
        self,
        fusions: Mapping[Contraction, Fusion],
        direct: Mapping[Contraction, Operand],
        alone: Collection[Contraction],
    ) -> dict[Contraction, Fusion]:
        """The products, those of one size as batches: one after the other, small ones leave a part of a GPU idle.

        Only if the same gradients need them, of which not all may be wanted, if all or none are saved, which keeps the
        memory of both, and if their factors, where they lie in memory, and the results that they are lie one after the
        other, too.
        """
        if len({(c.shape, c.counts) for c in fusions}) == len(fusions):
            return dict(fusions)
        found = dict[Contraction, Contraction]()
        below = {o.tensor.name: set(postorder(o.fields)) for o in self.outputs if o.tensor.name.startswith("grad_")}

        def kind(c: Contraction) -> object:
            dots = {dot for dot in c.fields if dot.kind == "Dot"}
            reached = frozenset(o for o, nodes in below.items() if not nodes.isdisjoint(dots))
            return c if fusions[c].computed or c in alone else (reached, dots.isdisjoint(self.saved))

        for members in alike(fusions, kind):
            whole = joined(self.builder, members, lambda factor: lies(self.store, factor))
            if whole and (direct.keys().isdisjoint(members) or self._direct([whole])):
                found |= dict.fromkeys(members, whole)
        batched = dict[Contraction, Fusion]()
        for c in fusions:
            batched.setdefault(found.get(c, c), fusions[c])
        return batched

    # what is done

    def _steps(self, choice: _Choice, early: Sequence[Output]) -> dict[Node, Node]:
        """The steps of the products, and those that store their factors; gives what is read in place of the Dots."""
        pairs = self._operands(choice, early)
        table: dict[Node, Node] = {}
        made = dict[Contraction, Operand]()
        for c, fused, pair in zip(choice.products, choice.fusions, pairs):
            if first := choice.joint.get(c):
                self.draft.steps.append(product(self.draft, c, pair, made[first], fused.why, True))
                continue
            made[c] = target = choice.direct.get(c) or self._new_result(c)
            self.store.add(target.tensor)
            if fused.computed:
                self._contract(c, pair, target, c in choice.direct, fused.why)
            else:
                self.draft.steps.append(product(self.draft, c, pair, target, fused.why, choice.adds_to(target.tensor)))
            if not choice.adds_to(target.tensor):  # else more than the product lies there
                table |= self.store.reading(target.tensor, c.fields, target.first)
            self.outputs = [o for o in self.outputs if o.tensor is not target.tensor]
        return table

    def _operands(self, choice: _Choice, early: Sequence[Output]) -> Sequence[Pairing]:
        found = operands(self.store, choice.products, choice.fusions, early)
        dots = [dot for c in choice.products for dot in c.fields]
        again = read_again(self.store, dots, found.fresh, self.outputs)
        tensors, where = store_between(self.graph, again, self.store.numbered("total"))
        why = {o.tensor.name: FACTORS for o in found.fresh} | {s.rest.tensor.name: RESTS for s in choice.added}
        why |= {tensor.name: RESIDUALS for tensor in tensors}
        beside = as_outputs(self.builder, tensors, where)
        made = set(postorder(f for o in found.fresh for f in o.fields))
        along = [o for o in self._storable() if made.issuperset(o.fields)]
        self.outputs = [o for o in self.outputs if o not in along]
        add_stages(self.draft, [*found.fresh, *beside, *along, *early], self.later, why)
        self.residuals = self.store.remember(tensors, where)
        return found.pairs

    def _new_result(self, c: Contraction) -> Operand:
        is_saved = not self.saved.isdisjoint(c.fields)
        role, what = ("saved", "product") if is_saved else ("product", "")
        name = self.store.numbered(role, c.fields, what)
        tensor = Tensor(name, c.dims, self.store.labels(c.fields), dtype=MATRIX)
        self.draft.kept += [tensor] if is_saved else []
        return Operand(tensor, False)

    def _contract(self, c: Contraction, pair: Pairing, target: Operand, direct: bool, why: tuple[str, ...]) -> None:
        """A kernel of our own for a product and for the results that ride with it.

        The sums are stored where they are a result themselves, or another result reads them.
        """
        parted, whole, own = splits(c, self.graph.axes), _with_stored(self.store, c, pair), target.tensor
        known = self.store.visible
        riding = [o for o in self.outputs if not parted and o.tensor.name != own.name and rides(o, whole, known)]
        self.outputs = [o for o in self.outputs if o not in riding]
        read = postorder(f for o in self.outputs for f in o.fields)
        sums = under_all_names(self.builder, {dot: dot for dot in c.fields if dot.kind == "Dot"})
        kept = direct or not riding or any(dot in read or dot in self.saved for dot in sums)
        stores = [*([Output(own, c.fields)] if kept else []), *riding]
        otherwise = _by_library(self.draft, c, target, riding, self.later)
        self.draft.steps.append(contract_kernel(self.draft, whole, stores, parted, why, otherwise))


def product(
    draft: Draft, c: Contraction, pair: Pairing, target: Operand, why: Sequence[str], added: bool = False
) -> Product:
    """A product of stored factors, with how they lie."""
    left, right = pair
    assert left and right
    rows, contracted, columns = c.counts
    sides = [f"{n} fields by {' '.join(axes)}" for n, axes in ((rows, c.shape.rows), (columns, c.shape.columns))]
    note = f"{c.batch} at once: " if c.batch > 1 else ""
    note += f"rows {sides[0]}, columns {sides[1]}; contracts {contracted} fields by {' '.join(c.shape.contracted)}"
    factors = (("left", c.left, left), ("right", c.right, right))
    orders = (f"{side}: {operand.way.value}" for side, _, operand in factors)
    copies = filter(None, (why_copied(draft.store, factor, operand) for _, factor, operand in factors))
    notes = (note, *orders, *copies, *why, *arithmetic(draft))
    parted = splits(c, draft.graph.axes)
    name, precision = target.tensor.name, draft.graph.precision
    return Product(name, c.shape, c.counts, left, right, target, notes, c.batch, added, precision, parted)


def _parts(sums: Mapping[Node, Sequence[Scaled]], dot: Node) -> list[Node]:
    """A Dot, or those that it is the sum of."""
    return [part for _, part in sums[dot]] if dot in sums else [dot]


def _with_stored(store: Store, c: Contraction, pair: Pairing) -> Contraction:
    """The product with what is stored of its factors as inputs."""
    table = dict[Node, Node]()
    for factor, operand in zip((c.left, c.right), pair):
        if operand:
            fields = plainest(store, factor).fields
            table |= store.reading(operand.tensor, fields, operand.first)
    table = under_all_names(store.builder, {f: x for f, x in table.items() if f.kind not in ("Input", "Const")})

    def read(fields: tuple[tuple[Node, ...], ...]) -> tuple[tuple[Node, ...], ...]:
        return tuple(tuple(table.get(x, x) for x in line) for line in fields)

    return replace(c, grids=(Grid(read(c.grid.left), read(c.grid.right), c.grid.dots),))


def _by_library(
    draft: Draft, c: Contraction, target: Operand, riding: Sequence[Output], later: Sequence[Node]
) -> list[Step]:
    """The steps that do the same with stored factors: without tensor cores the library is faster."""
    trial = draft.trial()
    found = operands(trial.store, [c], [STORED], turn=False)
    add_stages(trial, found.fresh, later, {o.tensor.name: FACTORS for o in found.fresh})
    trial.steps.append(product(trial, c, found.pairs[0], target, ()))
    table = trial.store.reading(target.tensor, c.fields)
    table.pop(draft.builder.zero, None)
    add_stages(trial, substituted(draft.builder, riding, under_all_names(draft.builder, table)), later)
    name = f"{draft.kernel_name()}_library"
    steps = enumerate(trial.steps)
    return [replace(s, name=f"{name}{i or ''}") if isinstance(s, Kernel) else s for i, s in steps]
