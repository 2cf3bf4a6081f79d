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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress

from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, holds_dot, postorder
from kgen.graph.simplify import simplify
from kgen.graph.tensor import Tensor
from kgen.schedule.draft import Draft
from kgen.schedule.in_place import in_place
from kgen.schedule.intermediates import (
    Stored,
    along,
    as_outputs,
    depends,
    frontier_of,
    regroup,
    store_between,
    under_all_names,
)
from kgen.schedule.maxima import compared, exactly, rounded
from kgen.schedule.narrow import Unfit, narrow
from kgen.schedule.planner import plan
from kgen.schedule.program import Program
from kgen.schedule.recomputing import dear


def schedule(graph: Graph, grads: Sequence[str], order: int = 2) -> tuple[Program, ...]:
    """The programs of one variant: its forward and, as far as `order` goes and something is differentiable, its
    backward and the backward of that. Of what is derived from the plain and the factored graph, the cheaper.
    """
    if not grads or not order:
        return (in_place(_forward(graph, ()).program, graph.results),)
    saved = _saveable(graph, grads)
    forward = cache(lambda kept: _forward(graph, [saved[i] for i in kept]))
    first = _cheapest(_backward(g, fields, grads, forward) for g, fields in _forms(graph, saved))
    programs = [in_place(p, graph.results) for p in (first.forward.program, first.program)]
    if order > 1:
        wanted = [*grads, *(f"grad_{t.name}" for t in graph.results)]
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


