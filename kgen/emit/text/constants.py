"""The constants of a module: the algebra, the product paths, and `KERNELS`, which describes every function as data.

Tools that cannot load specs (`verify`, `bench`, `tune` on a GPU machine) work from these alone.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from kgen.graph.ir import Tensor, postorder
from kgen.spec.model import Kernel, Spec
from kgen.trace.trace import by_default, output_names, paths


def constants(spec: Spec) -> str:
    """Assignments, one constant each."""
    lines = []
    if spec.algebra:
        blades = spec.algebra.blades
        lines += [
            f"SIGNATURE = {spec.algebra.signature}",
            f"BLADES = {tuple(b.name for b in blades)!r}",
            f"GRADES = {tuple(b.grade for b in blades)!r}",
        ]
    product_paths = _paths(spec)
    if product_paths:
        lines += ["", "# grades of the left operand, the result and the right operand, in the order of the weights"]
        lines.append(f"PATHS = {product_paths!r}")
    lines += ["", "# dims in memory order: axes, numbers of components, and any leading axes as '...'"]
    lines.append(f"KERNELS = {{{''.join(f'{k.name!r}: {describe(spec, k)!r}, ' for k in spec.kernels)}}}")
    return "\n".join(lines)


def describe(spec: Spec, kernel: Kernel) -> dict[str, Any]:
    """A kernel's inputs, outputs, options and gradients, and whether it multiplies matrices."""
    inputs, outputs = tensors(spec, kernel)
    return {
        "inputs": {t.name: dims(t) for t in inputs},
        "outputs": {t.name: dims(t) for t in outputs},
        "options": {o.name: o.default for o in kernel.options},
        "grads": kernel.grads,
        "indices": {t.name: t.dtype for t in inputs if t.dtype},
        "products": any(n.kind == "Dot" for n in postorder(by_default(spec, kernel).roots)),
        **({"precision": kernel.precision} if kernel.precision else {}),
    }


@lru_cache
def tensors(spec: Spec, kernel: Kernel) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The tensors that a kernel takes and gives, bool options at their defaults; axes of one extent have one name."""
    graph = by_default(spec, kernel)
    inputs = zip([argument.name for argument in kernel.inputs], graph.inputs)
    outputs = zip(output_names(kernel), (o.tensor for o in graph.outputs))
    shown = [tuple(replace(t, name=n, dims=graph.extents(t.dims)) for n, t in side) for side in (inputs, outputs)]
    return shown[0], shown[1]


def dims(tensor: Tensor) -> tuple[str | int, ...]:
    """The dims of a tensor as users see them."""
    return ("...", *tensor.dims[1:]) if tensor.leading else tuple(tensor.dims)


def _paths(spec: Spec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kernel in spec.kernels:
        for argument in kernel.inputs:
            if argument.type and argument.type.kind == "weights":
                found[f"{kernel.name}.{argument.name}"] = paths(spec, kernel, argument.name)
    return found
