"""Reverse-mode differentiation: a graph comes in, the graph of its gradients goes out.

The result uses the same node kinds as its input, so it can be differentiated again. It has the inputs of the original
and one cotangent `grad_<output>` for each output; it yields one `grad_<input>` for each differentiable input. Fields
with a name have cotangents with one: `grad_<name>`, and `grad2_<name>` the second time, when the first is there, too.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output, parts
from kgen.graph.node import Names, Node, Rational, postorder, walk
from kgen.graph.tensor import Tensor

Contribution = tuple[Node, Node]  # (argument, what the node adds to the argument's cotangent, before unbroadcasting)
Rule = Callable[[Builder, Node, Node], list[Contribution]]


def differentiate(graph: Graph, grads: Iterable[str]) -> Graph:
    """The gradients of the inputs named in `grads`, given the cotangents of all outputs."""
    b = graph.builder
    seeds = {t.name: b.declare(replace(t, name=f"grad_{t.name}")) for t in graph.results}
    cotangents: dict[Node, list[Node]] = {}
    for output in graph.outputs:
        seed = _seed(b, output.tensor, seeds)
        for component, field in enumerate(output.fields):
            cotangent = b.input(seed.name, component, seed.axes)
            lacking = set(seed.axes) - field.axes  # the stored result repeats the field along these axes
            cotangents.setdefault(field, []).append(b.sum(cotangent, lacking))
    wanted = {t.name: t for t in graph.inputs if t.name in set(grads)}
    again = any(t.name.startswith("grad_") for t in graph.inputs)
    total = _propagate(b, graph.roots, cotangents, set(wanted), "grad2" if again else "grad")
    outputs = [
        Output(
            replace(tensor, name=f"grad_{name}"),
            tuple(_of_component(b, total, tensor, i) for i in range(len(tensor.labels))),
        )
        for name, tensor in wanted.items()
    ]
    stored = tuple(part for output in outputs for part in parts(b, output))
    return replace(graph, name=f"{graph.name}_backward", inputs=(*graph.inputs, *seeds.values()), outputs=stored)


def _seed(b: Builder, tensor: Tensor, seeds: dict[str, Tensor]) -> Tensor:
    """The cotangent of a result, or of a part of one."""
    whole = seeds[tensor.memory]
    return b.declared(replace(tensor, name=f"grad_{tensor.name}", source=whole.name)) if tensor.source else whole


def _of_component(b: Builder, total: dict[Node, Node], tensor: Tensor, component: int) -> Node:
    """The cotangent of one component of an input, which the graph may also read with axes renamed, or in parts."""
    found, depth = [total.get(b.input(tensor.name, component, tensor.axes), b.zero)], len(tensor.slices)
    others = [t for t in b.tensors.values() if t.source == tensor.memory and t.slices[:depth] == tensor.slices]
    for other in [t for t in others if t.slices == tensor.slices and t.name != tensor.name]:
        cotangent = total.get(b.input(other.name, component, other.axes))
        found += b.rename([cotangent], _exchange(other.axes, tensor.axes)) if cotangent else []
    further = [t.slices[depth] for t in others if t.slices != tensor.slices]
    for whole, axes in dict.fromkeys((part.whole, part.axes) for part in further):
        own = [b.sliced(tensor, (whole, axes), i) for i in range(len(axes))]
        found.append(b.cat([_of_component(b, total, part, component) for part in own], axes, whole))
    return b.add(*found)


def _exchange(axes: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """The exchange of axes that gives some the names of others: each name is given to one axis."""
    names = {a: d for a, d in zip(axes, others) if a != d}
    free = [a for a in names if a not in names.values()]
    return names | dict(zip([d for d in names.values() if d not in names], free))


def _propagate(
    b: Builder, roots: list[Node], cotangents: dict[Node, list[Node]], wanted: set[str], prefix: str
) -> dict[Node, Node]:
    """Cotangents of all nodes that lead to a wanted input, accumulated from the roots down.

    A field that is another one under other names of its axes hands its cotangent on to that one, under its names.
    """
    order = postorder(roots)
    relevant = _relevant(order, wanted | {t.name for t in b.tensors.values() if t.source in wanted})
    first = _first_names(b, [n for n in order if n in relevant and n.args])
    total: dict[Node, Node] = {}
    for node in reversed(list(walk(roots, lambda n: (first[n][0],) if n in first else n.args))):
        if node not in relevant or node not in cotangents:
            continue
        total[node] = cotangent = b.add(*cotangents.pop(node))
        if node in first:  # whose cotangent has the name, for this is a part of it
            twin, names = first[node]
            cotangents.setdefault(twin, []).extend(b.rename([cotangent], names))
            continue
        if hint := b.hints.get(node):
            b.name(cotangent, f"{'grad' if hint.startswith('grad') else prefix}_{hint}")
        for argument, contribution in RULES[node.kind](b, node, cotangent):
            if argument in relevant:
                cotangents.setdefault(argument, []).append(_unbroadcast(b, contribution, node, argument))
    return total


def _first_names(b: Builder, fields: Sequence[Node]) -> dict[Node, tuple[Node, Names]]:
    """Fields by those that they are under other names of their axes, if these were made before them."""
    found, known, trial = dict[Node, tuple[Node, Names]](), set(fields), b.copy()
    for names in b.exchanges:
        for field, other in zip(fields, trial.rename(fields, names)):
            if other in known and other.id < found.get(field, (field,))[0].id:
                found[field] = other, names
    return found


def _relevant(order: list[Node], wanted: set[str]) -> set[Node]:
    relevant: set[Node] = set()
    for node in order:
        stopped = node.kind == "Call" and node.function == "detach"
        wanted_input = node.kind == "Input" and node.tensor in wanted
        if wanted_input or (not stopped and any(a in relevant for a in node.args)):
            relevant.add(node)
    return relevant


def _unbroadcast(b: Builder, contribution: Node, result: Node, argument: Node) -> Node:
    """Sum over the axes along which the argument was repeated.

    The contribution may itself lack such an axis; `Builder.sum` then multiplies by the axis's size.
    """
    return b.sum(contribution, result.read_along - argument.axes)


def _add(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(x, b.scale(c, g)) for c, x in node.terms]


def _mul(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(x, b.mul(g, *node.args[:i], *node.args[i + 1 :])) for i, x in enumerate(node.args)]


def _reciprocal(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(node.args[0], b.neg(b.mul(g, node, node)))]


def _sum(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(node.args[0], g)]


def _max(b: Builder, node: Node, g: Node) -> list[Contribution]:
    """Ties share the cotangent evenly, as in torch.amax."""
    x = node.args[0]
    ties = b.call("where", b.call("eq", x, node), b.one, b.zero)
    return [(x, b.mul(g, ties, b.reciprocal(b.sum(ties, node.over))))]


def _dot(b: Builder, node: Node, g: Node) -> list[Contribution]:
    """Summed over the axes that a factor lacks, these are matrix products again where both of their sides have one."""
    return [c for left, right in node.pairs for c in ((left, b.mul(g, right)), (right, b.mul(g, left)))]


def _gather(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(node.args[0], b.segment(g, node.lookup))]


def _segment(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(node.args[0], b.gather(g, node.lookup))]


def _cast(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(node.args[0], g)]


def _call(b: Builder, node: Node, g: Node) -> list[Contribution]:
    return [(a, b.mul(g, d)) for a, d in zip(node.args, DERIVATIVES[node.function](b, node)) if d is not b.zero]


RULES: dict[str, Rule] = {
    "Add": _add,
    "Mul": _mul,
    "Reciprocal": _reciprocal,
    "Sum": _sum,
    "Max": _max,
    "Dot": _dot,
    "Gather": _gather,
    "Segment": _segment,
    "Cast": _cast,
    "Call": _call,
    "Input": lambda b, node, g: [],
    "Const": lambda b, node, g: [],
    "Size": lambda b, node, g: [],
    "Iota": lambda b, node, g: [],
    "Draw": lambda b, node, g: [],
}

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def _where(b: Builder, node: Node) -> list[Node]:
    condition = node.args[0]
    return [b.zero, b.call("where", condition, b.one, b.zero), b.call("where", condition, b.zero, b.one)]


def _extremum(first: str, second: str) -> Callable[[Builder, Node], list[Node]]:
    """Equal arguments share the cotangent evenly, and beside NaN both have it, as in torch.maximum."""

    def rule(b: Builder, node: Node) -> list[Node]:
        x, y = node.args
        share = b.call("where", b.call("eq", x, y), b.const(0.5), b.one)
        left = b.call("where", b.call(second, x, y), b.zero, share)
        right = b.call("where", b.call(first, x, y), b.zero, share)
        return [left, right]

    return rule


def _flat(b: Builder, node: Node) -> list[Node]:
    return [b.zero for _ in node.args]


def _gaussian(b: Builder, c: Rational, x: Node) -> Node:
    """exp(-c x^2): rounding the square costs as many digits as a fast exponential."""
    return b.call("fast_exp", b.scale(-c, b.mul(x, x)))


# the partial derivatives of each function, as fields of the node and its arguments
DERIVATIVES: dict[str, Callable[[Builder, Node], list[Node]]] = {
    "exp": lambda b, n: [n],
    "log": lambda b, n: [b.reciprocal(n.args[0])],
    "fast_exp": lambda b, n: [n],
    "erf": lambda b, n: [b.mul(b.const(TWO_OVER_SQRT_PI), _gaussian(b, 1, n.args[0]))],
    "phi": lambda b, n: [b.mul(b.const(1 / math.sqrt(2 * math.pi)), _gaussian(b, Fraction(1, 2), n.args[0]))],
    "sigmoid": lambda b, n: [b.mul(n, b.call("sigmoid", b.neg(n.args[0])))],  # 1 - n would cancel
    "tanh": lambda b, n: [b.sub(b.one, b.mul(n, n))],
    "sqrt": lambda b, n: [b.scale(0.5, b.reciprocal(n))],
    "rsqrt": lambda b, n: [b.scale(-0.5, b.mul(n, n, n))],
    "sin": lambda b, n: [b.call("cos", n.args[0])],
    "cos": lambda b, n: [b.neg(b.call("sin", n.args[0]))],
    "abs": lambda b, n: [
        b.sub(
            b.call("where", b.call("gt", n.args[0], b.zero), b.one, b.zero),
            b.call("where", b.call("lt", n.args[0], b.zero), b.one, b.zero),
        )
    ],
    "maximum": _extremum("gt", "lt"),
    "minimum": _extremum("lt", "gt"),
    "where": _where,
    "detach": _flat,
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"), _flat),
}
