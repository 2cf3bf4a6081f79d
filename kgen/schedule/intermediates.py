"""What crosses between kernels: which fields are stored, as which tensors, and what stands in their place.

In: fields and graphs. Out: tensors with a place for each field, and outputs or tables of the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, postorder
from kgen.graph.order import words
from kgen.graph.tensor import Tensor
from kgen.schedule.program import WORKSPACE

Places = dict[Node, tuple[Tensor, int]]  # where fields are stored: a tensor, and the number of its component


@dataclass(frozen=True, slots=True)
class Stored:
    """Tensors that hold fields, and the fields that are read from them, by what they hold."""

    tensors: tuple[Tensor, ...]
    table: dict[Node, Node]


def regroup(outputs: Sequence[Output], fields: Sequence[Node]) -> tuple[tuple[Output, ...], list[Node]]:
    """Outputs with new fields, and the fields left over."""
    rest = list(fields)
    result = []
    for output in outputs:
        result.append(replace(output, fields=tuple(rest[: len(output.fields)])))
        del rest[: len(output.fields)]
    return tuple(result), rest


def substituted(b: Builder, outputs: Sequence[Output], table: dict[Node, Node]) -> list[Output]:
    """Outputs with every field of the table replaced."""
    return list(regroup(outputs, b.substitute([f for o in outputs for f in o.fields], table))[0])


def store_between(
    graph: Graph,
    fields: Sequence[Node],
    name: str,
    group: Callable[[Node], object] = lambda node: None,
    adjacent: bool = False,
) -> tuple[tuple[Tensor, ...], Places]:
    """Workspace tensors for fields, one for each set of axes (and group): components first, or last if `adjacent`."""
    groups: dict[tuple[tuple[str, ...], object], list[Node]] = {}
    for field in sorted(fields, key=lambda field: words(graph.builder.hints.get(field, ""))):
        axes = tuple(a for a in graph.axes if a in field.axes)
        groups.setdefault((axes, group(field)), []).append(field)
    tensors, where = list[Tensor](), Places()
    for (axes, _), members in groups.items():
        labels = labels_of([graph.builder.hints.get(m, "") for m in members])
        suffix = "" if len(groups) == 1 else "_" + ("".join(axes) or "all")
        twins = sum(t.axes == axes for t in tensors)
        suffix += str(twins + 1) if twins else ""
        dims: tuple[str | int, ...] = (*axes, len(members)) if adjacent else (len(members), *axes)
        tensor = Tensor(name + suffix, dims, labels, dtype=WORKSPACE)
        tensors.append(tensor)
        where.update({m: (tensor, i) for i, m in enumerate(members)})
    return tuple(tensors), where


def labels_of(hints: Sequence[str]) -> tuple[str, ...]:
    """A label for each component: its hint, or its number where that is missing or taken."""
    labels: list[str] = []
    for i, hint in enumerate(hints):
        labels.append(hint if hint and hint not in labels else str(i))
    return tuple(labels)


def as_outputs(b: Builder, tensors: Sequence[Tensor], where: Places) -> list[Output]:
    """The tensors with the fields that have a place in them, zero where a product makes what nobody asks for."""
    placed = {(owner.name, i): node for node, (owner, i) in where.items()}
    return [Output(t, tuple(placed.get((t.name, i), b.zero) for i in range(len(t.labels)))) for t in tensors]


def under_all_names(b: Builder, table: dict[Node, Node]) -> dict[Node, Node]:
    """The table, and the same with axes of one extent exchanged."""
    found = dict(table)
    for names in b.exchanges:
        found |= dict(zip(b.rename(list(table), names), b.rename(list(table.values()), names)))
    return found


def along(b: Builder, fields: Sequence[Node], axes: Sequence[str], others: Sequence[str]) -> list[Node]:
    """Fields of a tensor with some axes as those of the same one under other names."""
    names = next(n for n in ({}, *b.exchanges) if tuple(n.get(a, a) for a in axes) == tuple(others))
    return b.rename(fields, names) if names else list(fields)


def depends(roots: Sequence[Node], over: set[str]) -> set[Node]:
    """The nodes at or above a reduction over one of the axes."""
    result: set[Node] = set()
    for node in postorder(roots):
        if (node.is_reduction and set(node.over) & over) or any(a in result for a in node.args):
            result.add(node)
    return result


def frontier_of(roots: Sequence[Node], inner: str) -> list[Node]:
    """Fields without the inner axis that depend on a reduction over it and are read by a field that has it."""
    dependent = depends(roots, {inner})
    order = postorder(roots)
    read = {a for n in order for a in n.args if inner in n.axes or (n.is_reduction and inner in n.over)}
    return [n for n in order if n in dependent and n in read and inner not in n.axes]
