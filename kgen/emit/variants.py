"""The variants of a kernel: one program for each choice of its bool options, and each order of derivative.

In: a spec and one of its kernels. Out: its variants in the order of `Kernel.choices`, traced and scheduled, each under
the name that launchers have for it. Guaranteed: the graph of each is well formed.
"""

from dataclasses import replace

from kgen.emit.host.variant import Variant
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
