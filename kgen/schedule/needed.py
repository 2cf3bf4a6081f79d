"""The arithmetic that a function needs: the operations of its formula, whatever else a schedule computes.

In: the traced graph of a variant, and the programs that were made of it. Out: for the forward, and for the forward and
all gradients together, how many operations of each kind there are at each point of some axes. A field is counted once,
also where a backward computes it again, and nothing is counted for what is stored, padded or launched. How many
operations a formula has depends on how it is factored, and the best way is not known. So this is the cheapest of those
that are: as it was traced or factored as a whole, forward and gradients together, gradients of either, and as the
schedule has it, kernel by kernel.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.cost import DRAW, OTHER, RECIPROCAL, WEIGHTS
from kgen.graph.counts import Counts, Operation, accumulation, counted, operations
from kgen.graph.graph import Graph
from kgen.graph.node import Node, postorder
from kgen.graph.simplify import simplify
from kgen.schedule.intermediates import regroup
from kgen.schedule.program import Program

FORWARD, BOTH = "forward", "forward+backward"
PRODUCT = "product"
ARITHMETIC = ("mul", "add", PRODUCT)  # kinds in the order in which they are written, before functions by name
EXTENT = 256  # of each axis, at which two ways are compared

Work = dict[str, dict[str, int]]  # by axes, "b n": operations of each kind


def needed(graph: Graph, grads: Sequence[str], programs: Sequence[Program]) -> dict[str, Work]:
    """The work of each direction; that of the forward alone where nothing is differentiated."""
    b = graph.builder.copy()  # so that nothing of this is seen elsewhere
    plain = replace(graph, builder=b)
    forms = [plain, _factored(plain)]
    found = {FORWARD: _least(b, [_ways(g, ()) for g in forms], programs[:1])}
    if grads:
        found[BOTH] = _least(b, [_ways(g, grads) for g in forms], programs[:2] if len(programs) > 1 else ())
    return {direction: _written(graph, counts) for direction, counts in found.items()}


def _factored(graph: Graph) -> Graph:
    outputs, _ = regroup(graph.outputs, simplify(graph.builder, graph.roots))
    return replace(graph, outputs=outputs)


def _ways(graph: Graph, grads: Sequence[str]) -> list[list[Node]]:
    """The results, and with them the gradients: as they are, and factored together."""
    roots = [*graph.roots, *(differentiate(graph, grads).roots if grads else ())]
    return [roots, simplify(graph.builder, roots)]


def _least(b: Builder, ways: Iterable[Iterable[Sequence[Node]]], programs: Sequence[Program]) -> Counts:
    candidates = [counted(operations(_distinct(b, postorder(roots)))) for way in ways for roots in way]
    if programs:
        candidates.append(counted(operation for program in programs for operation in _scheduled(program)))
    return min(candidates, key=_total)


def _distinct(b: Builder, nodes: Sequence[Node]) -> Iterator[Node]:
    """The fields without those that are others under other names of axes, and in the same memory."""
    renamed = [b.rename(nodes, names) for names in b.exchanges]
    twins = set[Node]()
    for node, *others in zip(nodes, *renamed):
        if node not in twins:
            twins.update(others)
            yield node


def _scheduled(program: Program) -> Iterator[Operation]:
    """The operations of a program's launches."""
    replaced = {new for _, new in program.alternatives}
    for kernel in program.kernels:
        if kernel.name not in replaced:
            yield from operations(n for n in kernel.nodes if n.kind != "Dot")
            yield from (accumulation(x, f.reduction) for f in kernel.folds for x in f.fields if x.kind != "Dot")
    for product in program.multiplied:
        yield from [(frozenset(product.axes), PRODUCT)] * product.multiplications


def _total(counts: Counts) -> int:
    return sum(instructions(kinds) * EXTENT ** len(axes) for axes, kinds in counts.items())


def instructions(kinds: Mapping[str, int]) -> int:
    """At least so many in fp32: one multiplies and adds at once."""
    functions = sum(n * weight(kind) for kind, n in kinds.items() if kind not in ARITHMETIC)
    return max(kinds.get("mul", 0), kinds.get("add", 0)) + 2 * kinds.get(PRODUCT, 0) + functions


def weight(function: str) -> int:
    """The instructions of a function."""
    return {"reciprocal": RECIPROCAL, "draw": DRAW}.get(function) or WEIGHTS.get(function, OTHER)


def _written(graph: Graph, counts: Counts) -> Work:
    """Counts as `KERNELS` has them: axes of one extent have one name, those that flatten any number are "..."."""
    leading = {t.axes[0] for t in graph.inputs if t.leading}
    work: dict[str, Counter[str]] = {}
    for axes, kinds in sorted(counts.items(), key=lambda item: (-len(item[0]), sorted(item[0]))):
        order = graph.extents(a for a in graph.axes if a in axes)
        named = " ".join("..." if a in leading else str(a) for a in order)
        work.setdefault(named, Counter()).update(kinds)
    return {axes: dict(sorted(kinds.items(), key=_rank)) for axes, kinds in work.items() if axes}


def _rank(item: tuple[str, int]) -> tuple[int, str]:
    kind = item[0]
    return ARITHMETIC.index(kind) if kind in ARITHMETIC else len(ARITHMETIC), kind
