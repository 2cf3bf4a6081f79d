"""The forms of a kernel: which templates it is written with.

In: a `program.Kernel`. Out: a `KernelText` for each form, from the writers of `sections.py` and `contract_sections.py`.
"""

from functools import lru_cache

from kgen.emit.kernel.contract_sections import ContractWriter
from kgen.emit.kernel.sections import KernelText, Writer
from kgen.graph.builder import Builder
from kgen.schedule.program import Kernel


@lru_cache(maxsize=256)  # kernels and launchers of a module are written from the same rows
def sections(kernel: Kernel, builder: Builder) -> tuple[KernelText, ...]:
    """The kernel's texts: a row kernel with results along the tile has a resident and a swept form, others have one."""
    if kernel.contraction:
        return (ContractWriter(kernel, builder).text(kernel.name),)
    forms = ["flat"] if kernel.flat else {"map": ["tile"], "fold": ["fold"]}.get(kernel.kind, ["sweep"])
    along = any(set(kernel.inner) & set(o.tensor.axes) for o in kernel.stores)
    if kernel.kind == "row" and along:
        forms = ["tile", "sweep"]
    suffix = {"sweep": "_long"} if len(forms) > 1 else {}
    return tuple(Writer(kernel, builder, form).text(kernel.name + suffix.get(form, "")) for form in forms)
