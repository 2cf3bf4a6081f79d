"""The arguments of a reference: a kernel's inputs and options as its body reads them.

In: a `model.Kernel` and the `Values` of its axes. Out: the arguments as values, the lines that cast and align their
tensors, and their shapes, as users see them. Guaranteed: after those lines every floating input has the dtype of the
arithmetic, and it and integers have all axes of the kernel in one order, of extent one where they lack an axis,
components last; an index is as it came.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.dims import Dims, Shape, is_component, permuted
from kgen.reference.names import Names
from kgen.reference.values import ATOM, Value, Values
from kgen.spec.body import with_made
from kgen.spec.model import COMPONENT_AXES, ELLIPSIS, Argument, Kernel, Type


def all_axes(kernel: Kernel) -> tuple[str, ...]:
    """The axes of the inputs: those of multivectors first; an index's before what it points into; those it makes."""
    memory = ["b" if dim == ELLIPSIS else dim for dim in kernel.memory if dim != "blade"]
    seen = [axis for argument in kernel.inputs for axis in _type(argument).axes]
    found = [*with_made(kernel, dict.fromkeys([axis for axis in memory if axis in seen] + seen))]
    for index in (t for t in map(_type, kernel.inputs) if t.kind == "index" and not {*t.axes} & {*memory}):
        found.remove(index.axes[0])
        found.insert(found.index(index.into), index.axes[0])
    return tuple(found)


class Inputs:
    """The inputs of one kernel."""

    def __init__(self, kernel: Kernel, values: Values) -> None:
        self.kernel, self.values = kernel, values
        self.types = {argument.name: _type(argument) for argument in kernel.inputs}
        self.floating = [name for name, t in self.types.items() if t.floating]
        self.aligned = [*self.floating, *(name for name, t in self.types.items() if t.kind == "integer")]

    @property
    def leading(self) -> list[str]:
        """The inputs with any number of leading dims."""
        return [name for name, t in self.types.items() if ELLIPSIS in t.memory]

    def shape(self, name: str) -> Shape:
        """The shape of an input."""
        t = self.types[name]
        counts: dict[str | int, int] = {}
        if t.kind == "multivector":
            counts["blade"] = len(self.values.masks(t.grades))
        elif t.kind == "weights":
            counts = dict.fromkeys(COMPONENT_AXES, len(self.values.paths(t.sides)))
        elif "grade" in t.memory:
            counts["grade"] = len(self.values.all_grades)
        return Shape(tuple(counts.get(dim, dim) for dim in t.memory), t.grades)

    def known(self) -> Iterator[tuple[str, Value]]:
        """The arguments as values, by name."""
        for name, t in self.types.items():
            yield name, self._value(name, t)
        for option in self.kernel.options:
            flag = isinstance(option.default, bool)
            found = () if flag else (probes.random(option.name, 0, ()),)
            yield option.name, Value("flag" if flag else "number", option.name, probes=found)

    def _value(self, name: str, t: Type) -> Value:
        extents = tuple(len(self.values.all_grades) if d == "grade" else d for d in t.memory if is_component(d))
        numbers = tuple(n for n in extents if isinstance(n, int))
        kind = "indexed" if t.kind == "field" and numbers else t.kind
        total = prod(numbers)
        if kind == "multivector":
            total = len(self.values.masks(t.grades))
        elif kind == "weights":
            total = len(self.values.paths(t.sides))
        along = [self.values.axes.index(axis) for axis in t.axes]
        found = tuple(probes.random(name, i, along) for i in range(total))
        known = Value(kind, name, ATOM, frozenset(t.axes), t.grades, found, t.sides, numbers, t.into)
        return replace(known, view=True)

    # lines

    def prepared(self, names: Names, statements: str) -> Iterator[str]:
        """Types and layouts, and the extents that the statements read."""
        kept = [name for name in self.floating if name in self.kernel.grads] or self.floating
        if self.floating:
            listed = ", ".join(self.floating)
            yield f"{names.dtype} = _ref_promote({', '.join(kept)})"
            yield f"{listed if len(self.floating) > 1 else f'({listed},)'} = _ref_upcast({listed})"
        if self.leading:
            yield self._led(names.lead)
        for name in self.aligned:
            text = self._aligned(name, self.types[name].memory)
            if text != name:
                yield f"{name} = {text}  # {self._comment(name)}"
        for axis, size in names.sizes.items():
            if re.search(rf"\b{size}\b", statements):
                parts = self.values.joined.get(axis, (self.values.alike.get(axis, axis),))
                yield f"{size} = {' + '.join(map(self._extent, parts))}"

    def _extent(self, axis: str) -> str:
        """The extent of an axis, of the first tensor that has it; those of indices are as they came."""
        owner = next(name for name in (*self.aligned, *self.types) if axis in self.types[name].axes)
        return f"{owner}.shape[{self.values.axes.index(axis) if owner in self.aligned else 0}]"

    def _led(self, lead: str) -> str:
        """The line that says what the leading axes are; where several inputs have some, they broadcast."""
        ranks = {name: len(self.types[name].memory) - 1 for name in self.leading}
        if len(ranks) > 1:
            tensors = ", ".join(f"({name}, {rank})" for name, rank in ranks.items())
            return f"{lead}, ({', '.join(ranks)}) = _ref_broadcast({tensors})"
        ((name, rank),) = ranks.items()
        return f"{lead} = {name}.shape[: {name}.ndim - {rank}]"

    def _aligned(self, name: str, memory: Dims) -> str:
        """A tensor with all axes, components last."""
        own = name if name in self.floating else f"{name}.long()"
        text = f"_ref_flatten({own}, {len(memory) - 1})" if ELLIPSIS in memory else own
        dims: list[str | int] = ["b" if dim == ELLIPSIS else dim for dim in memory]
        components = [i for i, dim in enumerate(dims) if is_component(dim)]
        order = [dims.index(axis) for axis in self.values.axes if axis in dims] + components
        text += permuted(order)
        present = [axis in dims for axis in self.values.axes]
        if all(present):
            return text
        while present and present[-1]:
            present.pop()
        inserted = [":" if here else "None" for here in present]
        return f"{text}[{', '.join(inserted)}]"

    def _comment(self, name: str) -> str:
        """The dims of an aligned tensor, in words."""
        components = [str(dim) for dim in self.types[name].memory if is_component(dim)]
        axes = [axis if axis in self.types[name].axes else "1" for axis in self.values.axes]
        return ", ".join(axes + components)


def _type(argument: Argument) -> Type:
    if argument.type is None:
        raise KgenError(f"{argument.name} has no type", argument.mark)
    return argument.type
