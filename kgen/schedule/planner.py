"""One program: what needs different matrix products is planned one after the other.

In: results of a graph. Out: the steps that make them, in launch order, with the reason for each decision as text that
emitted comments print. The rules are those of `schedule.py`'s docstring; `lookups.py`, `matmuls.py` and
`stages.py` keep them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node
from kgen.schedule.draft import Draft
from kgen.schedule.lookups import add_results
from kgen.schedule.purposes import purposes, renamed


def plan(
    graph: Graph,
    outputs: Sequence[Output],
    readable: Mapping[Node, Node] | None = None,
    optional: Sequence[str] = (),
    saved: Iterable[Node] = (),
    first: Callable[[Draft, Sequence[Output]], list[Output]] | None = None,
) -> Draft:
    """The program of some results.

    `readable` are fields that may be had from a stored output, by what is read then. `saved` are Dots below the results
    that are to be found in memory afterwards; the draft says where. What comes `first` adds steps of its own, and gives
    the results that are left.
    """
    draft = Draft(graph, graph.name, dict(readable or {}), optional, {dot: dot for dot in saved})
    draft.store.reserve(o.tensor.memory for o in outputs)
    add_results(draft, first(draft, outputs) if first else outputs)
    results = {o.tensor.memory for o in outputs}
    names = purposes(draft.steps, draft.name, results, dict(draft.alternatives))
    draft.alternatives = [(names[kernel], names[other]) for kernel, other in draft.alternatives]
    draft.steps = [renamed(step, names) for step in draft.steps]
    assert results <= {
        t.memory for step in draft.steps for t in step.written
    }, f"{graph.name} leaves a result unwritten"
    return draft
