"""A kernel in each of its forms.

In: a `program.Kernel`. Out: a `KernelText` for each form, from the writers of `sections.py` and `contract_sections.py`.
"""

from functools import lru_cache

from kgen.emit.kernel.contract_sections import ContractWriter
from kgen.emit.kernel.sections import KernelText, Writer
from kgen.graph.builder import Builder
from kgen.schedule.forms import forms
from kgen.schedule.program import Kernel


@lru_cache(maxsize=256)  # kernels and launchers of a module are written from the same rows
def sections(kernel: Kernel, builder: Builder) -> tuple[KernelText, ...]:
    """The kernel's texts, one for each of its forms."""
    if kernel.contraction:
        return (ContractWriter(kernel, builder).text(kernel.name),)
    return tuple(Writer(kernel, builder, form.template).text(form.name) for form in forms(kernel))
