"""How other libraries keep the weights of product paths, and which weights of a spec they may have, too.

Orders are data: a sort key of the paths and the order of the axes in memory. The generated functions `weights_from` and
`weights_to` (templates/converters.jinja) do nothing but compare these with the module's own.
"""

from typing import NamedTuple

from kgen.model import COMPONENT_AXES, Argument, Kernel, Spec


class Convention(NamedTuple):
    """How a library keeps its weights; its repr is what stands in generated modules."""

    order: tuple[str, str, str]  # the sort key of paths: grades of the left operand, the result, the right operand
    per_feature: tuple[str, str]  # axes in memory order
    fully_connected: tuple[str, str, str]  # also of weights that mix the features of each grade, whose paths are grades


CONVENTIONS = {
    "flash_clifford": Convention(("left", "out", "right"), ("feature", "path"), ("path", "in", "out")),
    "cgenn": Convention(("left", "out", "right"), ("feature", "path"), ("out", "in", "path")),
    "kingdon": Convention(("left", "right", "out"), ("feature", "path"), ("path", "in", "out")),
}


def weights(spec: Spec) -> dict[str, tuple[str, ...]]:
    """The axes in memory of each weights input, by the names of a convention; without those that no library has."""
    every = [(k, a) for k in spec.kernels for a in k.inputs if a.type and a.type.kind == "weights"]
    named = {f"{k.name}.{a.name}": _roles(k, a) for k, a in every}
    return {name: roles for name, roles in named.items() if roles}


def _roles(kernel: Kernel, argument: Argument) -> tuple[str, ...]:
    """`feature` is the one axis of weights per feature; `in` is what the operands run along, `out` what they lack."""
    assert argument.type is not None
    axes = argument.type.axes
    operands = [a.type for a in kernel.inputs if a.name in argument.type.operands and a.type]
    along = [axis for axis in axes if all(axis in operand.axes for operand in operands)]
    if len(axes) == 1:
        roles = {axes[0]: "feature"}
    elif len(axes) == 2 and len(along) == 1:
        roles = {axis: "in" if axis in along else "out" for axis in axes}
    else:
        return ()
    return tuple("path" if dim in COMPONENT_AXES else roles[str(dim)] for dim in argument.type.memory)
