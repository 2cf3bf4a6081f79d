"""The launches of kernels.

In: a `Kernel` of a program. Out: rows that launch it in the form that fits, put partial results together, or do the
same without tensor cores. Guaranteed: arguments stand in the order of the kernel's own signature.
"""

from kgen.emit.host.allocations import Allocations
from kgen.emit.host.extents import count
from kgen.emit.host.products import multiplied
from kgen.emit.host.rows import (
    Assigned,
    Branch,
    Call,
    Deleted,
    Gathered,
    Partials,
    Parts,
    Programs,
    Sharing,
    Sorted,
    Step,
    Totals,
)
from kgen.emit.host.values import (
    MATRIX,
    REAL,
    Chosen,
    Condition,
    Innermost,
    Largest,
    OnTensorCores,
    Partial,
    Present,
    Resident,
    Total,
    Wide,
)
from kgen.emit.host.variant import Direction
from kgen.emit.kernel.forms import sections
from kgen.emit.kernel.rows import KernelText
from kgen.emit.text.render import listed
from kgen.graph.tensor import Lookup
from kgen.schedule.narrow import ENDING
from kgen.schedule.products import Product
from kgen.schedule.program import TURNED, Fold, Kernel
from kgen.spec.private_names import kernel_name, size_name

PROGRAMS, TILES, PRECISION = "programs", "tiles", "precision"  # the launcher's own


