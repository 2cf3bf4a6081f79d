"""Attention whose scores are never stored: the forward and the backward of a graph that has it.

In: the graph of a forward. Out: its two programs, or why there are none. What attention multiplies, and what is made of
what it gives, are graphs without Dots: each is differentiated, and the attention between them has launches of its own
for its gradients. Tensors are read where they lie, if they lie as matrices of positions; else they are stored so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output, verify
from kgen.graph.node import Node, holds_dot, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.attend import Attend, Mask, Multiplied
from kgen.schedule.draft import Draft
from kgen.schedule.grouping import contractions
from kgen.schedule.intermediates import substituted, under_all_names
from kgen.schedule.placement import targets
from kgen.schedule.planner import plan
from kgen.schedule.products import MATRIX, Contraction, Factor
from kgen.schedule.program import WORKSPACE, Program
from kgen.schedule.softmaxes import Attention, attention
from kgen.schedule.stages import add_stages

ENDING = "online"  # what follows the name of a variant whose scores are never stored
PARTS = 2  # that queries, keys and values may come in
STORED = "stores what attention reads, as matrices of positions"


def online(graph: Graph, grads: Sequence[str], order: int) -> tuple[Program, ...] | str:
    """The programs of a forward and its backward; or why attention cannot be computed so."""
    found = attention(graph)
    if isinstance(found, str):
        return found
    if graph.precision or graph.dense or graph.narrow or order > 1:
        return "it has second derivatives, or products in a way of its own"
    graph = replace(graph, name=f"{graph.name}_{ENDING}", builder=graph.builder.copy())
    matrices = _matrices(graph, found)
    if isinstance(matrices, str):
        return matrices
    if holds_dot(x for side in matrices.sides for factor in side for x in factor.fields):
        return "queries, keys or values are products of matrices themselves"
    forward, results = _forward(graph, matrices)
    if not grads or not order:
        return (forward,)
    derivative = _derivative(graph, grads, matrices, results)
    if isinstance(derivative, str):
        return derivative
    return forward, _backward(graph, matrices, derivative, forward, results)


@dataclass(frozen=True, slots=True)
class _Matrices:
    """What attention multiplies, each part as rows of positions, and the products that its results are."""

    batch: tuple[str, ...]
    row: str
    queries: tuple[Factor, ...]
    keys: tuple[Factor, ...]
    values: tuple[Factor, ...]
    scores: tuple[Contraction, ...]
    results: tuple[Contraction, ...]
    mask: Mask

    @property
    def sides(self) -> tuple[tuple[Factor, ...], ...]:
        return self.queries, self.keys, self.values


def _matrices(graph: Graph, found: Attention) -> _Matrices | str:
    b, positions = graph.builder, (found.row, found.column)
    each = frozenset[str]().union(*(x.axes for x in found.scores)) - {*positions}  # which have a matrix of scores each
    axes = sorted(graph.axes, key=lambda axis: (axis not in each, axis not in positions))  # so that positions are rows
    scores = contractions(b, axes, found.scores)
    results = contractions(b, axes, found.values, graph.outputs)
    batch = scores[0].shape.batch
    if max(len(scores), len(results)) > PARTS:
        return f"queries or values come in more than {PARTS} parts"
    shapes = [(c.shape.batch, c.shape.rows, c.shape.columns) for c in scores]
    shapes += [(c.shape.batch, c.shape.rows, c.shape.contracted) for c in results]
    if any(shape != (batch, (found.row,), (found.column,)) for shape in shapes):
        return "queries, keys and values do not vary along the same axes"
    if any(c.counts[0] != 1 for c in (*scores, *results)) or any(c.counts[2] != 1 for c in scores):
        return "several fields are scores, or weights"
    labels = found.mask.labels
    if labels and labels.axes != (*batch[: len(labels.axes) - 1], found.row):
        return "labels do not lie as the positions of some matrices"
    sides = [_lines(c.left, False) for c in scores], [_lines(c.right, True) for c in scores]
    values = [_lines(c.right, False) for c in results]
    queries, keys = (tuple(side) for side in sides)
    return _Matrices(batch, found.row, queries, keys, tuple(values), tuple(scores), tuple(results), found.mask)


def _lines(factor: Factor, transposed: bool) -> Factor:
    """A factor in the memory order in which positions are rows."""
    other = factor if factor.transposed == transposed else factor.turned
    assert other
    return replace(other, transposed=False, turned=None)


# the forward


def _forward(graph: Graph, m: _Matrices) -> tuple[Program, tuple[Tensor, ...]]:
    """The program, and the tensors that hold what attention gives."""
    statistics = Tensor("saved", (2, *m.batch, m.row), ("largest", "scale"), dtype=WORKSPACE)
    held = list[Tensor]()

    def attend(draft: Draft, outputs: Sequence[Output]) -> list[Output]:
        read = {a for n in postorder(f for o in outputs for f in o.fields) for a in n.args}
        direct = targets(m.results, [o for o in outputs if read.isdisjoint(o.fields)])  # else what reads it is rounded
        store = draft.store
        groups = _stored(draft, m.sides, outputs)
        for c in m.results:
            own = Tensor(store.numbered("saved", c.fields, "product"), c.dims, store.labels(c.fields), dtype=MATRIX)
            assert c not in direct or direct[c].first is None
            held.append(store.add(direct[c].tensor if c in direct else own))
        store.add(statistics)
        notes = ("one pass over tiles of scores, which are never stored", *_kept(groups))
        written = (*held, statistics)
        draft.steps.append(_step(m, "attend", groups, (), written, (*m.scores, *m.results), notes))
        table = {f: x for c, t in zip(m.results, held) for f, x in store.reading(t, c.fields).items()}
        names = {t.name for t in held}
        table = under_all_names(draft.builder, table)
        return substituted(draft.builder, [o for o in outputs if o.tensor.name not in names], table)

    draft = plan(graph, graph.outputs, first=attend)
    kept = tuple(t for t in held if t.dtype == MATRIX)
    return Program(graph, graph.inputs, graph.results, (statistics, *kept), (), tuple(draft.steps)), tuple(held)


def _stored(draft: Draft, sides: Sequence[Sequence[Factor]], outputs: Sequence[Output]) -> list[tuple[Tensor, ...]]:
    """The tensors that hold factors; those that lie nowhere are stored."""
    store, fresh, found = draft.store, list[Output](), list[tuple[Tensor, ...]]()
    for side in sides:
        tensors = list[Tensor]()
        for factor in side:
            there = store.there(factor)
            if there is None or there.first is not None:
                there, is_new = store.factor(factor)
                fresh += [Output(there.tensor, factor.fields)] if is_new else []
            tensors.append(there.tensor)
        found.append(tuple(tensors))
    why = {o.tensor.name: STORED for o in fresh}
    add_stages(draft, fresh, [f for o in outputs for f in o.fields], why)
    return found


def _kept(groups: Sequence[Sequence[Tensor]]) -> list[str]:
    names = [t.memory for group in groups for t in group if t.dtype != MATRIX]
    return [f"reads {', '.join(names)} where they lie"] if names else []


def _step(
    m: _Matrices,
    name: str,
    groups: Sequence[tuple[Tensor, ...]],
    rows: tuple[Tensor, ...],
    written: tuple[Tensor, ...],
    products: Sequence[Contraction],
    notes: Sequence[str] = (),
) -> Attend:
    counted = tuple(Multiplied(c.axes, c.multiplications) for c in products)
    mask = m.mask if products else None
    return Attend(name, m.batch, tuple(groups), rows, mask, written, counted, tuple(notes))


# the backward


@dataclass(frozen=True, slots=True)
class _Derivative:
    """The gradients, by those of what attention reads, the `parts`; and the cotangents of what it gives."""

    graph: Graph
    cotangents: list[Factor]
    parts: list[Tensor]


def _backward(graph: Graph, m: _Matrices, found: _Derivative, forward: Program, results: Sequence[Tensor]) -> Program:
    derivative, cotangents, parts = found.graph, found.cotangents, found.parts
    statistics, b = forward.saved[0], derivative.builder
    b.declare(statistics)
    own = {t.name for t in derivative.inputs}
    read = tuple(t for t in results if t.name not in own)  # results that were stored for the caller, or for this
    joint = replace(derivative, inputs=(*derivative.inputs, statistics, *read))
    verify(replace(joint, inputs=(*joint.inputs, *parts)))
    seeds = derivative.inputs[len(graph.inputs) :]
    optional = tuple(t.name for t in seeds if len(seeds) > 1)

    def attend(draft: Draft, outputs: Sequence[Output]) -> list[Output]:
        *groups, given = _stored(draft, [*m.sides, cotangents], outputs)
        share = draft.store.add(Tensor(draft.store.numbered("total"), (*m.batch, m.row), dtype=WORKSPACE))
        places = [_place(draft, part, outputs) for part in parts]
        count = len(m.queries)
        why = ("computes scores again, a tile at a time, of the same numbers",)
        rows, around = (statistics, share), (*groups, given)
        forth, back = m.scores, m.results
        draft.steps += [
            _step(m, "shares", (tuple(results), given), (), (share,), (), ("what gradients of scores have in common",)),
            _step(m, "to_queries", around, rows, tuple(places[:count]), (*forth, *back, *forth), why),
            _step(m, "to_keys", around, rows, tuple(places[count:]), (*forth, *back, *back, *forth), why),
        ]
        names = {t.name for t in places}
        found = (draft.store.reading(place, _fields(b, part)) for part, place in zip(parts, places))
        table = {x: y for reading in found for x, y in reading.items()}
        return substituted(b, [o for o in outputs if o.tensor.name not in names], under_all_names(b, table))

    draft = plan(joint, joint.outputs, optional=optional, first=attend)
    return Program(joint, joint.inputs, joint.results, (), optional, tuple(draft.steps))


def _fields(b: Builder, tensor: Tensor) -> tuple[Node, ...]:
    return tuple(b.input(tensor.name, i, tensor.axes) for i in range(len(tensor.labels)))


def _place(draft: Draft, part: Tensor, outputs: Sequence[Output]) -> Tensor:
    """Where a part's gradient goes: into a result that is it as it lies, else into memory of its own."""
    fields = _fields(draft.builder, part)
    found = [o.tensor for o in outputs if o.fields == fields and o.tensor.dims == part.dims and not o.tensor.slices]
    store = draft.store
    return store.add(found[0] if found else Tensor(store.numbered("product"), part.dims, part.labels, dtype=MATRIX))


