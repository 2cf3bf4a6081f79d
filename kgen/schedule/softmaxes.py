"""Where a graph has attention: values added up by weights that are a softmax of products of matrices.

In: a graph. Out: an `Attention`, or why there is none. Guaranteed: nothing else reads scores or weights, so that they
need not lie anywhere.
"""

from dataclasses import dataclass

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.attend import Mask

LOWEST = -1e9  # what takes the place of a score that is not to count is this or less


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(scores) values: Dots whose sum the scores are, and Dots with the softmax, along `row` and `column`."""

    scores: tuple[Node, ...]
    values: tuple[Node, ...]
    row: str
    column: str
    mask: Mask


def attention(graph: Graph) -> Attention | str:
    """What is attention in a graph; or why nothing is, "" if it takes no maximum."""
    b, order = graph.builder.copy(), postorder(graph.roots)
    maxima = [n for n in order if n.kind == "Max"]
    if len(maxima) != 1 or len(maxima[0].over) != 1:
        return "it has more than one maximum" if maxima else ""
    (top,), (column,) = maxima, maxima[0].over
    (seen,) = top.args
    exponential = b.call("exp", b.sub(seen, b.call("detach", top)))
    weights = b.mul(exponential, b.reciprocal(b.sum(exponential, (column,))))
    if weights not in order:
        return "no softmax is made of its maximum: exp(scores - detach(max(scores))) over its sum"
    found = _unmasked(graph, seen, column)
    if isinstance(found, str):
        return found
    scores, mask, row = found
    values = tuple(n for n in order if n.kind == "Dot" and any(weights in pair for pair in n.pairs))
    left = b.substitute(graph.roots, {dot: _stand_in(b, i, dot) for i, dot in enumerate(values)})
    if not values or any({row, column} <= n.axes for n in postorder(left)):
        return f"scores or weights are read for more than sums of values over {column}"
    if any(len(n.pairs) > 1 or n.over != (column,) or row not in n.axes for n in values):
        return "values are added up together with something else"
    return Attention(scores, values, row, column, mask)


def _stand_in(b: Builder, number: int, dot: Node) -> Node:
    """A field along the axes of a Dot that nothing is known of."""
    return b.input(f"stand in {number}", 0, sorted(dot.axes))


def _unmasked(graph: Graph, seen: Node, column: str) -> tuple[tuple[Node, ...], Mask, str] | str:
    """The Dots whose sum the scores are, what they are masked by, and the axis of the queries."""
    masked = seen.args if seen.kind == "Call" and seen.function == "where" else None
    seen = masked[1] if masked else seen
    terms = seen.terms if seen.kind == "Add" else ((1, seen),)
    if any(c != 1 or x.kind != "Dot" for c, x in terms):
        return "its scores are no sums of products of matrices, each as it is"
    scores = tuple(x for _, x in terms)
    rows = {axis for x in scores for axis in x.axes - _shared(x)} - {column}
    if len(rows) != 1 or any(column not in x.axes for x in scores):
        return "its scores vary along more than one axis of queries"
    (row,) = rows
    mask = _mask(graph, masked[0], masked[2], row, column) if masked else Mask()
    return mask if isinstance(mask, str) else (scores, mask, row)


def _shared(dot: Node) -> frozenset[str]:
    """The axes that both factors of a Dot have."""
    return frozenset.intersection(*(x.axes for x in dot.pairs[0]))


def _mask(graph: Graph, condition: Node, other: Node, row: str, column: str) -> Mask | str:
    """That nothing later is seen, or that only positions with the same label are."""
    why = "its mask is neither that of what comes later nor that of other labels"
    if other.kind != "Const" or float(other.value) > LOWEST:
        return f"{why}, by {LOWEST:g} or less"
    fill = float(other.value)
    if condition.kind != "Call" or any(x.kind not in ("Iota", "Input") for x in condition.args):
        return why
    own, later = condition.args
    kinds = own.kind, later.kind
    if condition.function == "ge" and kinds == ("Iota", "Iota") and own.axes == {row} and later.axes == {column}:
        return Mask(causal=True, fill=fill)
    if condition.function == "eq" and kinds == ("Input", "Input"):
        labels, others = sorted(
            (graph.builder.tensors[x.tensor] for x in condition.args), key=lambda t: column in t.axes
        )
        renamed = tuple(column if axis == row else axis for axis in labels.axes)
        if (others.memory, others.axes) == (labels.name, renamed) and all(map(_is_plain, (labels, others))):
            return Mask(labels=labels, fill=fill)
    return why


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor of single numbers is read as it lies."""
    return tensor.dims == tensor.axes and not tensor.slices and not tensor.lookups
