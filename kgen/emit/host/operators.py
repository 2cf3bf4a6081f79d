"""What torch is told of a function.

In: scheduled variants of a kernel of the spec. Out: the rows of `operator.jinja`, one for each variant. Tensors have
the names that users give them.
"""

from dataclasses import dataclass

from kgen.emit.host.registration import Count, flops, independent
from kgen.emit.host.variant import Variant
from kgen.schedule.products import MATRIX
from kgen.trace.trace import output_names, private


@dataclass(frozen=True, slots=True)
class Operator:
    """One variant's registration."""

    target: str
    name: str
    function: str
    numbers: tuple[str, ...]
    saved: dict[str, tuple[str | int, ...]]
    products: tuple[str, ...]
    caches: tuple[tuple[str, ...], ...]
    independent: tuple[str, ...]
    flags: dict[str, bool]
    flops: tuple[tuple[Count, ...], ...]
    online: str  # the operator that takes its place where attention's parts are no wider than kernels hold them
    widths: tuple[Count, ...]


def operator_row(variant: Variant) -> Operator:
    """What makes operators of a variant's launchers."""
    names = _public_names(variant)
    own = {t.name for t in variant.forward.inputs}
    caches, cotangents = list[tuple[str, ...]](), set[str]()
    for before, program in zip(variant.programs, variant.programs[1:]):
        cotangents |= {f"grad_{t.name}" for t in before.outputs}
        caches.append(tuple(names[t.name] for t in program.inputs if t.name not in own | cotangents))
    return Operator(
        target=variant.operator,
        name=variant.name,
        function=variant.kernel.name,
        numbers=variant.kernel.numbers,
        saved={names[t.name]: variant.forward.graph.extents(t.dims) for t in variant.forward.saved},
        products=tuple(names[t.name] for t in variant.forward.saved if t.dtype == MATRIX),
        caches=tuple(caches) if any(caches) else (),
        independent=independent(variant.forward),
        flags=dict(variant.flags),
        flops=tuple(flops(p) for p in variant.programs),
        online=variant.online.operator if variant.online else "",
        widths=_widths(variant.online) if variant.online else (),
    )


def _widths(variant: Variant) -> tuple[Count, ...]:
    """How much lies at each position of the queries' parts and of the values'."""
    (step,) = variant.forward.attends
    queries, _, values = step.groups
    found = [step.width(tensor) for tensor in (*queries, *values)]
    return tuple((numbers, tuple(map(str, variant.forward.graph.extents(axes)))) for numbers, axes in found)


def _public_names(variant: Variant) -> dict[str, str]:
    """What the forward stores, by its names in launchers: as users name it, or no user names anything."""
    given = private(variant.kernel)
    names = {given[name]: name for name in output_names(variant.kernel)}
    for tensor in variant.forward.saved:
        name = tensor.name
        while name in given:
            name += "_"
        names[tensor.name] = name
    return names
