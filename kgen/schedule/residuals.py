"""What layers add to: fields that are made for a factor of a product, and read again after it.

In: the Dots of a level, results that store their factors, results that are still to be computed. Out: the fields
that are stored beside the factors. Else each layer would be made anew of the products of all layers before it.
"""

from collections.abc import Iterable, Mapping, Sequence

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.intermediates import under_all_names
from kgen.schedule.products import MATRIX
from kgen.schedule.store import Store

FEW = 2  # results of products of which a field is made anew rather than stored: no more is read, and nothing written


def read_again(
    store: Store, products: Sequence[Node], fresh: Sequence[Output], outputs: Sequence[Output]
) -> list[Node]:
    """The fields below factors that later steps read, too, and would make anew of the results of many products."""
    order = postorder(f for o in fresh for f in o.fields)
    below = _under_all_names(store.builder, order)
    later = postorder((f for o in outputs for f in o.fields), stop=products)
    # what products alone read stays as it is: their factors lie together
    apart = below | _factors(later)
    read = {a for n in later if n not in apart and n.kind != "Dot" for a in n.args}
    again, known = _under_all_names(store.builder, read & below), store.visible
    return [n for n in order if n in again and n.args and not n.reduced and _made_of(known, n) > FEW]


def _factors(nodes: Iterable[Node]) -> set[Node]:
    """Scaled fields that products alone read, as their factors: a sign or a number is nothing to compute."""
    readers = dict[Node, set[str]]()
    for n in nodes:
        for a in n.args:
            readers.setdefault(a, set()).add(n.kind)
    return {x for x, kinds in readers.items() if kinds == {"Dot"} and x.kind == "Add" and len(x.args) == 1}


def _under_all_names(b: Builder, fields: Iterable[Node]) -> set[Node]:
    return set(under_all_names(b, {f: f for f in sorted(fields, key=lambda f: f.id)}))


def _made_of(known: Mapping[str, Tensor], field: Node) -> int:
    """How many results of products are read for a field, of tensors by their names."""
    names = {n.tensor for n in postorder([field]) if n.kind == "Input" and n.tensor in known}
    return sum(known[name].dtype == MATRIX for name in names)
