"""Where the results of matrix products go, and which factors lie in memory already.

In: products, results, tensors. Out: the `Operand`s that products write or read, which are a tensor
or adjacent components of one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node, holds_dot, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.products import Contraction, Dims, Factor, Operand


def targets(products: Sequence[Contraction], outputs: Iterable[Output]) -> dict[Contraction, Operand]:
    """The products that are results, or adjacent components of results all of which are products."""
    found: dict[Contraction, Operand] = {}
    for output in (o for o in outputs if not _apart(o.tensor)):
        blocks = _blocks(products, output)
        if len(blocks) == 1 and blocks[0].dims == output.tensor.dims:
            found[blocks[0]] = Operand(output.tensor, False)
        elif blocks and output.tensor.dims[0] == len(output.fields) and not output.tensor.leading:
            at = 0
            for c in blocks:
                found[c] = Operand(output.tensor, False, at, at + len(c.fields))
                at += len(c.fields)
    return found


@dataclass(frozen=True, slots=True)
class Summed:
    """A result as matrix products plus what needs none: one field of each for every component."""

    products: Output
    rest: Output


def summed(b: Builder, products: Sequence[Contraction], outputs: Sequence[Output]) -> list[Summed]:
    """The results each component of which is a Dot of these products plus a rest, where nothing else reads the Dots."""
    dots = {f for c in products for f in c.fields if f.kind == "Dot"}
    found = []
    for output in outputs:
        own = [dot_in(f, dots) for f in output.fields]
        rest = [x for f, dot in zip(output.fields, own) if dot for _, x in f.terms if x is not dot]
        again = any(n.is_reduction and not n.axes & {*output.tensor.axes[:1]} for n in postorder(rest))
        if None in own or holds_dot(rest) or again:  # a sum that rows have in common would be made anew for each
            continue
        read = postorder([*rest, *(f for o in outputs if o is not output for f in o.fields)])
        twins = {twin for names in ({}, *b.exchanges) for twin in b.rename([dot for dot in own if dot], names)}
        if twins.isdisjoint(read):
            left = (b.linear((c, x) for c, x in f.terms if x is not dot) for f, dot in zip(output.fields, own))
            alone = tuple(dot for dot in own if dot)
            found.append(Summed(replace(output, fields=alone), replace(output, fields=tuple(left))))
    return found


def dot_in(field: Node, dots: set[Node]) -> Node | None:
    """The only Dot that is added as it is to something else."""
    found = [x for c, x in field.terms if x in dots and c == 1] if field.kind == "Add" else []
    return found[0] if len(found) == 1 else None


def _apart(tensor: Tensor) -> bool:
    """Whether it is a part of a tensor that is no matrix with all rows as far apart."""
    return bool(tensor.slices) and (len(tensor.dims) > 2 or tensor.leading)


def _blocks(products: Sequence[Contraction], output: Output) -> list[Contraction]:
    """The products whose fields, one product after the other, are those of a result, in its memory order."""
    blocks: list[Contraction] = []
    while (at := sum(len(c.fields) for c in blocks)) < len(output.fields):
        rest, dims = output.fields[at:], output.tensor.dims
        fits = [c for c in products if c.fields == rest[: len(c.fields)] and _rows(c) == dims[-len(_rows(c)) :]]
        if not fits:
            return []
        blocks.append(fits[0])
    return blocks


def _rows(c: Contraction) -> Dims:
    """The dims of a product's result without the number of its fields, if that comes first."""
    return c.dims[1:] if len(c.fields) > 1 and c.dims[0] == len(c.fields) else c.dims


# factors that are stored already


def stored(factor: Factor, tensors: Callable[[str], Tensor | None]) -> Operand | None:
    """A tensor, or adjacent components at its front, that holds a factor as it is, in either order.

    `tensors` gives those that there are by their names.
    """
    return _stored(factor, tensors) or (_stored(factor.turned, tensors) if factor.turned else None)


def _stored(factor: Factor, tensors: Callable[[str], Tensor | None]) -> Operand | None:
    first = factor.fields[0]
    if any(x.kind != "Input" for x in factor.fields):
        return None
    tensor = tensors(first.tensor)
    if tensor is None or tensor.lookups or any(x.tensor != tensor.name for x in factor.fields):
        return None
    numbers = [x.component for x in factor.fields]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    count = len(numbers)
    if _apart(tensor):
        return None
    if tensor.dims == factor.dims and count == len(tensor.labels):
        return Operand(tensor, factor.transposed)
    own = factor.dims if count > 1 else (1, *factor.dims)
    if isinstance(tensor.dims[0], int) and (count, *tensor.dims[1:]) == own and len(tensor.labels) == tensor.dims[0]:
        return Operand(tensor, factor.transposed, numbers[0], numbers[-1] + 1)
    return None
