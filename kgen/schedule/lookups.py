"""What goes by an index: what is stored before it is read there, and which kernel adds up segments.

In: results of a graph. Out: steps of a draft. A gathered field that lies in memory is read where the index says, by
whichever kernel needs it, and none stores it. Three rules say what has to be there first:

* What is gathered and lies nowhere, because it is computed, is stored for each position.
* What is summed within a segment and is a reduction itself is stored for each place of the index.
* A segment is summed by a kernel that walks the places of one position, in the order of a sorted index. What is made
  of its sums element by element is made there, too; all else reads a segment that was stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgen.graph.graph import Output
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Lookup, Tensor
from kgen.schedule.draft import Draft
from kgen.schedule.intermediates import Places, as_outputs, store_between, substituted
from kgen.schedule.kernels import kernel
from kgen.schedule.matmuls import add_products, by_dots
from kgen.schedule.program import WORKSPACE
from kgen.schedule.registers import overflows
from kgen.schedule.stages import add_stages, domains

GATHERED = "stores what is read where an index says"
WALKS = "adds in the order of the sorted index, whichever order the index has"


def add_results(draft: Draft, outputs: Sequence[Output]) -> None:
    """The steps of results, after those of what they read by an index."""
    rest = _located(draft, outputs)
    while first := _first(rest):
        stored = _stored(draft, first, rest, "gathered", adjacent=True)
        _add(draft, stored.outputs, dict.fromkeys((o.tensor.name for o in stored.outputs), GATHERED))
        left = [o for o in rest if o not in stored.outputs]
        rest = _located(draft, _reading(draft, left, draft.store.remember(stored.tensors, stored.where)))
    _add(draft, rest, {})


@dataclass(frozen=True, slots=True)
class _Stored:
    """Results that are computed first, and where fields are found in them."""

    outputs: list[Output]
    where: Places

    @property
    def tensors(self) -> list[Tensor]:
        return [o.tensor for o in self.outputs]


def _stored(draft: Draft, fields: Sequence[Node], outputs: Sequence[Output], role: str, adjacent: bool) -> _Stored:
    """Where fields are stored: as what the backward reads of them, or in a tensor of their own."""
    kept = [o for o in outputs if o.tensor.dtype == WORKSPACE and set(o.fields) <= set(fields)]
    places = {f: (o.tensor, i) for o in kept for i, f in enumerate(o.fields)}
    left = [f for f in fields if f not in places]
    tensors, where = store_between(draft.graph, left, draft.store.numbered(role, left), adjacent=adjacent)
    return _Stored([*kept, *as_outputs(draft.builder, tensors, where)], where | places)


def _reading(draft: Draft, outputs: Sequence[Output], table: dict[Node, Node]) -> list[Output]:
    """Results that read what is stored, and Dots for the backward that do."""
    saved = draft.saved
    draft.saved = dict(zip(saved, draft.builder.substitute(list(saved.values()), table)))
    return substituted(draft.builder, outputs, table)


# where fields are read


def _located(draft: Draft, outputs: Sequence[Output]) -> list[Output]:
    """Results whose gathered fields are read from memory, where they lie there."""
    outputs = _reading(draft, outputs, _within_segments(draft, [f for o in outputs for f in o.fields]))
    order = postorder(f for o in outputs for f in o.fields)
    return _reading(draft, outputs, {n: _read(draft, n) for n in order if n.kind == "Gather" and _lies(draft, n)})


def _read(draft: Draft, gathered: Node) -> Node:
    """What is read of a tensor where an index says."""
    (x,) = gathered.args
    tensor = draft.builder.declare(draft.store.looked_up(x.tensor, gathered.lookup))
    return draft.builder.input(tensor.name, x.component, gathered.axes)


def _within_segments(draft: Draft, fields: Iterable[Node]) -> dict[Node, Node]:
    """Segments in which what is gathered by their own index is read at their position.

    Within what goes over all positions, such as a sum along them, a position is another one.
    """
    b, table = draft.builder, dict[Node, Node]()
    for node in postorder(fields):
        if node.kind == "Segment":
            (summed,), by = b.substitute(node.args, table), node.lookup
            bound = {n: n for n in postorder([summed]) if _goes_over(n, by.into) and not _is_gathered(n, by)}
            own = {n: n.args[0] for n in postorder([summed], stop=bound) if _is_gathered(n, by)}
            (field,) = b.substitute([summed], bound | own)
            table[node] = b.segment(field, by)
    return {node: made for node, made in table.items() if node is not made}


def _is_gathered(node: Node, by: Lookup) -> bool:
    return node.kind == "Gather" and node.lookup == by


def _goes_over(node: Node, axis: str) -> bool:
    """Whether a field is made of what lies along an axis, all along it or where an index says."""
    return axis in node.read_along - node.axes or node.kind == "Gather" and axis == node.lookup.into


def _lies(draft: Draft, node: Node) -> bool:
    """Whether what is gathered is in memory, along the axis that it has there."""
    (x,) = node.args
    return x.kind == "Input" and not draft.builder.tensors[x.tensor].lookups


# what is stored first


def _first(outputs: Sequence[Output]) -> list[Node]:
    """Fields that are to lie in memory before they are gathered or summed by segment, and need none that are, too."""
    order = postorder(f for o in outputs for f in o.fields)
    needed = {node.args[0] for node in order if node.kind == "Gather"}
    needed |= {n for node in order if node.kind == "Segment" for n in _inside(node) if _reduces(n)}
    waiting, ready = set[Node](), list[Node]()
    for node in order:
        if any(a in waiting for a in node.args):
            waiting.add(node)
        elif node in needed:
            ready.append(node)
            waiting.add(node)
    return ready


def _inside(segment: Node) -> list[Node]:
    """What a segment's sum is made of, as far as it is computed and not read."""
    read = [n for n in postorder(segment.args) if n.kind == "Gather"]
    return postorder(segment.args, stop=read)


