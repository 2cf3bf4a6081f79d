"""Kernels without matrix products: where results are cut into stages, and which share a kernel.

In: results without Dots. Out: steps of a draft. The rules are those of `schedule.py`'s docstring: what is read again
after an outer reduction is stored first, what needs both a row reduction and an outer one is cut at the row statistics,
what needs more registers than a thread has is split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgen.graph.graph import Output
from kgen.graph.node import Node, postorder
from kgen.schedule.draft import Draft
from kgen.schedule.intermediates import (
    as_outputs,
    depends,
    frontier_of,
    regroup,
    store_between,
    substituted,
)
from kgen.schedule.kernels import kernel
from kgen.schedule.outer_reductions import Part, parts, stripped
from kgen.schedule.program import WORKSPACE, Fold
from kgen.schedule.recomputing import dear
from kgen.schedule.registers import overflows

STORED_FIRST = "apart from the row reductions over what it stores: they read it, for it takes longer to compute again"
WHOLE_ROWS = "goes over whole rows"  # begins the note on kernels of which each form says how

Folded = tuple[Output, list[Part]]  # a result, and its components as outer reductions


def add_stages(
    draft: Draft, outputs: Sequence[Output], later: Sequence[Node] = (), why: Mapping[str, str] | None = None
) -> None:
    """The kernels of results without Dots; the innermost of the axes that they involve is their inner one.

    `later` are fields that are computed afterwards, for which row statistics may be stored along the way. `why` says of
    what tensors are stored for that.
    """
    axes, groups = draft.graph.axes, dict[str, list[Output]]()
    for output in substituted(draft.builder, outputs, draft.store.known):
        own = frozenset(output.tensor.axes).union(*(n.axes for n in postorder(output.fields)))
        groups.setdefault([axes[-1], *(a for a in axes if a in own)][-1], []).append(output)
    for inner, group in groups.items():
        _Stage(draft, axes[: axes.index(inner)], inner, tuple(later), why or {}).add(group)


def domains(axes: Sequence[str], outputs: Sequence[Output]) -> dict[tuple[str, ...], list[Output]]:
    """Results by the axes that they vary along: those that share them share a kernel."""
    groups: dict[tuple[str, ...], list[Output]] = {}
    for output in outputs:
        own = frozenset(output.tensor.axes).union(*(n.axes for n in postorder(output.fields)))
        groups.setdefault(tuple(a for a in axes if a in own), []).append(output)
    return groups


def _loads(roots: Sequence[Node], inner: str) -> int:
    """How many fields are read along the tile."""
    return sum(n.kind == "Input" and inner in n.axes for n in postorder(roots))


@dataclass(frozen=True)
class _Stage:
    """Results with one inner axis, which no later stage changes."""

    draft: Draft
    outer: tuple[str, ...]
    inner: str
    later: tuple[Node, ...]
    why: Mapping[str, str]  # notes on kernels, by the tensors that they write

    def add(self, outputs: list[Output]) -> None:
        """The kernels of results, after those of the outer reductions that other fields read."""
        outputs = self._store_folds(outputs)
        found = [(o, parts(self.draft.builder, o, self.outer)) for o in outputs]
        self._place([o for o, folded in found if not folded], [(o, folded) for o, folded in found if folded])

    def _store_folds(self, outputs: list[Output]) -> list[Output]:
        """Stage by stage, store the folds that another field reads: those in what a fold accumulates, or a result."""
        b, store = self.draft.builder, self.draft.store
        bodies = [f for o in outputs for f in [p.field for p in parts(b, o, self.outer)] or o.fields]
        dependent = [n for n in postorder(bodies) if n.is_reduction and set(n.over) & set(self.outer)]
        if not dependent:
            return outputs
        first = [n for n in dependent if not (depends(n.args, set(self.outer)))]
        name = store.numbered("total")
        tensors, where = store_between(self.draft.graph, first, name, lambda node: stripped(node).way(self.outer))
        made = as_outputs(b, tensors, where)
        self._place([], [(o, [stripped(f) for f in o.fields]) for o in made])
        return self._store_folds(substituted(b, outputs, store.remember(tensors, where)))

    # one stage: no fold below the results

    def _place(self, plain: list[Output], folds: list[Folded]) -> None:
        bodies = [f for o in plain for f in o.fields] + [p.field for _, folded in folds for p in folded]
        rows = depends(bodies, {self.inner})
        if rows and folds:
            plain, folds = self._cut(plain, folds, rows)
            rows = set()
        if folds:
            self._fold_kernels(plain, folds)
            return
        note = f"{WHOLE_ROWS}, because a reduction over {self.inner} is used at once"
        if rows:
            plain, rows = self._dear_apart(plain, rows)
        for group in self._by_domain(plain):
            if any(n in rows for o in group for n in o.fields):
                self._add("row", [*group, *self._shared_frontier(group)], [], note)
            else:
                self._map_kernels(group)

    def _dear_apart(self, plain: list[Output], rows: set[Node]) -> tuple[list[Output], set[Node]]:
        """Compute sums of many terms outside of row kernels: before what reduces them, after what they are made of."""
        plain = self._read_where_stored(plain, rows)
        rows = self._rows(plain)
        if not rows.isdisjoint(dear([f for o in plain for f in o.fields])):
            plain, _ = self._cut(plain, [], rows)
        return plain, self._rows(plain)

    def _rows(self, outputs: Sequence[Output]) -> set[Node]:
        """The fields that need a reduction over the inner axis."""
        return depends([f for o in outputs for f in o.fields], {self.inner})

    def _read_where_stored(self, plain: list[Output], rows: set[Node]) -> list[Output]:
        """Store first what is stored anyway, takes long to compute, and is reduced along rows; gives what is left."""
        b, costly = self.draft.builder, set(dear([f for o in plain for f in o.fields]))
        below = set(postorder(a for n in rows if n.is_reduction for a in n.args))
        whole = [o for o in plain if o.tensor.dtype == WORKSPACE and rows.isdisjoint(o.fields)]
        first = [o for o in whole if not below.isdisjoint(costly.intersection(o.fields))]
        for output in first:
            self._add("map", [output], [], STORED_FIRST)
        places = {f: (o.tensor, i) for o in first for i, f in enumerate(o.fields)}
        table = self.draft.store.remember([o.tensor for o in first], places)
        return substituted(b, [o for o in plain if o not in first], table)

    def _cut(self, plain: list[Output], folds: list[Folded], rows: set[Node]) -> tuple[list[Output], list[Folded]]:
        """Store the row statistics in a row kernel; what remains reads them."""
        b, store = self.draft.builder, self.draft.store
        whole = [o for o in plain if self.inner not in o.tensor.axes and any(f in rows for f in o.fields)]
        rest = [o for o in plain if o not in whole]
        roots = [f for o in rest for f in o.fields] + [p.field for _, folded in folds for p in folded]
        frontier = frontier_of(roots, self.inner)
        frontier += [f for f in dict.fromkeys(roots) if f in rows and self.inner not in f.axes and f not in frontier]
        tensors, where = store_between(self.draft.graph, frontier, store.numbered("statistics"))
        next_one = (
            f"the next kernel folds over {' '.join(self.outer)}" if folds else "no pass over a row is to do the rest"
        )
        note = f"stores the row reductions on their own, because {next_one}"
        for group in self._by_domain([*whole, *as_outputs(b, tensors, where)]):
            self._row_kernel(group, note)
        table = store.remember(tensors, where)
        return substituted(b, rest, table), [(o, [p.substitute(b, table) for p in folded]) for o, folded in folds]

    def _shared_frontier(self, outputs: list[Output]) -> list[Output]:
        """Row statistics that a later fold will need, too; without folds they cost less where they are used."""
        later, store = postorder(self.later), self.draft.store
        if not any(n.is_reduction and set(n.over) & set(self.outer) for n in later):
            return []
        frontier = [f for f in frontier_of([f for o in outputs for f in o.fields], self.inner) if f in set(later)]
        tensors, where = store_between(self.draft.graph, frontier, store.numbered("statistics"))
        store.remember(tensors, where)
        return as_outputs(self.draft.builder, tensors, where)

    def _row_kernel(self, outputs: list[Output], note: str) -> None:
        """A row kernel that may read a stored output in place of recomputing it, when that loads less."""
        roots = [f for o in outputs for f in o.fields]
        shorter = self.draft.builder.substitute(roots, self.draft.readable)
        before, after = _loads(roots, self.inner), _loads(shorter, self.inner)
        if after >= before:
            self._add("row", outputs, [], note)
            return
        why = f"reads the stored output ({after} fields) in place of recomputing it from the inputs ({before} fields)"
        name = self._add("row", list(regroup(outputs, shorter)[0]), [], note, why)
        why = "recomputes the output from the inputs, because a 16-bit stored output is too coarse"
        other = self._add("row", outputs, [], note, why, name=f"{name}_of_inputs")
        self.draft.alternatives.append((name, other))

    def _fold_kernels(self, plain: list[Output], folds: list[Folded]) -> None:
        """One kernel for each set of folded axes; elementwise results ride with the first. Split by live values."""
        beside: dict[frozenset[str], list[Output]] = {}
        for domain, members in domains(self.draft.graph.axes, plain).items():
            beside.setdefault(frozenset(domain) & set(self.outer), []).extend(members)
        for (over, kept), group in self._fold_groups(folds):
            here = beside.pop(frozenset((*over, *kept)), [])
            accumulated = [f for g in group for f in g.fields]
            roots = [f for o in here for f in o.fields] + accumulated
            if here and overflows(self.draft.builder, roots, accumulated):
                why = "apart from the folds, because together they need more registers than a thread has"
                for part in self._by_domain(here):
                    self._map_kernels(part, why)
                here = []
            note = f"accumulates in registers over {' '.join(over)}; the partial results are added in a fixed order"
            self._add("fold", here, group, note)
        for rest in beside.values():
            for part in self._by_domain(rest):
                self._map_kernels(part)

    def _fold_groups(self, folds: list[Folded]) -> list[tuple[tuple[tuple[str, ...], tuple[str, ...]], list[Fold]]]:
        """Folds over the same axes that keep the same ones, and are all sums or all maxima."""
        groups: dict[tuple[tuple[str, ...], tuple[str, ...], str], list[Fold]] = {}
        for output, folded in folds:
            over, reduction = next(p.way(self.outer) for p in folded if p.over)
            kept = tuple(a for a in self.outer if a in output.tensor.axes)
            fold = Fold(output.tensor, tuple(p.field for p in folded), reduction)
            groups.setdefault((over, kept, reduction), []).append(fold)
        return [((over, kept), group) for (over, kept, _), group in groups.items()]

    def _map_kernels(self, outputs: list[Output], *notes: str) -> None:
        """One kernel for results of one domain, or one for each when together they need too many registers."""
        if len(outputs) > 1 and overflows(self.draft.builder, [f for o in outputs for f in o.fields]):
            why = "one result alone, because together they need more registers than a thread has"
            for output in outputs:
                self._add("map", [output], [], *notes, why)
        else:
            self._add("map", outputs, [], *notes)

    def _by_domain(self, outputs: Sequence[Output]) -> list[list[Output]]:
        return list(domains(self.draft.graph.axes, outputs).values())

    def _add(self, kind: str, stores: Sequence[Output], folds: Sequence[Fold], *notes: str, name: str = "") -> str:
        """A kernel as the next step; gives its name."""
        written = [*(o.tensor.name for o in stores), *(g.tensor.name for g in folds)]
        why = dict.fromkeys(self.why[tensor] for tensor in written if tensor in self.why)
        made = kernel(self.draft, kind, stores, folds, (*why, *notes), self.inner, name)
        self.draft.steps.append(made)
        return made.name
