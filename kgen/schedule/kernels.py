"""One kernel: what it reads, its rows, loop and tile, what it costs, and why it is as it is.

In: results that one launch makes. Out: a `Kernel`, of the factored fields, with its notes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kgen.graph.cost import cost, naive_cost
from kgen.graph.graph import Output
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.device import DEVICE
from kgen.schedule.draft import Draft
from kgen.schedule.factoring import best
from kgen.schedule.fusion import lifted
from kgen.schedule.intermediates import regroup
from kgen.schedule.products import Contraction
from kgen.schedule.program import Fold, Kernel, Step
from kgen.schedule.registers import held, live
from kgen.spec.model import PRECISIONS

Division = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # rows, loop and inner axes


def kernel(
    draft: Draft,
    kind: str,
    stores: Sequence[Output],
    folds: Sequence[Fold],
    notes: Sequence[str],
    inner: str,
    name: str = "",
) -> Kernel:
    """A kernel that computes its results element by element, row by row or over a loop."""
    roots = [f for o in stores for f in o.fields] + [f for g in folds for f in g.fields]
    naive = naive_cost(roots, draft.builder.hints)
    better, factorings = best(draft.builder, roots)
    made, rest = regroup(stores, better)
    accumulated = tuple(_refolded(folds, rest))
    nodes = postorder(better)
    tensors = draft.store.read(nodes)
    sorting = [
        t for by in dict.fromkeys(n.lookup for n in nodes if n.kind == "Segment") for t in draft.store.sorted(by)
    ]
    domain, flat = _domain(draft, kind, nodes, tensors, made, folds)
    rows, loop, tile = _divide(kind, domain, flat, made, folds, inner)
    alive = max(live(better, rest), held(better))
    return Kernel(
        name or draft.kernel_name(),
        kind,
        rows,
        loop,
        tile,
        (*tensors, *sorting),
        _numbers(draft, nodes),
        made,
        accumulated,
        (*notes, *_turning(stores), *_reloading(kind, alive, [t for t in tensors if not {*rows, *loop} & set(t.axes)])),
        cost(better),
        naive,
        alive,
        flat,
        _optional(draft, tensors),
        factorings=factorings,
    )


def contract_kernel(
    draft: Draft,
    c: Contraction,
    stores: Sequence[Output],
    parted: bool,
    why: Sequence[str],
    otherwise: Sequence[Step],
) -> Kernel:
    """A kernel that computes a matrix product, its factors and what is made of its sums alone."""
    c, stores = (c, stores) if parted else lifted(draft.builder, c, stores)
    note = f"accumulates over {' '.join(c.shape.contracted)} in registers"
    note += "; the programs' sums are added in a fixed order" if parted else ""
    riding = (f"computes {o.tensor.name} of the sums" for o in stores if o.fields != c.fields)
    nodes = postorder([*c.factors, *(f for o in stores for f in o.fields)], stop=c.fields)
    tensors, operations = draft.store.read(nodes), cost(c.factors)
    return Kernel(
        draft.kernel_name(),
        "contract",
        (*c.shape.batch, *c.shape.rows),
        c.shape.contracted,
        c.shape.columns,
        tensors,
        _numbers(draft, nodes),
        () if parted else tuple(stores),
        tuple(Fold(o.tensor, o.fields) for o in stores if parted),
        (*why, note, *riding, *arithmetic(draft)),
        operations,
        operations,
        live(c.factors, c.fields),
        False,
        _optional(draft, tensors),
        c,
        tuple(otherwise),
        draft.graph.precision,
    )


def arithmetic(draft: Draft) -> list[str]:
    """The note on a product's precision, where the spec fixes it."""
    found = draft.graph.precision
    return [f"multiplies fp32 in {PRECISIONS[found]}, whatever torch's setting is"] if found else []


def _numbers(draft: Draft, nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(n.tensor for n in nodes if n.kind == "Input" and n.tensor in draft.graph.numbers)


def _optional(draft: Draft, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t.memory for t in tensors if t.memory in draft.optional))


def _refolded(folds: Sequence[Fold], fields: Sequence[Node]) -> Iterable[Fold]:
    """The folds with other fields."""
    rest = list(fields)
    for fold in folds:
        yield replace(fold, fields=tuple(rest[: len(fold.fields)]))
        del rest[: len(fold.fields)]


# notes


def _turning(stores: Sequence[Output]) -> list[str]:
    axis = next((o.tensor.turning for o in stores if o.tensor.split), "")
    return [f"turns its tiles for products in tf32, which are faster with {axis} innermost"] if axis else []


def _reloading(kind: str, alive: int, shared: Sequence[Tensor]) -> list[str]:
    """On components that are kept for all rows while there are registers; `shared` do not vary along rows or loop."""
    if kind != "fold" or alive < DEVICE.crowded or not any(t.interleaved for t in shared):
        return []
    return ["reloads adjacent components that all rows share, because registers are short"]


# axes


def _domain(
    draft: Draft,
    kind: str,
    nodes: Sequence[Node],
    tensors: Sequence[Tensor],
    stores: Sequence[Output],
    folds: Sequence[Fold],
) -> tuple[tuple[str, ...], bool]:
    """The axes that the kernel runs along, and whether it runs over them flattened.

    A map whose tensors all lie alike runs as they lie, flattened if they all run along the whole domain.
    """
    moved = (*tensors, *(o.tensor for o in stores))
    made = (*(o.tensor for o in stores), *(f.tensor for f in folds))
    axes = frozenset[str]().union(*(n.read_along for n in nodes), *(t.axes for t in made))
    orders = {t.axes for t in moved}
    if kind != "map":
        return tuple(a for a in draft.graph.axes if a in axes), False
    alike = len(orders) == 1 and axes == frozenset(*orders)
    domain = next(iter(orders)) if alike else tuple(a for a in draft.graph.axes if a in axes)
    counted = any(n.kind == "Iota" for n in nodes)  # along an axis, which the flattened tensor has not
    return domain, not counted and all(_contiguous(t, domain) for t in moved)


def _divide(
    kind: str, domain: tuple[str, ...], flat: bool, stores: Sequence[Output], folds: Sequence[Fold], inner: str
) -> Division:
    """Rows, loop and inner axes."""
    if flat:
        return (), (), domain
    if kind == "segment":
        kept = {a for o in stores for a in o.tensor.axes}
        loop = tuple(a for a in domain if a not in kept)
        return tuple(a for a in domain if a in kept and a != inner), loop, (inner,) if inner else ()
    if not domain:
        return (), (), (inner,)
    if kind == "fold":
        kept = {a for f in folds for a in f.tensor.axes}
        outer = domain[:-1]
        return tuple(a for a in outer if a in kept), tuple(a for a in outer if a not in kept), domain[-1:]
    if kind == "row" and domain[-1] != inner:
        return domain, (), (inner,)
    return domain[:-1], (), domain[-1:]


def _contiguous(tensor: Tensor, domain: tuple[str, ...]) -> bool:
    """Whether the domain's axes are all there, always in order, with no component axis between them."""
    if not domain or tensor.axes != domain or tensor.split or tensor.lookups or tensor.slices:
        return False
    positions = [i for i, d in enumerate(tensor.dims) if isinstance(d, str)]
    return positions == list(range(positions[0], positions[0] + len(domain)))
