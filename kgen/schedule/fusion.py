"""Whether a kernel computes the factors of a matrix product on the way, or kernels store them for the library's.

In: a contraction, and which of its factors lie in memory. Out: the decision with its reason, which `kgen show` and the
emitted comments print. What is computed of the product alone, element by element, rides: the same kernel computes it of
its sums.

Storing a factor writes each of its fields once and reads it again. A kernel that computes it reads what it is made of
instead, once for each tile of the other factor, and computes it as often. So it pays where a factor as long as the
batch is made of no more fields than it has itself, by a few multiplications, and where the tiles are few and large,
because few products share a thread's registers. It does not for the products of multivectors: of two times 8 fields in
Cl(3,0) come 44 of a fully connected product, whose sums leave no room for wide tiles. At 4096 x 512 in tf32 on an H200
such a kernel took 805 us, the library's products of stored factors 322 us, and storing these 80 us.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.device import DEVICE
from kgen.schedule.intermediates import substituted
from kgen.schedule.products import Contraction, Factor, Grid

LINEAR = ("Input", "Const", "Add", "Mul")  # what is as cheap to compute again as to load


@dataclass(frozen=True, slots=True)
class Fusion:
    """The factors that a kernel computes on the way, none where the library multiplies; and why."""

    computed: tuple[Factor, ...]
    why: tuple[str, ...]


def fusion(c: Contraction, missing: Sequence[Factor], axes: Sequence[str], tensors: Mapping[str, Tensor]) -> Fusion:
    """`missing` are the factors that no tensor holds yet; those that are not computed on the way are stored first."""
    if not missing:
        return Fusion((), ("both factors lie in memory, so there is nothing to fuse",))
    if c.dense:
        return Fusion((), ("stores its factors first: all components of few features are one matrix",))
    if c.batch > 1:
        return Fusion((), ("stores its factors first: products of a batch are the library's",))
    reasons = {factor: _not_fusible(c) or _not_linear(factor, tensors) for factor in missing}
    computed = tuple(factor for factor, reason in reasons.items() if not reason)
    if not any(_long(factor, axes) for factor in computed):
        return Fusion((), ("stores its factors first, which are small",) if computed else _listed(reasons))
    fields, read = sum(len(f.fields) for f in computed), sum(map(_read, computed))
    return Fusion(computed, (f"computes {_count(fields)} of its factors from {read} that it reads", *_listed(reasons)))


def _listed(reasons: Mapping[Factor, str]) -> tuple[str, ...]:
    found = [f"stores {_count(len(f.fields))} first: {reason}" for f, reason in reasons.items() if reason]
    return tuple(dict.fromkeys(found))


def _long(factor: Factor, axes: Sequence[str]) -> bool:
    """Whether a factor runs along the outermost axis, such as a batch, so that storing it takes time."""
    return axes[0] in factor.dims


def splits(c: Contraction, axes: Sequence[str]) -> bool:
    """Whether the contracted axis is shared among programs: it is outer to both sides, as a fold's is, so it is long
    and what comes of it small.
    """
    own = (*c.shape.rows, *c.shape.columns)
    return max(map(axes.index, c.shape.contracted)) < min(map(axes.index, own))


def rides(output: Output, c: Contraction, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a result is computed of a product's sums where these are made: element by element, of little else."""
    dots = {dot for dot in c.fields if dot.kind == "Dot"}
    below = postorder(output.fields, stop=dots)
    nodes = [n for n in below if n not in dots]
    own = _tensors(c.factors)
    inputs = [n for n in nodes if n.kind == "Input"]
    place = {*c.shape.batch, *c.shape.rows, *c.shape.columns}
    return (
        set(output.tensor.axes) == place
        and not output.tensor.slices
        and not dots.isdisjoint(below)
        and all(n.axes <= place and not n.is_reduction and n.kind not in ("Dot", "Size", "Draw") for n in nodes)
        and not any(n.integer for n in nodes)
        and len(inputs) <= DEVICE.most_factors
        and not any(
            t.interleaved or t.lookups
            for t in (output.tensor, *(tensors[name] for name in _tensors(nodes) if name in tensors))
        )
        and not own & {n.tensor for n in inputs}
    )


