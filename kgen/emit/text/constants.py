"""The constants of a package: the algebra, and what describes each function as data, in `KERNELS` and `PATHS`.

Tools that cannot load specs (`verify`, `bench`, `tune` on a GPU machine) work from these alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from kgen.emit.text.conventions import weights
from kgen.graph.node import holds_dot
from kgen.graph.tensor import Tensor
from kgen.schedule.needed import Work
from kgen.spec.body import made_axes
from kgen.spec.model import Kernel, Spec
from kgen.trace.trace import by_default, output_names, paths, trace


def algebra(spec: Spec) -> str:
    """The constants of the algebra, one assignment each; "" without one."""
    if not spec.algebra:
        return ""
    blades = spec.algebra.blades
    names, grades = tuple(b.name for b in blades), tuple(b.grade for b in blades)
    return f"SIGNATURE = {spec.algebra.signature}\nBLADES = {names!r}\nGRADES = {grades!r}\n"


def description(spec: Spec, kernel: Kernel, work: Mapping[str, Work], files: Sequence[str]) -> list[str]:
    """The arguments by which a function describes itself: dims in memory order, options, work, paths of weights."""
    inputs, outputs = tensors(spec, kernel)
    known = {name.partition(".")[2]: roles for name, roles in weights(spec, kernel).items()}
    rows: dict[str, Any] = {
        "inputs": {t.name: dims(t) for t in inputs},
        "outputs": {t.name: dims(t) for t in outputs},
        "options": {o.name: o.default for o in kernel.options},
        "grads": kernel.grads,
        "work": work,
        "joined": joined(spec, kernel),
        "indices": {a.name: a.type.into for a in kernel.inputs if a.type and a.type.into},
        "integers": kernel.inputs_of("integer"),
        "seeds": kernel.inputs_of("seed"),
        "products": holds_dot(by_default(spec, kernel).roots),
        "precision": kernel.precision or "",
        "paths": weights_of(spec, kernel),
        "weights": known,
        "files": tuple(files),
    }
    kept = {key: value for key, value in rows.items() if value or key in ("inputs", "outputs", "grads", "files")}
    return [repr(kernel.name), *(f"{key}={value!r}" for key, value in kept.items())]


def joined(spec: Spec, kernel: Kernel) -> dict[str, tuple[str, ...]]:
    """The axes that some variant makes of others, with these."""
    graphs = [trace(spec, kernel, flags) for flags in kernel.choices] if "" in made_axes(kernel).values() else []
    found = [(graph, whole, axes) for graph in graphs for whole, axes in graph.builder.joined.items()]
    return {str(graph.extents([whole])[0]): tuple(map(str, graph.extents(axes))) for graph, whole, axes in found}


def weights_of(spec: Spec, kernel: Kernel) -> dict[str, Any]:
    """The paths of a kernel's weights."""
    named = [a.name for a in kernel.inputs if a.type and a.type.kind == "weights"]
    return {name: paths(spec, kernel, name) for name in named}


@lru_cache
def tensors(spec: Spec, kernel: Kernel) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The tensors that a kernel takes and gives, bool options at their defaults; axes of one extent have one name."""
    graph = by_default(spec, kernel)
    inputs = zip([argument.name for argument in kernel.inputs], graph.inputs)
    outputs = zip(output_names(kernel), graph.results)
    shown = [tuple(replace(t, name=n, dims=graph.extents(t.dims)) for n, t in side) for side in (inputs, outputs)]
    return shown[0], shown[1]


def dims(tensor: Tensor) -> tuple[str | int, ...]:
    """The dims of a tensor as users see them."""
    return ("...", *tensor.dims[1:]) if tensor.leading else tuple(tensor.dims)
