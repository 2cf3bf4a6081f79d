"""What torch's own engine is told of a variant's operators, besides how to run them.

In: scheduled programs. Out: the axes that several devices may share, as they stand in `KERNELS`, and the floating-point
operations of a program by the axes along which they are repeated.
"""

from collections.abc import Sequence

from kgen.graph.cost import operations
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Lookup
from kgen.schedule.program import Program

Count = tuple[int, tuple[str, ...]]  # operations at each point of these axes


def independent(forward: Program) -> tuple[str, ...]:
    """The axes along which elements do not meet: nothing reduces over them, joins them, counts along them or knows
    their size, and all results have them. A gradient of what lacks such an axis is a plain sum over it, to any
    order.
    """
    nodes = postorder(forward.graph.roots)
    bound = {axis for n in nodes for axis in n.reduced} | {n.axis for n in nodes if n.kind in ("Size", "Iota")}
    bound |= {axis for n in nodes if n.kind in ("Gather", "Segment") for axis in n.lookup[:2]}
    bound |= {*forward.graph.axes} if any(n.kind == "Draw" for n in nodes) else set()
    bound |= {axis for whole, axes in forward.graph.builder.joined.items() for axis in (whole, *axes)}
    for pair in forward.graph.builder.alike:
        bound |= set(pair) if bound & set(pair) else set()
    results = [set(t.axes) for t in forward.outputs]
    free = [a for a in forward.graph.axes if a not in bound and all(a in axes for axes in results)]
    leading = {t.axes[0] for t in forward.inputs if t.leading}
    return tuple("..." if a in leading else a for a in free)


def flops(program: Program) -> tuple[Count, ...]:
    """The operations of a program's launches: each field is computed once at each point of its axes."""
    replaced = {new for _, new in program.alternatives}
    counts: dict[tuple[str, ...], int] = {}
    for kernel in program.kernels:
        if kernel.name in replaced:
            continue
        segments = kernel.segments
        found = [(operations(n), _repeated(segments, n)) for n in kernel.nodes]
        folded = [node for fold in kernel.folds for node in fold.fields if node.kind != "Dot"]
        found += [((0, 1, 0), node.axes) for node in folded if node.axes]
        for parts, axes in found:
            if any(parts) and axes:
                along = tuple(a for a in program.graph.axes if a in axes)
                counts[along] = counts.get(along, 0) + sum(parts)
    for p in program.multiplied:
        along = tuple(a for a in program.graph.axes if a in p.axes)
        counts[along] = counts.get(along, 0) + 2 * p.multiplications
    ordered = _ordered(counts, program.graph.axes)
    return tuple((count, tuple(map(str, program.graph.extents(along)))) for count, along in ordered)


def _repeated(segments: Sequence[Lookup], node: Node) -> frozenset[str]:
    """The axes along which a field is computed; of an index's places each has one position."""
    along = node.read_along.union(*(a.axes for a in node.args))
    return along - {by.into for by in segments if by.along in along}


def _ordered(counts: dict[tuple[str, ...], int], axes: Sequence[str]) -> tuple[Count, ...]:
    """What is repeated along the most axes first."""
    keys = sorted(counts, key=lambda along: (-len(along), [axes.index(a) for a in along]))
    return tuple((counts[along], along) for along in keys)
