"""The forms of a kernel: which templates it is written with, under which names.

In: a `Kernel`. Out: a `Form` for each: one, but for rows with results along the tile, which may be too long for the
registers of one program and have a second form for that.
"""

from dataclasses import dataclass

from kgen.schedule.program import Kernel

LONG = "_long"  # ends the name of the form for rows of any length
# by the kind of a kernel; those of other kinds are passes over long rows
ONLY = {"map": "tile", "fold": "fold", "segment": "segment", "contract": "contract", "narrow": "narrow"}


@dataclass(frozen=True, slots=True)
class Form:
    """A template and the name of the kernel that it writes."""

    template: str
    name: str


def forms(kernel: Kernel) -> tuple[Form, ...]:
    """The forms, the first for rows that fit the registers."""
    if kernel.kind == "row" and kernel.short:
        return (Form("tile", kernel.name),)
    if kernel.kind == "row" and any(set(kernel.inner) & set(o.tensor.axes) for o in kernel.stores):
        return Form("tile", kernel.name), Form("sweep", kernel.name + LONG)
    return (Form("flat" if kernel.flat else ONLY.get(kernel.kind, "sweep"), kernel.name),)