@dataclass(frozen=True, slots=True)
class _Forward:
    """A planned forward, and what is read in place of each field that it holds for the backward."""

    program: Program
    held: tuple[Node, ...]
    places: tuple[Node, ...]
    mates: tuple[frozenset[Node], ...]  # those of them that one product makes

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those that hold fields, under all names that these are read by."""
        names = {t.name for t in self.program.saved}
        return {name: t for name, t in self.program.graph.builder.tensors.items() if t.memory in names}

    def read_by(self, nodes: Iterable[Node], tensors: Mapping[str, Tensor]) -> tuple[bool, ...]:
        """Which of the fields some others read; with one field of a product, all of them."""

        def memory(node: Node) -> tuple[str, int]:
            return tensors[node.tensor].memory, node.component

        read = {memory(n) for n in nodes if n.kind == "Input" and n.tensor in tensors}
        inputs = ([n for n in postorder([place]) if n.kind == "Input"] for place in self.places)
        found = {f for f, below in zip(self.held, inputs) if any(memory(n) in read for n in below)}
        found = found.union(*(mates for mates in self.mates if mates & found))
        return tuple(f in found for f in self.held)


def _forward(graph: Graph, held: Sequence[Node]) -> _Forward:
    """The forward, which stores its results and the fields `held`; the Dots lie as their products made them.

    It is planned among fields of its own, so that its kernels are the same whatever is derived from it.
    """
    b = graph.builder.copy()
    graph, fresh = replace(graph, builder=b), b.copy()
    dots = [n for n in postorder(held) if n.kind == "Dot"]

    def inner(field: Node) -> str | None:
        """The inner axis of the kernel that makes a field: beside fields with another one it took a pass of its own."""
        involved = {axis for n in postorder([field], stop=dots) for axis in n.axes}
        return next((axis for axis in reversed(graph.axes) if axis in involved), None)

    tensors, where = store_between(graph, [f for f in held if f.kind != "Dot"], "saved", inner)
    results = [*graph.outputs, *as_outputs(b, tensors, where)]
    draft = plan(graph, results, saved=[f for f in held if f.kind == "Dot"])
    places = draft.saved | {n: b.input(b.declare(t).name, i, t.axes) for n, (t, i) in where.items()}
    saved = (*tensors, *draft.kept)
    program = Program(graph, graph.inputs, graph.results, saved, (), tuple(draft.steps))
    if graph.narrow:
        program = _narrowed(program, [*results, *_products(fresh, draft, held)], fresh)
    return _Forward(program, tuple(held), tuple(places[f] for f in held), tuple(map(frozenset, draft.mates)))


@dataclass(frozen=True, slots=True)
class _Derived:
    """A scheduled derivative, and what differentiating it again needs."""

    forward: _Forward
    program: Program
    derivative: Graph  # before saved fields take the place of what they hold
    table: dict[Node, Node]  # saved fields, as inputs


def _backward(
    graph: Graph, saved: Sequence[Node], grads: Sequence[str], forward: Callable[[tuple[int, ...]], _Forward]
) -> _Derived:
    """The backward, which chooses among what the forward stored: `forward` plans it with some of the saveable fields.

    What nobody reads is not stored, so that the components of what is are numbered without it.
    """
    b, kept = graph.builder, tuple(range(len(saved)))
    derivative = differentiate(graph, grads)
    while True:
        made = forward(kept)
        for tensor in made.tensors.values():
            b.declare(tensor)
        table = under_all_names(b, dict(zip((saved[i] for i in kept), b.adopt(made.places))))
        read = made.read_by(postorder(b.substitute(derivative.roots, table)), b.tensors)
        if all(read):
            break
        kept = tuple(compress(kept, read))
    readable = _readable_outputs(graph, table, exactly(compared(derivative.roots)))
    program = _derived(graph, derivative, made.program.saved, table, readable, ())
    return _Derived(made, program, derivative, table)


def _double_backward(derivative: Graph, held: Sequence[Node], first: _Derived, wanted: Sequence[str]) -> _Derived:
    """The backward of a backward, which reads what the forward saved for that: the fields `held`."""
    second = differentiate(derivative, wanted)
    second = replace(second, name=f"{derivative.name.removesuffix('_backward')}_double_backward")
    table = dict(zip(held, first.table.values()))
    program = _derived(derivative, second, first.forward.program.saved, table, Stored((), {}), first.program.optional)
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
    fresh = graph.builder.copy()
    draft = plan(joint, outputs, stored.table, optional)
    steps = tuple(draft.steps)
    used = {name for step in steps for name in step.reads}
    needed = tuple(t for t in inputs if t.name in used or t in derivative.inputs)
    program = Program(joint, needed, joint.results, (), optional, steps, tuple(draft.alternatives))
    return _narrowed(program, outputs, fresh) if graph.narrow else program


# rows of few features


def _narrowed(program: Program, outputs: Sequence[Output], b: Builder) -> Program:
    """The program with another one for rows of few features, if its matrices can be multiplied inside of kernels.

    It is planned among fields of its own, those of the builder `b`.
    """
    graph = replace(program.graph, builder=b)
    if not holds_dot(f for o in outputs for f in o.fields):
        return program
    try:
        draft = narrow(graph, outputs, program.optional)
    except Unfit as unfit:
        return replace(program, unfit=str(unfit))
    own = replace(program, graph=graph, steps=tuple(draft.steps), alternatives=())
    lacking = {name for step in own.steps for name in step.reads} - {t.name for t in program.inputs}
    given = {t.name: t for t in program.graph.inputs}
    inputs = (*program.inputs, *(t for name, t in given.items() if name in lacking))
    return replace(program, inputs=inputs, narrow=replace(own, inputs=inputs))


def _products(b: Builder, draft: Draft, held: Sequence[Node]) -> list[Output]:
    """The products that a forward saves as results, whose components are the fields that they hold."""
    tensors, found = draft.builder.tensors, {t.name: dict[int, Node]() for t in draft.kept}
    for field in (f for f in held if f.kind == "Dot"):
        place = draft.saved[field]
        if place.kind == "Input":
            memory = tensors[tensors[place.tensor].memory]
            (own,) = along(b, [field], tensors[place.tensor].axes, memory.axes)
            found[memory.name][place.component] = own
    return [Output(t, tuple(found[t.name].get(i, b.zero) for i in range(len(t.labels)))) for t in draft.kept]


def _readable_outputs(graph: Graph, saved: dict[Node, Node], exact: Sequence[Node]) -> Stored:
    """Fields that can be had from a stored output: out = x * r with r saved gives x = out / r, but not to the bit."""
    b = graph.builder
    table: dict[Node, Node] = {}
    for output in (o for o in graph.outputs if not o.tensor.slices):
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


def _saveable(graph: Graph, grads: Sequence[str]) -> list[Node]:
    """What the forward computes once and the backward would need another pass for: frontier, folds, Dots, segments.

    And what the backward compares with its maximum; this is not saved itself, but taken of the same bits again.
    """
    roots = graph.roots
    order = postorder(roots)
    inner = _innermost(graph, order)
    outer = set(graph.axes) - {inner}
    folds = {n for n in order if n.is_reduction and set(n.over) & outer}
    passes = {a for n in order for a in n.args if a in folds} | {f for f in frontier_of(roots, inner) if _passes(f)}
    maxima = compared(differentiate(graph, grads).roots) if any(n.kind == "Max" for n in order) else []
    again, stored = {n for n in maxima if rounded([n])}, {*rounded(maxima), *_dear(graph, inner)}
    return [n for n in order if n in passes - again or n in stored or n.kind in ("Dot", "Segment")]


def _passes(field: Node) -> bool:
    """Whether a field takes a pass over rows, rather than being computed of matrix products element by element."""
    below = postorder([field])
    dots = [n for n in below if n.kind == "Dot"]
    return not dots or any(n.is_reduction for n in postorder([field], stop=dots))


def _dear(graph: Graph, inner: str) -> list[Node]:
    """Fields along all axes that are reduced along rows, and that cost more than to store them and load them again."""
    reduced = set(postorder(a for n in depends(graph.roots, {inner}) if n.is_reduction for a in n.args))
    axes, results = {frozenset(o.tensor.axes) for o in graph.outputs}, set(graph.roots)
    return [n for n in dear(graph.roots) if n in reduced and n.axes in axes and n not in results]


def _innermost(graph: Graph, order: Sequence[Node]) -> str:
    """The innermost axis of what is left once the Dots are stored."""
    left = postorder(graph.roots, stop=[n for n in order if n.kind == "Dot"])
    axes = frozenset[str]().union(*(o.tensor.axes for o in graph.outputs), *(n.axes for n in left))
    return [graph.axes[-1], *(axis for axis in graph.axes if axis in axes)][-1]
