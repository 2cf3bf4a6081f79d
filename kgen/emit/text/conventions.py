"""How other libraries keep the weights of product paths, and which weights of a spec they may have, too.

The orders are data of every package (templates/runtime/weights.py): a sort key of the paths, and the order of the axes
in memory. `weights_from` and `weights_to` do nothing but compare these with the package's own.
"""

from kgen.graph.node import postorder
from kgen.spec.model import COMPONENT_AXES, Argument, Kernel, Spec
from kgen.trace.trace import by_default


def weights(spec: Spec, *kernels: Kernel) -> dict[str, tuple[str, ...]]:
    """The axes in memory of each weights input, by the names of a convention; without those that no library has.

    Those of some kernels, or of all if none is named.
    """
    chosen = kernels or spec.kernels
    every = [(k, a) for k in chosen for a in k.inputs if a.type and a.type.kind == "weights"]
    contracted = {k.name: _contracted(spec, k) for k in chosen}
    named = {f"{k.name}.{a.name}": _roles(a, contracted[k.name].get(a.name, set())) for k, a in every}
    return {name: roles for name, roles in named.items() if roles}


def _contracted(spec: Spec, kernel: Kernel) -> dict[str, set[str]]:
    """The axes along which a product of matrices contracts each tensor."""
    found: dict[str, set[str]] = {}
    for node in postorder(by_default(spec, kernel).roots):
        for a in node.args if node.kind == "Dot" else ():
            if a.kind == "Input":
                found.setdefault(a.tensor, set()).update(node.over)
    return found


def _roles(argument: Argument, contracted: set[str]) -> tuple[str, ...]:
    """`feature` is the one axis of weights per feature; `in` is what a product contracts, `out` its result's."""
    assert argument.type is not None
    axes = argument.type.axes
    along = [axis for axis in axes if axis in contracted]
    if len(axes) == 1:
        roles = {axes[0]: "feature"}
    elif len(axes) == 2 and len(along) == 1:
        roles = {axis: "in" if axis in along else "out" for axis in axes}
    else:
        return ()
    return tuple("path" if dim in COMPONENT_AXES else roles[str(dim)] for dim in argument.type.memory)