def _derivative(graph: Graph, grads: Sequence[str], m: _Matrices, results: Sequence[Tensor]) -> _Derivative | str:
    """Both sides of attention, each differentiated on its own; or why that does not come together."""
    b = graph.builder
    made = [_declared(b, f"attended{i}", t) for i, t in enumerate(results)]
    table = {x: y for c, t in zip(m.results, made) for x, y in zip(c.fields, _fields(b, t))}
    behind = replace(graph, inputs=(*graph.inputs, *made), outputs=tuple(substituted(b, graph.outputs, table)))
    behind = differentiate(behind, [*grads, *(t.name for t in made)])
    found = {x: y for t, held in zip(made, results) for x, y in zip(_fields(b, t), _fields(b, b.declare(held)))}
    own = {f"grad_{t.name}" for t in made}
    of = {o.tensor.name: o.fields for o in substituted(b, behind.outputs, under_all_names(b, found))}
    read = [f for side in m.sides for f in side]
    parts = [_declared(b, f"attending{i}", Tensor("", f.dims, _labels(len(f.fields)))) for i, f in enumerate(read)]
    before = differentiate(replace(graph, outputs=tuple(Output(t, f.fields) for t, f in zip(parts, read))), grads)
    if [o.tensor for o in before.outputs] != [o.tensor for o in behind.outputs if o.tensor.name not in own]:
        return "gradients are made of parts"
    outputs = tuple(replace(o, fields=tuple(map(b.add, o.fields, of[o.tensor.name]))) for o in before.outputs)
    cotangents = [Factor(of[f"grad_{t.name}"], t.dims, False) for t in made]
    if holds_dot(x for factor in cotangents for x in factor.fields):
        return "products of matrices are made of what attention gives"
    seeds = [b.tensors[f"grad_{t.name}"] for t in parts]
    inputs = tuple(t for t in behind.inputs if t not in made)
    return _Derivative(replace(behind, inputs=inputs, outputs=outputs), cotangents, seeds)


def _declared(b: Builder, name: str, like: Tensor) -> Tensor:
    """A tensor like another, by a name that no other has."""
    while name in b.tensors or f"grad_{name}" in b.tensors:
        name += "_"
    return b.declare(Tensor(name, like.dims, like.labels))


def _labels(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count))) if count > 1 else ("",)
