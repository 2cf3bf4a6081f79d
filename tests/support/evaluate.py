"""A torch evaluator of `Graph`: tensors by name in, results by name out, in fp64, without kgen's own emission."""

import math
from functools import reduce

import torch
from torch import Tensor

from kgen.graph import tensor as memory
from kgen.graph.arithmetic import CONDITIONS
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, postorder
from kgen.reference import runtime

CALLS = {
    "abs": torch.abs,
    "detach": Tensor.detach,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda c, a, b: torch.where(c.bool(), a, b),
    "fast_exp": torch.exp,
    "phi": torch.special.ndtr,
    "sigmoid": torch.sigmoid,
    **{name: getattr(torch, name) for name in ("exp", "log", "erf", "tanh", "sqrt", "rsqrt", "sin", "cos", "sign")},
    **{name: getattr(torch, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    "and": lambda *conditions: reduce(torch.logical_and, conditions),
    "or": lambda *conditions: reduce(torch.logical_or, conditions),
    "not": torch.logical_not,
}
CHEAP = {"abs", "maximum", "minimum", "where", *CONDITIONS}  # functions of one instruction each


def drawn(graph: Graph, sizes: dict[str, int], generator: torch.Generator) -> dict[str, Tensor]:
    """Random inputs by name; positions that an index has are in range whichever axis it points into."""
    found = {}
    for tensor in graph.inputs:
        shape = [d if isinstance(d, int) else sizes[d] for d in tensor.dims]
        if tensor.dtype == memory.INDEX:
            found[tensor.name] = torch.randint(min(sizes.values()), shape, generator=generator)
        elif tensor.dtype == memory.INTEGER:
            found[tensor.name] = torch.randint(-1, 3, shape, generator=generator)
        elif tensor.dtype == memory.SEED:
            found[tensor.name] = torch.randint(1 << 62, shape, generator=generator)
        else:
            found[tensor.name] = torch.randn(shape, generator=generator, dtype=torch.float64)
    return found


def evaluate(
    graph: Graph, tensors: dict[str, Tensor], numbers: dict[str, float], sizes: dict[str, int]
) -> dict[str, Tensor]:
    """The graph's outputs in memory order. Inputs tell the extents of the axes they have, `sizes` those of the rest."""
    leaves: dict[tuple[str, int], Tensor] = {(name, 0): _number(value) for name, value in numbers.items()}
    extents = dict(sizes)
    for declared in graph.inputs:
        if declared.dtype in (memory.SEED, memory.INDEX):
            if declared.dtype == memory.SEED:
                leaves[declared.name, 0] = tensors[declared.name].reshape(())
            if declared.dtype == memory.INDEX:
                leaves[declared.name, 0] = _align(tensors[declared.name].double(), declared.axes, graph.axes)
                extents[declared.axes[0]] = len(tensors[declared.name])
            continue
        value = tensors[declared.name].double()
        value = value.reshape(-1, *value.shape[value.dim() - len(declared.dims) + 1 :]) if declared.leading else value
        extents |= {d: n for d, n in zip(declared.dims, value.shape, strict=True) if isinstance(d, str)}
        components = value.permute(_components_first(declared)).reshape(-1, *(extents[a] for a in declared.axes))
        for i, component in enumerate(components):
            leaves[declared.name, i] = _align(component, declared.axes, graph.axes)
    extents |= {whole: sum(extents[axis] for axis in axes) for whole, axes in graph.builder.joined.items()}
    for part in [t for t in graph.builder.tensors.values() if t.slices and t.source in {i.name for i in graph.inputs}]:
        for i in range(len(part.labels)):
            leaves[part.name, i] = _part(leaves[part.source, i], part, graph.axes, extents)
    done: dict[Node, Tensor] = {}
    for node in postorder(graph.roots):
        done[node] = _node(node, [done[a] for a in node.args], graph.axes, leaves, extents)
    found = [(o.tensor, _store(o, [done[f] for f in o.fields], graph.axes, extents)) for o in graph.outputs]
    return {t.name: _joined([(p, x) for p, x in found if p.memory == t.name]) for t in graph.results}


def _node(
    node: Node,
    args: list[Tensor],
    axes: tuple[str, ...],
    leaves: dict[tuple[str, int], Tensor],
    extents: dict[str, int],
) -> Tensor:
    match node.kind:
        case "Input":
            return leaves[node.tensor, node.component]
        case "Const":
            return _number(float(node.value))
        case "Iota":
            return _align(torch.arange(extents[node.axis]).double(), (node.axis,), axes)
        case "Size":
            return _number(extents[node.axis])
        case "Add":
            return sum((float(c) * x for c, x in zip(node.coefficients, args)), _number(0))
        case "Mul":
            return math.prod(args[1:], start=args[0])
        case "Reciprocal":
            return 1 / args[0]
        case "Call":
            result: Tensor = CALLS[node.function](*args)
            return result.double()
        case "Draw":
            return _kept(node, args[0], args[1], axes, extents)
        case "Gather" | "Segment":
            return _looked_up(node, args[0], axes, leaves[node.lookup.tensor, 0].flatten().long(), extents)
        case "Sum":
            return args[0].sum([axes.index(a) for a in node.over], keepdim=True)
        case "Dot":
            total = sum((a * b for a, b in zip(args[::2], args[1::2])), _number(0))
            return total.sum([axes.index(a) for a in node.over], keepdim=True)
        case "Max":
            return args[0].amax([axes.index(a) for a in node.over], keepdim=True)
    raise NotImplementedError(node.kind)


def _kept(node: Node, seed: Tensor, p: Tensor, axes: tuple[str, ...], extents: dict[str, int]) -> Tensor:
    """By the reference's generator, of elements that are counted here."""
    number, part, along = node.drawn
    element = torch.zeros((), dtype=torch.int64)
    for axis in along:
        place = torch.arange(extents[axis]).reshape([-1 if a == axis else 1 for a in axes])
        element = element * extents[axis] + place
    return (runtime._ref_uniform(seed, element, number, part) >= p).double()


def _looked_up(node: Node, x: Tensor, axes: tuple[str, ...], index: Tensor, extents: dict[str, int]) -> Tensor:
    """By a matrix that has a one where the index says."""
    along, into = axes.index(node.lookup.along), axes.index(node.lookup.into)
    matrix = torch.nn.functional.one_hot(index, extents[node.lookup.into]).double()  # (along, into)
    source, target, matrix = (into, along, matrix) if node.kind == "Gather" else (along, into, matrix.mT)
    x = x.expand([matrix.shape[1] if i == source else n for i, n in enumerate(_rank(x, axes))])
    return (x.movedim(source, -1) @ matrix.mT).movedim(-1, source).transpose(source, target)


def _rank(x: Tensor, axes: tuple[str, ...]) -> list[int]:
    return list(x.shape) if x.dim() else [1] * len(axes)


def _part(field: Tensor, part: memory.Tensor, order: tuple[str, ...], extents: dict[str, int]) -> Tensor:
    """What of a tensor's field lies in a part of it, along the part's axes."""
    for s in part.slices:
        before = sum(extents[axis] for axis in s.axes[: s.index])
        whole, own = order.index(s.whole), order.index(s.axes[s.index])
        field = field.narrow(whole, before, extents[s.axes[s.index]]).transpose(whole, own)
    return field


def _joined(parts: list[tuple[memory.Tensor, Tensor]], depth: int = 0) -> Tensor:
    """A result of its parts, which are in order; those of the first slices vary slowest."""
    if len(parts) == 1:
        return parts[0][1]
    place = next(i for i in range(depth, 9) if len({p.slices[i].index for p, _ in parts}) > 1)
    indices = sorted({p.slices[place].index for p, _ in parts})
    inside = [_joined([(p, x) for p, x in parts if p.slices[place].index == i], place + 1) for i in indices]
    return torch.cat(inside, parts[0][0].slices[place].position)


def _number(value: float) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)


def _components_first(tensor: memory.Tensor) -> list[int]:
    return sorted(range(len(tensor.dims)), key=lambda i: isinstance(tensor.dims[i], str))


def _align(value: Tensor, axes: tuple[str, ...], order: tuple[str, ...]) -> Tensor:
    """A field with one dim for each of the graph's axes, of extent 1 where it lacks the axis."""
    value = value.permute([axes.index(a) for a in order if a in axes])
    extents = dict(zip([a for a in order if a in axes], value.shape))
    return value.reshape([extents.get(a, 1) for a in order])


def _store(output: Output, fields: list[Tensor], order: tuple[str, ...], extents: dict[str, int]) -> Tensor:
    dims, axes = output.tensor.dims, output.tensor.axes
    fields = [f.reshape(f.shape if f.dim() else [1] * len(order)) for f in fields]
    fields = [f.expand([extents[a] if a in axes else 1 for a in order]) for f in fields]
    kept = [f.squeeze([i for i, a in enumerate(order) if a not in axes]) for f in fields]
    kept = [f.permute([[a for a in order if a in axes].index(a) for a in axes]) for f in kept]
    shape = [d for d in dims if isinstance(d, int)] + [extents[a] for a in axes]
    stacked = torch.stack(kept).reshape(shape)
    return stacked.permute(torch.tensor(_components_first(output.tensor)).argsort().tolist() if dims else [])
