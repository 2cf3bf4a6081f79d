"""From graphs to kernels: what is computed together, what is stored in between, what is saved for the backward.

`schedule` takes one variant's forward graph and gives the `Program` of its forward and of its backward: kernels in
launch order, with the reason for each decision as text that the emitted comments print.

*Inner* is the last axis in memory order, *outer* the rest. A reduction over outer axes is a *fold*: persistent programs
accumulate it in registers. A reduction over the inner axis needs a whole row; the *frontier* are the fields that depend
on one and are read by fields with more axes (the `rsqrt`, not the raw sum), one value a row. Four rules place the cuts:

* A fold that something else reads is stored first; what reads it runs in a later stage.
* The forward saves its frontier and its stored folds; the backward recomputes everything else from the inputs.
* What is compared with its own maximum is never recomputed, because equal bits are wanted: the forward saves it, and
  the backward takes the maximum of what was saved.
* Fields that need both a row reduction and a fold are cut at the frontier: a `row` kernel stores it, a `fold` kernel
  reads it. Without folds one `row` kernel does all, without row reductions one `map` or `fold` kernel.
* A kernel with more live values than registers has its results split.

Before all that the Dots go: what they multiply is stored in the order in which a matrix product reads it, torch's own
product makes them, and what reads them reads its result; or a `contract` kernel does all that at once, where
`fusion.py` says so. The forward saves those that the backward reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kgen.errors import KgenError
from kgen.graph.autodiff import differentiate
from kgen.graph.graph import Graph
from kgen.graph.node import Node, postorder
from kgen.graph.simplify import simplify
from kgen.graph.tensor import Tensor
from kgen.schedule.batching import alike, joined
from kgen.schedule.fusion import fusion
from kgen.schedule.grouping import contractions, levels
from kgen.schedule.intermediates import (
    Stored,
    as_outputs,
    frontier_of,
    labels_of,
    regroup,
    store_between,
    under_all_names,
)
from kgen.schedule.maxima import compared, exactly, rounded
from kgen.schedule.placement import stored
from kgen.schedule.planner import plan
from kgen.schedule.products import MATRIX, Contraction, Factor
from kgen.schedule.program import Program


def schedule(graph: Graph, grads: Sequence[str], order: int = 2) -> tuple[Program, ...]:
    """The programs of one variant: its forward and, as far as `order` goes and something is differentiable, its
    backward and the backward of that. Of what is derived from the plain and the factored graph, the cheaper.
    """
    if not graph.axes:
        raise KgenError(f"{graph.name} has no axis", hint="a kernel needs an input with a named axis, such as [n]")
    if not grads or not order:
        return (_forward(graph, (), ()),)
    saved = _saveable(graph, grads)
    first = _cheapest(_backward(g, rest, grads, (graph, saved)) for g, rest in _forms(graph, saved))
    programs = [_forward(graph, saved, first.kept), first.program]
    if order > 1:
        wanted = [*grads, *(f"grad_{o.tensor.name}" for o in graph.outputs)]
        forms = _forms(first.derivative, list(first.table))
        programs.append(_cheapest(_double_backward(d, held, first, wanted) for d, held in forms).program)
    return tuple(programs)


def _forms(graph: Graph, further: Sequence[Node]) -> Iterator[tuple[Graph, list[Node]]]:
    """The graph as it is and factored, and with it further fields; these are stored along their axes, and keep them."""
    plain = [*graph.roots, *further]
    yield graph, list(further)
    factored = simplify(graph.builder, plain)
    if factored != plain and [n.axes for n in factored] == [n.axes for n in plain]:
        outputs, rest = regroup(graph.outputs, factored)
        yield replace(graph, outputs=outputs), rest


def _cheapest(candidates: Iterable["_Derived"]) -> "_Derived":
    return min(candidates, key=lambda c: c.program.cost)


def _forward(graph: Graph, saved: Sequence[Node], kept: Sequence[int]) -> Program:
    held = [saved[i] for i in kept]
    tensors, places = _store_saved(graph, held)
    where = dict(zip(held, places))
    extra = as_outputs(graph.builder, tensors, where)
    steps = plan(graph, [*graph.outputs, *extra]).steps
    return Program(graph, graph.inputs, tuple(o.tensor for o in graph.outputs), tensors, (), tuple(steps))


@dataclass(frozen=True, slots=True)
class _Derived:
    """A scheduled derivative, and what differentiating it again needs."""

    program: Program
    derivative: Graph  # before saved fields take the place of what they hold
    saved: tuple[Tensor, ...]
    table: dict[Node, Node]  # saved fields, as inputs
    kept: tuple[int, ...]  # which of the saveable fields are read


def _backward(
    graph: Graph, saved: Sequence[Node], grads: Sequence[str], forward: tuple[Graph, Sequence[Node]]
) -> _Derived:
    """The backward, and which of the saveable fields it reads; `forward` says where these lie."""
    b = graph.builder
    derivative = differentiate(graph, grads)
    tensors, places = _store_saved(*forward)
    where = zip(saved, places)
    table = under_all_names(b, {node: b.input(b.declare(t).name, i, t.axes) for node, (t, i) in where})
    read = {n for n in postorder(b.substitute(derivative.roots, table)) if n.kind == "Input" and n.tensor in b.tensors}
    fields = {(b.tensors[n.tensor].memory, n.component) for n in read}
    wanted = {node for node, (t, i) in zip(forward[1], places) if (t.name, i) in fields}
    products = (c for level in _saved_products(*forward) for c in level)
    wanted |= {f for c in products if not wanted.isdisjoint(c.fields) for f in c.fields}  # a product's result is one
    kept = tuple(n for n, node in enumerate(forward[1]) if node in wanted)
    if len(kept) < len(saved):  # number the saved tensors' components without the fields that nobody reads
        rest, held = ([nodes[i] for i in kept] for nodes in (saved, forward[1]))
        found = _backward(graph, rest, grads, (forward[0], held))  # may leave more: fewer Dots, other products
        return replace(found, kept=tuple(kept[i] for i in found.kept))
    readable = _readable_outputs(graph, table, exactly(compared(derivative.roots)))
    program = _derived(graph, derivative, tensors, table, readable, ())
    return _Derived(program, derivative, tensors, table, kept)


def _double_backward(derivative: Graph, held: Sequence[Node], first: _Derived, wanted: Sequence[str]) -> _Derived:
    """The backward of a backward, which reads what the forward saved for that: the fields `held`."""
    second = differentiate(derivative, wanted)
    second = replace(second, name=f"{derivative.name.removesuffix('_backward')}_double_backward")
    table = dict(zip(held, first.table.values()))
    program = _derived(derivative, second, first.saved, table, Stored((), {}), first.program.optional)
    return replace(first, program=program, derivative=second)


def _derived(
    graph: Graph,
    derivative: Graph,
    saved: tuple[Tensor, ...],
    table: dict[Node, Node],
    stored: "Stored",
    missing: tuple[str, ...],
) -> Program:
    """The program of a graph's derivative, with saved fields in place of what they hold."""
    outputs, _ = regroup(derivative.outputs, graph.builder.substitute(derivative.roots, table))
    inputs = (*derivative.inputs, *saved, *stored.tensors)
    cotangents = derivative.inputs[len(graph.inputs) :]
    optional = (*missing, *(t.name for t in cotangents if len(cotangents) > 1))
    joint = replace(derivative, inputs=inputs, outputs=outputs)
    draft = plan(joint, outputs, stored.table, optional)
    steps = tuple(draft.steps)
    used = {name for step in steps for name in step.reads}
    needed = tuple(t for t in inputs if t.name in used or t in derivative.inputs)
    results = tuple(o.tensor for o in outputs)
    return Program(joint, needed, results, (), optional, steps, tuple(draft.alternatives))


