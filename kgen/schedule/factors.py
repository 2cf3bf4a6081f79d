"""The factors of matrix products: under which names of axes they are read, where they lie, which are to be stored.

In: products and the factors that kernels compute of them. Out: an operand for each factor, and results that store what
lies nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Names, postorder
from kgen.graph.tensor import INDEX
from kgen.schedule.fusion import Fusion
from kgen.schedule.memory_order import ways
from kgen.schedule.products import Contraction, Factor, Operand, Pairing, Way
from kgen.schedule.store import Store


@dataclass(frozen=True, slots=True)
class Operands:
    """Where the factors of products lie, none for those that are computed; and what has to be stored for that."""

    pairs: tuple[Pairing, ...]
    fresh: tuple[Output, ...]


def operands(
    store: Store,
    products: Sequence[Contraction],
    chosen: Sequence[Fusion],
    early: Sequence[Output] = (),
    turn: bool = True,
) -> Operands:
    """`early` are results that are stored along with the factors. Without `turn` factors lie as they come."""
    sides = [(plainest(store, c.left), plainest(store, c.right)) for c in products]
    stored = [f for pair, choice in zip(sides, chosen) if not choice.computed for f in pair]
    tiled = _in_tiles(store, stored, early)
    pairs, fresh = list[Pairing](), list[Output]()
    for c, choice, (left, right) in zip(products, chosen, sides):
        there = store.there(left), store.there(right)
        turns = not there[0] and left in tiled, not there[1] and right in tiled
        a, b = ways(c, (there[0] or left, there[1] or right), turns)
        if choice.computed or not turn:
            a, b = (way if way is Way.FITS else Way.KEPT for way in (a, b))
        first = None if c.left in choice.computed else _operand(store, left, there[0], a, fresh)
        second = None if c.right in choice.computed else _operand(store, right, there[1], b, fresh)
        pairs.append((first, second))
    return Operands(tuple(pairs), tuple(fresh))


def lies(store: Store, factor: Factor) -> bool:
    """Whether a factor is stored already."""
    return store.there(plainest(store, factor)) is not None


def why_copied(store: Store, factor: Factor, operand: Operand) -> str:
    """Why fields that are in memory were stored once more as a factor; empty for what is computed, or lies there."""
    fields = plainest(store, factor).fields
    tensors = store.read(fields)
    if any(f.kind != "Input" for f in fields) or operand.tensor.memory in {t.memory for t in tensors}:
        return ""
    names = ", ".join(dict.fromkeys(t.memory for t in tensors if t.dtype != INDEX))
    if any(t.lookups for t in tensors):
        return f"{names} copied: rows are read where an index says"
    if any(t.interleaved for t in tensors):
        return f"{names} copied: components are adjacent in memory, and no axis of a matrix of one is contiguous"
    if len(set(fields)) < len(fields):
        return f"{names} copied: repeated, so that all that it is multiplied with is one batch"
    return f"{names} copied: other components lie between those of one product"


def plainest(store: Store, factor: Factor) -> Factor:
    """The factor under the names of axes that fewest of its inputs have to be renamed for, the inner one last."""
    forms = [factor, *(_renamed(store.builder, factor, names) for names in store.builder.exchanges)]
    form = min(forms, key=lambda form: _renamed_inputs(store, form))
    if form.turned and form.turned.dims[-1] == _last_axis(store, form):
        return replace(form.turned, turned=replace(form, turned=None))
    return form


def _renamed_inputs(store: Store, factor: Factor) -> int:
    """How many tensors are read for a factor under other names of their axes."""
    names = {n.tensor for n in postorder(factor.fields) if n.kind == "Input"}
    return sum(bool(t and t.source) for t in map(store.tensor, names))


def _operand(store: Store, factor: Factor, there: Operand | None, way: Way, fresh: list[Output]) -> Operand:
    """A factor as a product reads it; one that is to be stored is added to `fresh`."""
    if there:
        return replace(there, way=way)
    operand, is_new = store.factor(factor, way)
    fresh += [Output(operand.tensor, factor.fields)] if is_new else []
    return operand


def _in_tiles(store: Store, factors: Sequence[Factor], beside: Sequence[Output]) -> list[Factor]:
    """The factors that a map kernel stores, which can turn tiles: nothing is reduced for them or beside them."""
    every: list[Factor | Output] = [*factors, *beside]
    below = {x: postorder(store.builder.substitute(x.fields, store.known)) for x in every}
    axes = {x: frozenset[str]().union(*(n.axes for n in below[x])) for x in below}
    reduced = [axes[x] for x in below if any(n.is_reduction for n in below[x])]
    return [f for f in factors if f.split and axes[f] not in reduced]


def _last_axis(store: Store, factor: Factor) -> str:
    """The axis that is innermost in a factor: in a tensor that it repeats components of, or in the order of all."""
    tensors = {n.tensor if n.kind == "Input" else "" for n in factor.fields}
    (name,) = tensors if len(tensors) == 1 else ("",)
    axes = store.visible[name].axes if factor.several and name else store.graph.axes
    return max((d for d in factor.dims if isinstance(d, str)), key=axes.index)


def _renamed(b: Builder, factor: Factor, names: Names) -> Factor:
    """A factor under other names of its axes."""
    dims = tuple(names.get(d, d) if isinstance(d, str) else d for d in factor.dims)
    turned = _renamed(b, factor.turned, names) if factor.turned else None
    return replace(factor, fields=tuple(b.rename(factor.fields, names)), dims=dims, turned=turned)