class Launches:
    """The launches of one launcher."""

    def __init__(self, direction: Direction, allocations: Allocations) -> None:
        self.direction, self.allocations = direction, allocations
        self.program = direction.program
        self.gathered = self._gathered()

    def launched(self, kernel: Kernel) -> list[Step]:
        """A kernel, or what takes its place."""
        steps: list[Step] = [*map(self._sorted, kernel.segments), self._in_form(kernel)]
        if kernel.folds:
            before, after = self._around(kernel)
            steps = [*before, *steps, *after]
        if kernel.otherwise:
            asked = OnTensorCores(self.direction.place, kernel.precision)
            steps = [Branch(asked, tuple(steps), tuple(self._by_library(kernel)))]
        return steps

    def _sorted(self, by: Lookup) -> Sorted:
        index = self.program.graph.builder.tensors[by.tensor]
        return Sorted(f"order_{by.tensor}", f"starts_{by.tensor}", index.memory, size_name(by.into))

    # forms

    def _in_form(self, kernel: Kernel) -> Call | Branch:
        """The launch; of a kernel with two forms, or with one that replaces it for 16-bit results, whichever fits."""
        texts = self._texts(kernel)
        call = self._call(kernel, texts[0])
        alternative = dict(self.program.alternatives).get(kernel.name)
        if alternative:
            other = next(k for k in self.program.kernels if k.name == alternative)
            stored = next(t.name for t in kernel.inputs if t.name not in {i.name for i in other.inputs})
            return Branch(Wide(stored), (call,), (self._call(other, self._texts(other)[0]),))
        if len(texts) == 2:
            tile, sweep = texts
            fits = Resident(count(kernel.inner), tile.name)
            return Branch(fits, (call,), (self._call(kernel, sweep),))
        return call

    def _texts(self, kernel: Kernel) -> tuple[KernelText, ...]:
        return sections(kernel, self.program.graph.builder)

    def _call(self, kernel: Kernel, text: KernelText) -> Call:
        contracts, folded = text.form == "contract", (PROGRAMS,) * bool(kernel.folds)
        inside = kernel.kind == ENDING
        extents = {"flat": (count(kernel.inner),), "contract": _tiles(kernel), "narrow": _whole(kernel)}
        rest: tuple[str, ...] = (*folded, REAL)
        if contracts or inside:
            rest = (PROGRAMS if kernel.folds else "1" if contracts else "None", MATRIX, REAL)
            rest += (PRECISION,) if inside else ()
        return Call(
            runtime="matmul" if contracts else ENDING if inside else "launch",
            form="whole" if inside else text.form,
            kernel=kernel_name(text.name),
            row=text.name,
            turned_row=text.name + TURNED,
            axis=kernel.turning,
            tensors=(
                *(t.memory for t in kernel.inputs),
                *(o.tensor.memory for o in kernel.stores),
                *(Partial(f.tensor.name) for f in kernel.folds),
            ),
            arguments=self._arguments(kernel),
            extents=extents.get(text.form, (count(kernel.rows), count(kernel.inner))),
            rest=rest,
            whole=text.form == "tile" and kernel.kind == "row",
            precision=kernel.precision if contracts else None,
        )

    def _arguments(self, kernel: Kernel) -> tuple[Condition | str, ...]:
        """Numbers, sizes, steps, and what is decided when the kernel is compiled."""
        grads = [t.name for t in self.program.outputs] if self.direction.backward else []
        written = dict.fromkeys(t.memory for t in kernel.written)
        return (
            *kernel.numbers,
            *self._texts(kernel)[0].sizes,
            *(f"step_{t.name}" for t in kernel.inputs if t.stepped),
            *(Present((name,)) for name in kernel.optional),
            *map(self.direction.wanted, ({name} for name in written if name in grads)),
            *((Innermost(kernel.turning),) if kernel.turning else ()),
        )

    # folds

    def _gathered(self) -> frozenset[str]:
        """The kernels whose partial results are added together at the end: nothing else reads the sums."""
        read = frozenset[str]().union(*(step.reads for step in self.program.steps))
        found = [k for k in self.program.kernels if k.folds and not k.contraction and _sums(k)]
        found = [k for k in found if read.isdisjoint(fold.tensor.name for fold in k.folds)]
        return frozenset(k.name for k in found) if len(found) > 1 else frozenset()

    def _around(self, kernel: Kernel) -> tuple[list[Step], list[Step]]:
        """How many programs share the loop, with memory for what each of them finds; and what puts that together."""
        shared, slots = self._shared(kernel)
        if kernel.name in self.gathered or len(kernel.folds) > 1 and _sums(kernel):
            results = tuple(fold.tensor.name for fold in kernel.folds)
            memory = (self.allocations.summed(fold.tensor) for fold in kernel.folds)
            put_together = Gathered(results) if kernel.name in self.gathered else Totals(results)
            return [shared, *memory, Partials(tuple(zip(results, slots)), self.direction.place)], [put_together]
        partials = (self.allocations.partial(fold.tensor, n) for fold, n in zip(kernel.folds, slots))
        return [shared, *partials], [*map(self._total, kernel.folds)]

    def _shared(self, kernel: Kernel) -> tuple[Parts | Programs | Sharing, list[str]]:
        """How many programs share the loop, and how many partial results that makes of each fold."""
        row, place = self._texts(kernel)[0].name, self.direction.place
        if kernel.contraction:
            return Parts(row, (*_tiles(kernel), count(kernel.loop)), place), [PROGRAMS]
        if kernel.kind == ENDING:
            columns = tuple(size_name(a) for a in kernel.inner)
            return Sharing(row, count(kernel.loop), columns, place), [PROGRAMS] * len(kernel.folds)
        lacking = [fold for fold in kernel.folds if not set(kernel.inner) & set(fold.tensor.axes)]
        extents = (count(kernel.loop), count(kernel.rows), count(kernel.inner))
        slots = [" * ".join((PROGRAMS, TILES)) if fold in lacking else PROGRAMS for fold in kernel.folds]
        return Programs(row, extents, place, TILES if lacking else "_"), slots

    def _total(self, fold: Fold) -> Assigned:
        """The partial results of one fold put together."""
        d, tensor = self.direction, fold.tensor
        name = tensor.name
        largest = Largest(name, None if tensor.dtype else d.promoted)
        value = largest if fold.reduction == "max" else Total(name, self.allocations.memory(tensor))
        return Assigned(name, Chosen(value, d.wanted({name}), "None") if d.is_gradient(tensor) else value)

    # without tensor cores

    def _by_library(self, kernel: Kernel) -> list[Step]:
        """The same with stored factors, which are given back at once."""
        results = {t.name for t in kernel.written}
        steps, made = list[Step](), list[str]()
        for step in kernel.otherwise:
            fresh = [t for t in step.written if t.name not in results]
            made += [t.name for t in fresh]
            if isinstance(step, Product):
                steps += multiplied(self.direction, step, there=not fresh and not kernel.folds)
            elif isinstance(step, Kernel):
                steps += [*map(self.allocations.allocated, fresh), self._call(step, self._texts(step)[0])]
        return [*steps, Deleted(tuple(made))] if made else steps


def _sums(kernel: Kernel) -> bool:
    return all(fold.reduction == "sum" for fold in kernel.folds)


def _whole(kernel: Kernel) -> tuple[str, ...]:
    """The rows, and the extents along them."""
    return count((*kernel.rows, *kernel.loop)), f"({listed(map(size_name, kernel.inner))})"


def _tiles(kernel: Kernel) -> tuple[str, ...]:
    """The extents of a contraction's result: batch, rows and columns."""
    return tuple(map(count, (kernel.rows[:-1], kernel.rows[-1:], kernel.inner)))
