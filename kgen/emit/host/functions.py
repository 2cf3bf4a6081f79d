"""Public functions.

In: a kernel of the spec, and its variants. Out: the row of `function.jinja`. Guaranteed: exactly one variant's
condition holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kgen.emit.host.variant import Variant
from kgen.emit.text.docstrings import document
from kgen.reference.function import annotation, returned
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import definition_name


@dataclass(frozen=True, slots=True)
class Function:
    """One public function, which picks the variant."""

    name: str
    definition: str
    doc: str
    inputs: tuple[str, ...]
    options: tuple[tuple[str, str, str], ...]  # names, annotations and defaults
    returns: str
    flags: tuple[str, ...]
    numbers: tuple[str, ...]
    variants: tuple[Variant, ...]


def function_row(spec: Spec, kernel: Kernel, variants: Sequence[Variant]) -> Function:
    return Function(
        name=kernel.name,
        definition=definition_name(kernel.name),
        doc=document(spec, kernel),
        inputs=tuple(a.name for a in kernel.inputs),
        options=tuple((o.name, annotation(o), repr(o.default)) for o in kernel.options),
        returns=returned(len(variants[0].forward.outputs)),
        flags=tuple(name for name, _ in variants[0].flags),
        numbers=kernel.numbers,
        variants=tuple(variants),
    )
