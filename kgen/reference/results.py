"""The results of a reference: what a body returns, as tensors in memory order.

In: the values that are returned, each with the type that its output is declared with, if it is. Out: their texts and
their shapes, as users see them. Guaranteed: a result has the dtype of the arithmetic, is contiguous, and is never an
input; one that has no place in its memory order is a KgenError.
"""

from dataclasses import dataclass, field

from kgen.errors import KgenError
from kgen.reference.dims import Shape, permuted, squeezed
from kgen.reference.inputs import Inputs
from kgen.reference.names import Names
from kgen.reference.values import ATOM, Value
from kgen.spec.model import ELLIPSIS, Type


@dataclass
class Results:
    """The results of one kernel, in order."""

    inputs: Inputs
    names: Names
    shapes: list[Shape] = field(default_factory=list)

    def stored(self, value: Value, declared: Type | None) -> str:
        """A result in its memory order and dtype; its shape is the next of `shapes`."""
        v = self.inputs.values
        value = self._graded(value, declared)
        memory = list(declared.memory) if declared is not None and declared.memory else self._memory(value)
        if tuple(dim for dim in memory if isinstance(dim, int)) != value.extents:
            raise KgenError("the result has other fixed extents than its declaration")
        named = ["b" if dim == ELLIPSIS else dim for dim in memory]
        order = [f"component {i}" if isinstance(dim, int) else dim for i, dim in enumerate(named)]
        components = [dim for dim in order if dim == "blade" or dim.startswith("component ")]
        if value.axes - set(order):
            raise KgenError(f"the result varies along {min(value.axes - set(order))}, which its declaration lacks")
        value = v.spread(value, value.axes | (set(order) - set(components)))
        text = self._ordered(value, order, components)
        leading = bool(self.inputs.leading) and order[:1] == ["b"]
        if leading:
            text = f"_ref_unflatten({text}, {self.names.lead})"
        dims = [len(value.probes) if dim == "blade" else dim for dim in named]
        self.shapes.append(Shape((ELLIPSIS, *dims[1:]) if leading else tuple(dims), value.grades))
        copied = ".clone(memory_format=torch.contiguous_format)" if value.view else ".contiguous()"
        return f"{text}.to({self.names.dtype}){copied}"

    def _graded(self, value: Value, declared: Type | None) -> Value:
        """The value as a tensor, of the declared grades."""
        if value.kind not in ("multivector", "field", "number", "condition", "indexed"):
            raise KgenError(f"{value.kind} cannot be returned")
        value = self.inputs.values.tensor(value)
        if value.kind == "multivector" and declared is not None and declared.grades:
            if not set(value.grades) <= set(declared.grades):
                raise KgenError("the result has a grade that its declaration lacks")
            value = self.inputs.values.regraded(value, declared.grades)
        return value

    def _ordered(self, value: Value, order: list[str], components: list[str]) -> str:
        """The tensor with the dims of this order alone; those of its components are last."""
        axes = self.inputs.values.axes
        if value.axes:
            text = value.at(ATOM) + squeezed([axis not in value.axes for axis in axes])
        else:  # also what has no dims, such as a number
            extents = ", ".join(map(str, value.extents))
            text = value.at(ATOM) + f".reshape({extents or ('-1' if value.kind == 'multivector' else '()')})"
        left = [axis for axis in axes if axis in value.axes] + components
        return text + permuted([left.index(dim) for dim in order])

    def _memory(self, value: Value) -> list[str | int]:
        """The memory order of an undeclared result: the kernel's, restricted to the axes that it has.

        One axis that is not in the order takes the place of the one that is missing.
        """
        axes = self.inputs.values.axes
        order = ["b" if axis == ELLIPSIS else axis for axis in self.inputs.kernel.memory] or list(axes)
        extra = [axis for axis in axes if axis in value.axes and axis not in order]
        missing = [axis for axis in order if axis != "blade" and axis not in value.axes]
        if extra and len(extra) == len(missing) == 1:
            order[order.index(missing[0])] = extra[0]
        elif extra:
            if value.kind == "multivector" or set(order) & value.axes:
                raise KgenError(f"the result varies along {extra[0]}, which has no place in the memory order")
            order = list(axes)
        kept = [dim for dim in order if dim in value.axes or dim == "blade" and value.kind == "multivector"]
        return [*kept, *value.extents]