def lifted(b: Builder, c: Contraction, stores: Sequence[Output]) -> tuple[Contraction, list[Output]]:
    """The product with what scales whole rows or columns taken out of its factors, and into what is stored.

    Scaled once a sum, and not on the way; a factor of which nothing else is left to compute is multiplied as it lies.
    """
    (along,) = c.shape.contracted
    down, left = zip(*(_scale(b, line, along) for line in c.grid.left))
    across, columns = zip(*(_scale(b, column, along) for column in zip(*c.grid.right)))
    right = tuple(zip(*columns))
    table, dots = dict[Node, Node](), list[tuple[Node, ...]]()
    for i, line in enumerate(c.grid.dots):
        sums = [
            b.sum(b.linear((1, b.mul(x, y[j])) for x, y in zip(left[i], right)), (along,)) for j in range(len(line))
        ]
        table |= {dot: b.mul(down[i], across[j], sums[j]) for j, dot in enumerate(line) if dot.kind == "Dot"}
        dots.append(tuple(new if dot.kind == "Dot" else dot for new, dot in zip(sums, line)))
    made, scales = replace(c, grids=(Grid(left, right, tuple(dots)),)), _tensors([*down, *across])
    if not scales or scales & _tensors(made.factors) or any(new.kind == "Add" for line in dots for new in line):
        return c, list(stores)
    return made, substituted(b, stores, table)


def _tensors(fields: Iterable[Node]) -> set[str]:
    return {n.tensor for n in postorder(fields) if n.kind == "Input"}


def _scale(b: Builder, line: Sequence[Node], along: str) -> tuple[Node, tuple[Node, ...]]:
    """What all fields of a row or column are multiplied with, of what does not vary along it, and what is left."""
    parts = [Counter(x.args if x.kind == "Mul" else (x,)) for x in line]
    common = reduce(and_, [part for x, part in zip(line, parts) if x is not b.zero])
    common = Counter({a: n for a, n in common.items() if along not in a.axes})
    rest = [part - common if x is not b.zero else part for x, part in zip(line, parts)]
    return b.mul(*common.elements()), tuple(b.mul(*part.elements()) for part in rest)


def _not_fusible(c: Contraction) -> str:
    sides = (c.shape.rows, c.shape.contracted, c.shape.columns)
    factors = [{x for line in grid for x in line} for grid in (c.grid.left, c.grid.right)]
    inputs = [{n for n in postorder(side) if n.kind == "Input"} for side in factors]
    if any(len(axes) > 1 for axes in sides) or len(c.shape.batch) > 1:
        return "a side runs along several axes"
    if sum(dot.kind == "Dot" for dot in c.fields) > DEVICE.most_sums or max(map(len, factors)) > DEVICE.most_factors:
        return f"{c.multiplications} products of tiles do not fit the registers"
    if inputs[0] & inputs[1]:
        return "both factors read one field"
    if not any(all(_vanishes(x, c.shape.contracted[0]) for x in side) for side in factors):
        return "neither factor is zero beyond the contracted axis's end"
    return ""


def _not_linear(factor: Factor, tensors: Mapping[str, Tensor]) -> str:
    if any(n.kind not in LINEAR for n in postorder(factor.fields)):
        return "functions are computed once, not for every tile"
    if any(tensors[name].interleaved for name in _tensors(factor.fields) if name in tensors):
        return "components that are adjacent in memory are loaded together, and split"
    if any(tensors[name].lookups for name in _tensors(factor.fields) if name in tensors):
        return "what an index says is looked up once, not for every tile"
    if _read(factor) > len(factor.fields):
        return f"they are made of {_read(factor)}"
    return ""


def _read(factor: Factor) -> int:
    """The fields along all axes of a factor that it is made of."""
    full = {d for d in factor.dims if isinstance(d, str)}
    return sum(n.kind == "Input" and n.axes >= full for n in postorder(factor.fields))


def _vanishes(node: Node, axis: str) -> bool:
    """Whether a field is zero where its inputs along an axis read as zero."""
    match node.kind:
        case "Input":
            return axis in node.axes
        case "Mul":
            return any(_vanishes(a, axis) for a in node.args)
        case "Add":
            return all(_vanishes(a, axis) for a in node.args)
        case _:
            return node.kind == "Const" and node.value == 0


def _count(fields: int) -> str:
    return f"{fields} field{'s' if fields > 1 else ''}"
