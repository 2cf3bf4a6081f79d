"""Public functions.

In: a kernel of the spec, and its variants. Out: the row of `function.jinja`. Guaranteed: exactly one variant's
condition holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kgen.emit.host.variant import Variant
from kgen.emit.text.docstrings import document
from kgen.graph.node import postorder
from kgen.reference.function import annotation, returned
from kgen.spec import draws
from kgen.spec.body import parse_body
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import definition_name


@dataclass(frozen=True, slots=True)
class Way:
    """One variant as the function calls it: its operator, when, and with which inputs."""

    flags: tuple[tuple[str, bool], ...]
    operator: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """One public function, which picks the variant."""

    name: str
    definition: str
    doc: str
    inputs: tuple[str, ...]
    seeds: tuple[str, ...]  # the last inputs, which may be left out
    options: tuple[tuple[str, str, str], ...]  # names, annotations and defaults
    returns: str
    flags: tuple[str, ...]
    probabilities: tuple[str, ...]
    numbers: tuple[str, ...]
    variants: tuple[Way, ...]


def function_row(spec: Spec, kernel: Kernel, variants: Sequence[Variant]) -> Function:
    return Function(
        name=kernel.name,
        definition=definition_name(kernel.name),
        doc=document(spec, kernel, _apart(kernel, variants)),
        inputs=tuple(a.name for a in kernel.inputs if a.name not in draws.seeds(kernel)),
        seeds=draws.seeds(kernel),
        options=tuple((o.name, annotation(o), repr(o.default)) for o in kernel.options),
        returns=returned(len(variants[0].forward.outputs)),
        flags=tuple(name for name, _ in variants[0].flags),
        probabilities=draws.probabilities(kernel, parse_body(kernel)),
        numbers=kernel.numbers,
        variants=tuple(Way(v.flags, v.operator, _given(kernel, v)) for v in variants),
    )


def _apart(kernel: Kernel, variants: Sequence[Variant]) -> list[str]:
    """The inputs that every variant reads in place where their rows lie apart."""
    return [a.name for i, a in enumerate(kernel.inputs) if all(v.forward.inputs[i].stepped for v in variants)]


def _given(kernel: Kernel, variant: Variant) -> tuple[str, ...]:
    """The inputs as a variant takes them: random numbers are asked for where a seed is read."""
    names = [argument.name for argument in kernel.inputs]
    read = {node.tensor for node in postorder(variant.forward.graph.roots) if node.kind == "Input"}
    called = {name: "_seed" if given.name in read else "_unread" for name, given in zip(names, variant.forward.inputs)}
    return tuple(f"{called[n]}({n}, {names[0]})" if n in draws.seeds(kernel) else n for n in names)
