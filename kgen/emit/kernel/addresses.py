"""Where the components of tensors lie.

In: a `program.Kernel` and its `Naming`. Out: offsets, bases and sizes of a kernel as text. Guaranteed: a base is
computed in 64 bits; what separates components is computed in 64 bits once, and only if something reads it.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from kgen.emit.kernel.naming import Naming
from kgen.emit.kernel.rows import Access, Index, Section, Statement
from kgen.emit.kernel.strides import component_index, steps, times
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name


class Addresses:
    """Offsets and bases in a kernel's tensors, whatever walks over these."""

    def __init__(self, kernel: Kernel, naming: Naming) -> None:
        self.naming = naming
        self.tensors = (*kernel.inputs, *kernel.written)
        self.flat = kernel.flat

    def component_offset(self, tensor: Tensor, component: int) -> list[str]:
        """The terms that lead from an element's first component to another."""
        counts: dict[tuple[str, ...], int] = {}
        for position, index in component_index(tensor, component):
            if index:
                factor, sizes = self.naming.stride(tensor, position)
                names = (self.naming.planes[sizes],) if len(sizes) > 1 else sizes
                counts[names] = counts.get(names, 0) + index * factor
        return [times(str(count), 1, names) for names, count in counts.items()]

    def axis_offset(self, tensor: Tensor, axes: Collection[str]) -> list[str]:
        """The terms that lead to the indices along some axes."""
        along = [(i, d) for i, d in enumerate(tensor.dims) if isinstance(d, str) and d in axes]
        return [times(self.position(tensor, axis), *self.naming.stride(tensor, i)) for i, axis in along]

    def position(self, tensor: Tensor, axis: str) -> str:
        """The index along an axis of a tensor; what is looked up has that of another axis, by an index."""
        by = next((by for by in tensor.lookups if by.along == axis), None)
        return self.naming.looked_up[by] if by else self.naming.index[axis]

    def base(self, tensor: Tensor, offset: Sequence[str]) -> Statement:
        """Where a part of a tensor starts."""
        return Statement(self.naming.bases[tensor.name], " + ".join([self.naming.pointers[tensor.name], *offset]))

    def partial_base(self, tensor: Tensor, slot: str, axes: Collection[str]) -> Statement:
        """Where a program's partial results start: the workspace has a first dim for programs (and tiles)."""
        factor, sizes = self.naming.stride(Tensor(tensor.name, (1, *tensor.dims)), 0)
        first = times(f"tl.cast({slot}, tl.int64)", factor, sizes)
        return self.base(tensor, [first, *self.axis_offset(tensor, axes)])

    def load_mask(self, tensor: Tensor, *masks: str) -> str:
        """The masks, those of indices, and the switch of a tensor that may be missing."""
        within = [self.naming.in_range[by] for by in tensor.lookups]
        return " & ".join(filter(None, [*masks, *within, self.naming.given.get(tensor.memory)]))

    def planes(self, used: Collection[str]) -> tuple[Statement, ...]:
        """The steps of tensors, what separates components where addresses read it, and starts."""
        wanted = dict[str, str]()
        for tensor in self.tensors:
            wanted |= self._own_steps(tensor)
            found = {self.naming.planes[sizes]: product(sizes) for sizes in self.naming.products(tensor)}
            wanted |= {name: text for name, text in found.items() if name in used}
        return (*(Statement(name, text) for name, text in wanted.items()), *self._starts())

    def _starts(self) -> Iterator[Statement]:
        """Where parts of tensors start, behind the parts before them."""
        for tensor in self.tensors:
            pointer, terms = self.naming.pointers[tensor.name], list[str]()
            for part in (part for part in tensor.slices if part.index):
                before = " + ".join(size_name(axis) for axis in part.axes[: part.index])
                terms.append(times(f"tl.cast({before}, tl.int64)", *self.naming.stride(tensor, part.position)))
            if terms:
                yield Statement(pointer, " + ".join([pointer, *terms]))

    def _own_steps(self, tensor: Tensor) -> dict[str, str]:
        """The steps of a tensor that may be turned, or whose rows may lie apart, by name: None costs nothing."""
        if tensor.stepped:
            step = self.naming.row_steps[tensor.name]  # in the flat form `_apart` asks for it
            return {} if self.flat else {step: f"{size_name(tensor.axes[-1])} if {step} is None else {step}"}
        found, turned = steps(tensor) if tensor.split else [], self.naming.turned
        return {self.naming.steps[name]: f"{first} if {turned} else {other}" for name, first, other in found}

    def index(self, flat: str, axes: Sequence[str]) -> Index:
        """What runs over axes: a flat index, and the index along each of several."""
        if len(axes) == 1:
            return Index(self.naming.index[axes[0]], count(axes), ())
        position, rows = f"({flat} + r)" if flat == "row" else flat, []
        for i, axis in enumerate(axes):
            after = " * ".join(map(size_name, axes[i + 1 :]))
            text = f"{position} // ({after})" if after else position
            rows.append(Statement(self.naming.index[axis], f"{text} % {size_name(axis)}" if i else text))
        return Index(flat, count(axes), tuple(rows))


def count(axes: Sequence[str]) -> str:
    """The number of positions along axes."""
    return product([size_name(a) for a in axes] or ["1"])


def product(sizes: Sequence[str]) -> str:
    """Sizes multiplied in 64 bits; one alone is as it is."""
    return " * ".join((f"tl.cast({sizes[0]}, tl.int64)", *sizes[1:])) if len(sizes) > 1 else sizes[0]


def read(sections: Iterable[Section]) -> frozenset[str]:
    """Every name in the addresses, masks and values of loads and stores."""
    accesses: list[Access] = []
    texts: list[str] = []
    for section in sections:
        accesses += (*section.loads, *section.stores)
        texts += (text for found in section.lookups for text in (found.pointer, found.mask))
        texts += (p.expression for p in section.pointers)
    texts += (text for a in accesses for text in (*a.names, a.pointer, a.mask))
    return frozenset(re.findall(r"\w+", " ".join(texts)))