def _readable_outputs(graph: Graph, saved: dict[Node, Node], exact: Sequence[Node]) -> Stored:
    """Fields that can be had from a stored output: out = x * r with r saved gives x = out / r, but not to the bit."""
    b = graph.builder
    table: dict[Node, Node] = {}
    for output in graph.outputs:
        for i, field in enumerate(output.fields):
            if field.kind == "Mul" and set(output.tensor.axes) == field.axes:
                rows = [x for x in field.args if x in saved and _never_zero(x)]
                rest = [x for x in field.args if x not in saved]
                if rows and len(rest) == 1 and rest[0] not in exact:
                    stored = b.input(output.tensor.name, i, output.tensor.axes)
                    (read,) = b.substitute(rest, saved)  # where it is computed of saved fields
                    table[read] = b.mul(stored, *(b.reciprocal(saved[r]) for r in rows))
    used = {n.tensor for value in table.values() for n in postorder([value]) if n.kind == "Input"}
    return Stored(tuple(o.tensor for o in graph.outputs if o.tensor.name in used), table)


def _never_zero(node: Node) -> bool:
    """Whether dividing by the field is safe, however small its argument."""
    return node.kind == "Reciprocal" or (node.kind == "Call" and node.function == "rsqrt")


# what the forward saves


def _store_saved(graph: Graph, fields: Sequence[Node]) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, int]]]:
    """Tensors for what the forward saves, and each field's place; the Dots lie as the matrix products store them."""
    b = graph.builder
    tensors, where = store_between(graph, [f for f in fields if f.kind != "Dot"], "saved")
    for products in _saved_products(graph, fields):
        for c in _at_once(graph, products):
            labels = labels_of([b.hints.get(f, "") for f in c.fields])
            number = sum(t.dtype == MATRIX for t in tensors)
            tensor = Tensor(f"saved_product{number or ''}", c.dims, labels, dtype=MATRIX)
            tensors = (*tensors, tensor)
            where.update({f: (tensor, i) for i, f in enumerate(c.fields) if f.kind == "Dot"})
    return tensors, [where[f] for f in fields]


