"""The kernels of a spec in each variant of their bool options, scheduled."""

from dataclasses import replace

from kgen.emit.host.launchers import Variant
from kgen.graph.graph import verify
from kgen.schedule.schedule import schedule
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import variant_name
from kgen.trace.trace import private_grads, trace


def variants_of(spec: Spec, kernel: Kernel) -> list[Variant]:
    """A kernel for each choice of its bool options, scheduled."""
    variants = []
    for flags in kernel.choices:
        graph = replace(trace(spec, kernel, flags), name=variant_name(kernel.name, flags))
        verify(graph)
        programs = schedule(graph, private_grads(kernel), kernel.order)
        variants.append(Variant(kernel, graph.name, tuple(flags.items()), programs))
    return variants
