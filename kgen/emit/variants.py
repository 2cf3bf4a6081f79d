"""The variants of a kernel: one program for each choice of its bool options, and each order of derivative.

In: a spec and one of its kernels. Out: its variants in the order of `Kernel.choices`, traced and scheduled, each under
the name that launchers have for it. Guaranteed: the graph of each is well formed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kgen.emit.host.variant import Variant
from kgen.graph.graph import Graph, verify
from kgen.schedule.needed import Work, needed
from kgen.schedule.online import online
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
        variants.append(Variant(kernel, graph.name, tuple(flags.items()), programs, _online(kernel, graph, flags)))
    return variants


def _online(kernel: Kernel, graph: Graph, flags: Mapping[str, bool]) -> Variant | None:
    """The variant whose scores are never stored, if there is one."""
    found = online(graph, private_grads(kernel), kernel.order)
    return None if isinstance(found, str) else Variant(kernel, found[0].graph.name, tuple(flags.items()), found)


def work_of(variants: Sequence[Variant]) -> dict[str, Work]:
    """The arithmetic that the variant of the default options needs, by direction."""
    defaults = {option.name: option.default for option in variants[0].kernel.options}
    chosen = next(v for v in variants if all(defaults[name] == on for name, on in v.flags))
    return needed(chosen.forward.graph, private_grads(chosen.kernel), chosen.programs)