def _saved_products(graph: Graph, fields: Sequence[Node]) -> Iterator[list[Contraction]]:
    """The matrix products that make saved fields, level by level."""
    for dots in levels(postorder(graph.roots)):
        yield contractions(graph.builder, graph.axes, [d for d in dots if d in fields], graph.outputs)


def _at_once(graph: Graph, products: Sequence[Contraction]) -> list[Contraction]:
    """The products, those of one size as batches, unless a kernel computes their factors on the way."""
    known = {t.name: t for t in graph.inputs}

    def lies(factor: Factor) -> bool:
        return stored(factor, graph.inputs) is not None

    def kind(c: Contraction) -> Contraction | None:
        missing = [f for f in (c.left, c.right) if not lies(f)]
        return c if fusion(c, missing, graph.axes, known).computed else None

    found = list[Contraction]()
    for members in alike(products, kind):
        whole = joined(graph.builder, members, lies)
        found += [whole] if whole else members
    return found


def _saveable(graph: Graph, grads: Sequence[str]) -> list[Node]:
    """What the forward computes once and the backward would need another pass for: frontier, inner folds and Dots.

    And what the backward compares with its maximum; this is not saved itself, but taken of the same bits again.
    """
    roots = graph.roots
    order = postorder(roots)
    inner = _innermost(graph, order)
    outer = set(graph.axes) - {inner}
    folds = {n for n in order if n.is_reduction and set(n.over) & outer}
    passes = {a for n in order for a in n.args if a in folds} | set(frontier_of(roots, inner))
    maxima = compared(differentiate(graph, grads).roots) if any(n.kind == "Max" for n in order) else []
    again, stored = {n for n in maxima if rounded([n])}, set(rounded(maxima))
    return [n for n in order if n in passes - again or n in stored or n.kind == "Dot"]


def _innermost(graph: Graph, order: Sequence[Node]) -> str:
    """The innermost axis of what is left once the Dots are stored."""
    left = postorder(graph.roots, stop=[n for n in order if n.kind == "Dot"])
    axes = frozenset[str]().union(*(o.tensor.axes for o in graph.outputs), *(n.axes for n in left))
    return [graph.axes[-1], *(axis for axis in graph.axes if axis in axes)][-1]
