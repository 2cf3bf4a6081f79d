"""A kernel in each of its forms: finished rows for templates.

In: a `program.Kernel`. Out: a `KernelText` for each form: of the resident tile (`tile.py`, `fold.py`), of swept rows
(`sweep.py`), of segments (`segments.py`), of a matrix product (`contract.py`), or of whole rows with products inside
(`narrow.py`). Guaranteed: every name is defined before it is used, every access that can overrun has a mask, and
templates only place the strings.
"""

from functools import lru_cache

from kgen.emit.kernel.accesses import Accesses
from kgen.emit.kernel.addresses import Addresses, count, read
from kgen.emit.kernel.block import Block
from kgen.emit.kernel.contract import Contract
from kgen.emit.kernel.fold import Folds
from kgen.emit.kernel.headers import header
from kgen.emit.kernel.naming import Naming, stored
from kgen.emit.kernel.narrow import Narrow
from kgen.emit.kernel.rows import KernelText, Section
from kgen.emit.kernel.segments import Segments
from kgen.emit.kernel.statements import Statements
from kgen.emit.kernel.sweep import Sweeps
from kgen.emit.kernel.tile import Tile
from kgen.graph.builder import Builder
from kgen.schedule.forms import Form, forms
from kgen.schedule.narrow import ENDING
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

HELPERS = {"first_tile", "slot"}  # what a template computes only where something reads it


@lru_cache(maxsize=256)  # kernels and launchers of a module are written from the same rows
def sections(kernel: Kernel, builder: Builder) -> tuple[KernelText, ...]:
    """The kernel's texts, one for each of its forms."""
    if kernel.contraction:
        return (Contract(kernel, kernel.contraction, builder).text(),)
    if kernel.kind == "segment":
        return (Segments(kernel, builder).text(),)
    if kernel.kind == ENDING:
        return (Narrow(kernel, builder).text(),)
    return tuple(_text(kernel, builder, form) for form in forms(kernel))


def _text(kernel: Kernel, builder: Builder, form: Form) -> KernelText:
    naming = Naming(kernel, builder, kernel.roots, stored(kernel))
    addresses, statements = Addresses(kernel, naming), Statements(naming)
    block = Block(kernel, form.template, addresses)
    accesses = Accesses(block, statements)
    if form.template == "sweep":
        passes = Sweeps(kernel, accesses)
        before, body, sweeps, after = passes.before(), Section(), passes.passes(), Section()
    else:
        folds = Folds(kernel, block, statements)
        before, body = Tile(kernel, accesses).sections(folds.accumulators())
        sweeps, after = (), folds.partials()
    used = read([before, body, *(part for sweep in sweeps for part in (sweep.tile, sweep.row)), after])
    inner_size = size_name(kernel.inner[-1])
    programs = ["programs"] if form.template == "fold" else []
    return KernelText(
        name=form.name,
        form=form.template,
        pointers=tuple(naming.pointers.values()),
        numbers=naming.numbers,
        sizes=naming.sizes,
        steps=tuple(naming.row_steps.values()),
        unspecialised=(*(size for size in naming.sizes if size not in (inner_size, *naming.starts)), *programs),
        flags=naming.switches,
        rows=addresses.index("row", block.rows),
        kept=addresses.index("kept", kernel.rows if form.template == "fold" else ()),
        whole=kernel.kind == "row",
        inner=block.tile,
        inner_count=count(kernel.inner),
        planes=addresses.planes(used),
        places=block.places(used),
        before=before,
        body=body,
        sweeps=sweeps,
        after=after,
        notes=header(kernel, form.template, naming.nodes, naming.names),
        helpers=used & HELPERS,
    )
