"""The launchers of a variant.

In: its programs, and what plans their memory. Out: a row for each, with all that `launcher.jinja` places, in order.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from kgen.emit.host.allocations import Allocations
from kgen.emit.host.attends import attended
from kgen.emit.host.extents import joined, shapes
from kgen.emit.host.launches import Launches
from kgen.emit.host.products import multiplied
from kgen.emit.host.rows import Assigned, Branch, Launcher, Narrow, Step, Totals
from kgen.emit.host.values import Cast, Chosen, Value
from kgen.emit.host.variant import Direction, Variant
from kgen.graph.tensor import Tensor
from kgen.schedule.attend import Attend
from kgen.schedule.buffers import Plan
from kgen.schedule.narrow import ENDING
from kgen.schedule.products import MATRIX, Product, Way
from kgen.schedule.program import WORKSPACE, Program
from kgen.schedule.program import Step as Made
from kgen.spec.private_names import run_name, size_name


def launcher_rows(variant: Variant, plan: Callable[[Program], Plan]) -> list[Launcher]:
    """One launcher for each direction."""
    return [_launcher([Direction(variant, p, plan(p)) for p in program.both]) for program in variant.programs]


def _launcher(ways: Sequence[Direction]) -> Launcher:
    """The launcher of a program, which may have another way for rows of few features."""
    d, *others = ways
    p, allocations = d.program, Allocations(d)
    given = [t.name for t in p.inputs if t.dtype not in (WORKSPACE, MATRIX)]
    turning = _turning(p)
    return Launcher(
        name=run_name(p.graph.name),
        backward=d.backward,
        saves=bool(p.saved),
        launches=len(p.steps) - len(p.alternatives),
        copies=len(_copied(p)),
        parameters=(*(t.name for t in p.inputs), *p.graph.numbers),
        missing=p.optional,
        stepped=tuple((t.name, len(t.dims) - t.last) for t in p.inputs if t.stepped),
        contiguous=tuple(t.name for t in p.inputs if t.name in given and not t.stepped),
        place=given[0],
        shapes=shapes(d.variant.forward.inputs),
        joined=joined(p, d.variant.forward.inputs),
        real=tuple(t.name for t in d.variant.forward.inputs if t.dtype is None),
        matrix=bool(p.multiplied),
        innermost=tuple((axis, size_name(axis)) for axis in p.graph.axes if axis in turning),
        narrow=tuple(map(_narrow, others)),
        steps=(*allocations.results(), *_steps(d, allocations)),
        results=tuple(_returned(d, tensor) for tensor in (*p.outputs, *p.saved)),
    )


def _narrow(d: Direction) -> Narrow:
    """What is done for rows of few features: which these are, the steps, the results."""
    p, allocations = d.program, Allocations(d)
    axes = {a for kernel in p.kernels if kernel.kind == ENDING for a in kernel.inner}
    return Narrow(
        extents=tuple(size_name(a) for a in p.graph.axes if a in axes and a in {x for t in p.inputs for x in t.axes}),
        precision=p.graph.precision,
        launches=len(p.steps),
        steps=(*allocations.results(), *_steps(d, allocations)),
        results=tuple(_returned(d, tensor) for tensor in (*p.outputs, *p.saved)),
    )


def _copied(program: Program) -> list[str]:
    """The axis that is innermost, for each factor that is copied."""
    return [p.shape.contracted[-1] for p in program.products for o in p.operands if o.way is Way.COPIED]


def _turning(program: Program) -> set[str]:
    """The axes that are innermost in factors of products, where that makes these faster."""
    return {t.turning for step in program.steps for t in step.written if t.split} | {*_copied(program)}


def _steps(d: Direction, allocations: Allocations) -> list[Step]:
    """All steps; those that run under one condition together."""
    launches = Launches(d, allocations)
    steps = [(d.guard(step), _step(d, launches, number)) for number, step in enumerate(d.program.steps)]
    rows = list[Step]()
    for guard, group in groupby(steps, lambda step: step[0]):
        inside = [row for _, step in group for row in step]
        rows += [Branch(guard, tuple(inside))] if guard and inside else inside
    return [Assigned("sums", "[]"), *rows, Totals()] if launches.gathered else rows


def _step(d: Direction, launches: Launches, number: int) -> list[Step]:
    """One step with the memory that it takes and gives back; nothing of a kernel that stands in for another."""
    step, allocations = d.program.steps[number], launches.allocations
    if step.name in {new for _, new in d.program.alternatives}:
        return []
    return [*allocations.before(number), *_made(d, launches, step), *allocations.after(number)]


def _made(d: Direction, launches: Launches, step: Made) -> list[Step]:
    if isinstance(step, Attend):
        return attended(d, step)
    return multiplied(d, step) if isinstance(step, Product) else launches.launched(step)


def _returned(d: Direction, tensor: Tensor) -> Value:
    """A result in its own dtype; None for a gradient that nobody wants."""
    value: Value = Cast(tensor.name, d.dtype(tensor)) if d.is_added(tensor) else tensor.name
    return Chosen(value, d.wanted({tensor.name}), "None") if d.backward else value
