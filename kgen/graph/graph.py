"""One variant of a kernel as a graph: the fields of its results over those of its inputs.

In: fields of one `Builder`, tensors. Out: a `Graph`, its stable text. Guaranteed by `verify`, which runs between
stages: the grammar of `node.py`, axes and inputs that are declared, a field for each component of a result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder, spell
from kgen.graph.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Output:
    """A result: where it is stored and the field of each of its components."""

    tensor: Tensor
    fields: tuple[Node, ...]


def parts(builder: Builder, output: Output) -> list[Output]:
    """A result of Cats as results of their parts, each a part of its tensor; any other as it is."""
    joins = {f.along for f in output.fields if f.kind == "Cat"}
    if not joins:
        return [output]
    join = min(joins)
    builder.declare(output.tensor)
    found = []
    for i in range(len(join[1])):
        fields = tuple(builder.part(f, join, i) for f in output.fields)
        found += parts(builder, Output(builder.sliced(output.tensor, join, i), fields))
    return found


@dataclass(frozen=True, slots=True)
class Graph:
    """One variant of a kernel, forward or backward, as fields of its inputs."""

    name: str
    axes: tuple[str, ...]  # memory order, outermost first
    inputs: tuple[Tensor, ...]
    numbers: tuple[str, ...]  # run-time numbers, Inputs without axes
    outputs: tuple[Output, ...]  # also parts of results, which have these as their `source`
    builder: Builder = field(repr=False, compare=False)
    precision: str | None = None  # of matrix products in fp32
    narrow: bool = False  # whether rows of few features have kernels of their own
    dense: bool = False  # whether all components enter one product of matrices, zeros included

    @property
    def roots(self) -> list[Node]:
        return [f for output in self.outputs for f in output.fields]

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The tensors that the outputs are, or are parts of."""
        known = self.builder.tensors
        whole = {t.memory: known[t.source] if t.source else t for t in (o.tensor for o in self.outputs)}
        return tuple(whole.values())

    def extents(self, dims: Iterable[str | int]) -> tuple[str | int, ...]:
        """Dims as their extents are checked: axes of one extent have one name, that of the outermost of them."""
        names = {axis: axis for axis in self.axes}
        for pair in self.builder.alike:
            first, second = sorted((names[axis] for axis in pair), key=self.axes.index)
            names = {axis: first if name == second else name for axis, name in names.items()}
        return tuple(d if isinstance(d, int) else names.get(d, d) for d in dims)

    def __str__(self) -> str:
        return dump(self)


def dump(graph: Graph) -> str:
    """The graph as stable text, numbered from zero in the order of evaluation."""
    order = postorder(graph.roots)
    name = {node: f"%{i}" for i, node in enumerate(order)}
    lines = [f"graph {graph.name} over {' '.join(graph.axes)}"]
    for tensor in graph.inputs:
        lines.append(f"  input {tensor.name} [{', '.join(map(str, tensor.dims))}]")
    lines += [f"  number {name}" for name in graph.numbers]
    for node in order:
        hint = graph.builder.hints.get(node)
        axes = " ".join(sorted(node.axes)) or "-"
        lines.append(f"  {name[node]} = {spell(node, name.__getitem__)} : {axes}" + (f"  # {hint}" if hint else ""))
    for output in graph.outputs:
        fields = ", ".join(name[f] for f in output.fields)
        lines.append(f"  output {output.tensor.name} [{', '.join(map(str, output.tensor.dims))}] = {fields}")
    return "\n".join(lines) + "\n"


def verify(graph: Graph) -> None:
    """Check the grammar between stages: axes known, inputs declared, arity, reductions over axes that exist."""
    declared = {t.name: t for t in (*graph.inputs, *graph.builder.tensors.values())}
    for node in postorder(graph.roots):
        assert node.axes <= set(graph.axes), f"{spell(node)} has axes outside {graph.axes}"
        if node.kind == "Input" and node.tensor not in graph.numbers:
            tensor = declared[node.tensor]
            assert node.component < len(tensor.labels) and node.axes == set(tensor.axes), spell(node)
        if node.kind in ("Add", "Mul"):
            assert node.args and (node.kind == "Add" or len(node.args) > 1), spell(node)
        if node.is_reduction or node.kind == "Dot":
            assert all(set(node.over) <= a.axes for a in node.args), spell(node)
        if node.kind in ("Gather", "Segment"):
            assert declared[node.lookup.tensor].axes == (node.lookup.along,), spell(node)
        if node.kind == "Dot":
            assert len({(a.axes, b.axes) for a, b in node.pairs}) == 1, spell(node)
    for output in graph.outputs:
        assert len(output.fields) == len(output.tensor.labels), output.tensor.name
        assert all(f.axes <= set(output.tensor.axes) for f in output.fields), output.tensor.name