def _reduces(node: Node) -> bool:
    return node.is_reduction or node.kind in ("Dot", "Segment")


# steps


def _add(draft: Draft, outputs: Sequence[Output], why: dict[str, str]) -> None:
    """The steps of results that gather nothing but what lies in memory."""
    own = [o for o in outputs if _is_made_of_segments(o)]
    others = [o for o in outputs if o not in own]
    order = postorder(f for o in others for f in o.fields)
    if found := [n for n in order if n.kind == "Segment"]:
        stored = _stored(draft, found, own, "segment", adjacent=False)
        own += [o for o in stored.outputs if o not in own]
        others = _reading(draft, others, draft.store.remember(stored.tensors, stored.where))
    for group in domains(draft.graph.axes, own).values():
        _add_segments(draft, group, why)
    for cluster in by_dots(others) if others or not own else ():
        add_stages(draft, add_products(draft, cluster), why=why)


def _is_made_of_segments(output: Output) -> bool:
    """Whether a result is computed of segments along all of its axes, element by element."""
    order = postorder(output.fields, stop=[n for n in postorder(output.fields) if n.kind == "Segment"])
    segments = [n for n in order if n.kind == "Segment"]
    own = set(output.tensor.axes)
    return (
        bool(segments)
        and not any(n.is_reduction or n.kind in ("Dot", "Gather") or not n.axes <= own for n in order)
        and all(n.axes == own and n.lookup.along not in own for n in segments)
    )


def _add_segments(draft: Draft, outputs: list[Output], why: dict[str, str]) -> None:
    """The kernel of results of one domain, or one for each when together they need too many registers."""
    own = [f for o in outputs for f in o.fields]
    if len(outputs) > 1 and overflows(draft.builder, own, own):
        for output in outputs:
            _add_segments(draft, [output], why)
        return
    into = {n.lookup.into for n in postorder(own) if n.kind == "Segment"}
    inner = next((a for a in reversed(draft.graph.axes) if a in outputs[0].tensor.axes and a not in into), "")
    notes = [why[o.tensor.name] for o in outputs if o.tensor.name in why]
    draft.steps.append(kernel(draft, "segment", outputs, (), (*dict.fromkeys(notes), WALKS), inner))
