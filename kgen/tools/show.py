"""What a spec becomes, stage by stage, as text and tables for the terminal. Imports neither torch nor triton.

In: a spec, the name of a stage, a choice for bool options. Out: strings and rich renderables, in the order of the
spec's kernels. One small function for each stage; one that needs weights or gradients says so when there are none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from kgen.errors import KgenError
from kgen.graph.graph import Graph, Output
from kgen.graph.tensor import Tensor
from kgen.schedule.attend import Attend
from kgen.schedule.narrow import FEW
from kgen.schedule.products import Operand, Product
from kgen.spec import model
from kgen.wording import counted

if TYPE_CHECKING:
    from kgen.schedule.needed import Work
    from kgen.schedule.program import Kernel, Program

Flags = dict[str, bool]
Stage = Callable[[model.Spec, model.Kernel, Flags], Iterator[RenderableType]]


def render(spec: model.Spec, stage: str, kernel: str, flags: Flags) -> list[RenderableType]:
    """A stage of one kernel, or of all kernels if the name is empty. Raises KgenError for names that the spec lacks."""
    chosen = tuple(k for k in spec.kernels if kernel in ("", k.name))
    if not chosen:
        names = ", ".join(k.name for k in spec.kernels)
        raise KgenError(f"no kernel {kernel!r}", spec.mark, f"its kernels: {names}")
    _refuse_unknown(chosen, flags)
    shown = {k.name for k in chosen}
    if stage == "source":
        whole = tuple(m for m in spec.modules if shown.issuperset(m.kernels))
        return [_source(replace(spec, kernels=chosen, modules=whole))]
    if stage == "spec":
        kernels = (part for k in chosen for part in _kernel(spec, k, flags))
        around = [m for m in spec.modules if shown.intersection(m.kernels)]
        return [*_algebra(spec), *kernels, *(part for m in around for part in _module(m))]
    return [part for k in chosen for part in STAGES[stage](spec, k, flags)]


def _refuse_unknown(kernels: tuple[model.Kernel, ...], flags: Flags) -> None:
    known = {flag for k in kernels for flag in k.flags}
    unknown = sorted(flags.keys() - known)
    if unknown:
        hint = f"bool options: {', '.join(sorted(known)) or 'none'}"
        raise KgenError(f"no bool option {unknown[0]!r}", kernels[0].mark, hint)


def _source(spec: model.Spec) -> str:
    from kgen.emit.package import emit

    return "\n".join(f"# {path}\n{text}" for path, text in emit(spec).items() if "/_runtime/" not in path)


# spec: what was read, with the defaults filled in


def _algebra(spec: model.Spec) -> Iterator[RenderableType]:
    yield f"{spec.name}: {spec.doc}" if spec.doc else spec.name
    if spec.algebra is None:
        return
    p, q, r = spec.algebra.signature
    yield f"\nCl({p},{q},{r})"
    table = Table()
    for heading in ("index", "blade", "grade"):
        table.add_column(heading, justify="right")
    for index, blade in enumerate(spec.algebra.blades):
        table.add_row(str(index), blade.name, str(blade.grade))
    yield table


def _kernel(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    yield f"\n{kernel.name}: {kernel.doc}" if kernel.doc else f"\n{kernel.name}"
    table = Table()
    for heading in ("argument", "type", "memory order", "grades", "gradient"):
        table.add_column(heading)
    for argument in (*kernel.inputs, *kernel.outputs):
        declared = argument.type
        role = "result" if argument in kernel.outputs else "yes" if argument.name in kernel.grads else "no"
        kind, grades = (declared.kind, " ".join(map(str, declared.grades))) if declared else ("inferred", "")
        memory = escape(f"[{', '.join(map(str, declared.memory))}]") if declared else ""
        table.add_row(argument.name, kind, memory, grades, role)
    for option in kernel.options:
        table.add_row(option.name, type(option.default).__name__, f"= {option.default}", "", "option")
    yield table
    yield kernel.body


def _module(module: model.Module) -> Iterator[RenderableType]:
    options = [f"{switch.name}={switch.default!r}" for switch in module.switches]
    yield f"\n{module.name}({', '.join([*module.arguments, *options])}): nn.Module around {_chosen(module.kernel)}"
    table = Table()
    for heading in ("parameter", "input", "at first"):
        table.add_column(heading)
    for p in module.parameters:
        table.add_row(p.name, p.input, _chosen(p.initialisation))
    yield table


def _chosen(choice: model.Choice[Any]) -> str:
    """The value in each case: `layer (use_fc=False), fc_layer (use_fc=True)`."""
    if choice.switch is None:
        return str(choice.values[0])
    cases = zip(choice.values, choice.switch.cases)
    return ", ".join(f"{value} ({choice.switch.name}={case!r})" for value, case in cases)


# paths: the product paths behind each weight


def _paths(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    from kgen.trace.trace import paths

    weights = [a for a in kernel.inputs if a.type and a.type.kind == "weights"]
    if not weights:
        yield f"{kernel.name} has no weights"
    for argument in weights:
        assert argument.type is not None
        operands = argument.type.operands
        yield f"{kernel.name}: {argument.name} of {', '.join(operands)}"
        table = Table()
        headings = ("index", *(f"grade of {x}" for x in operands))
        for heading in headings if len(operands) == 1 else (headings[0], headings[1], "grade of result", headings[2]):
            table.add_column(heading, justify="right")
        for index, path in enumerate(paths(spec, kernel, argument.name)):
            table.add_row(str(index), *map(str, path))
        yield table


# graph and backward: the fields, then the same as formulas


def _graph(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    yield from _fields(_trace(spec, kernel, flags))


def _backward(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    from kgen.graph.autodiff import differentiate
    from kgen.trace.trace import private_grads

    if kernel.grads:
        yield from _fields(differentiate(_trace(spec, kernel, flags), private_grads(kernel)))
    else:
        yield f"{kernel.name} has no gradients"


def _trace(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Graph:
    from kgen.trace.trace import trace

    return trace(spec, kernel, flags)


def _fields(graph: Graph) -> Iterator[RenderableType]:
    from kgen.graph.formulas import formulas

    yield str(graph)
    yield formulas(graph)


# kernels and buffers: launches, and the tensors between them


def _programs(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> "tuple[Program, ...]":
    from kgen.schedule.schedule import schedule
    from kgen.trace.trace import private_grads

    return schedule(_trace(spec, kernel, flags), private_grads(kernel), kernel.order)


def _kernels(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    programs = _programs(spec, kernel, flags)
    yield "\n".join(_formula(kernel, programs))
    for way in (*(way for program in programs for way in _ways(program)), *_online(spec, kernel, flags)):
        if isinstance(way, str):
            yield way
            continue
        for launch in way.every_step:
            if isinstance(launch, Product | Attend):
                yield _product(launch) if isinstance(launch, Product) else _attend(launch)
                continue
            lines = [
                f"{launch.name}: {launch.kind} kernel",
                f"  rows {_listed(launch.rows)}; loop {_listed(launch.loop)}; tile {_listed(launch.inner)}",
                f"  reads {_listed(map(_tensor, launch.inputs))}",
                f"  stores {_listed(_tensor(output.tensor) for output in launch.stores)}",
                f"  folds {_listed(_tensor(fold.tensor) for fold in launch.folds)}",
                *(f"  multiplies {_tensor(o.tensor)} inside, {_pairs(o)}" for o in launch.inside),
                *(f"  {line}" for line in _work(launch)),
                *(f"  {note}" for note in launch.notes),
            ]
            yield "\n".join(lines)


def _ways(program: "Program") -> "Iterator[Program | str]":
    """The program, then the one for rows of few features, or why there is none."""
    yield program
    if program.narrow:
        yield f"{program.graph.name}, for up to {FEW} features:"
        yield program.narrow
    elif program.unfit:
        yield f"{program.graph.name} has no kernels for few features: {program.unfit}"


def _online(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> "Iterator[Program | str]":
    """The programs whose scores of attention are never stored, or why there are none."""
    from kgen.schedule.online import online
    from kgen.trace.trace import private_grads

    found = online(_trace(spec, kernel, flags), private_grads(kernel), kernel.order)
    if isinstance(found, str):
        yield from [f"{kernel.name} stores its scores: {found}"] if found else []
        return
    yield f"{kernel.name} in bf16, or fp32 in tf32, of parts that are short enough: scores are never stored"
    yield from found


def _pairs(multiplied: "Output") -> str:
    """Which tensors a kernel multiplies."""
    pairs = {tuple(x.single[0][1].tensor for x in pair) for dot in multiplied.fields for pair in dot.pairs}
    return "; ".join(f"{a} by {b}" for a, b in sorted(pairs))


def _formula(kernel: model.Kernel, programs: "Sequence[Program]") -> Iterator[str]:
    """What the formula needs, whatever is launched, and what that means for devices."""
    from kgen.schedule.device import DEVICES
    from kgen.schedule.limits import limits
    from kgen.schedule.needed import EXTENT, needed
    from kgen.trace.trace import private_grads

    graph, grads = programs[0].graph, private_grads(kernel)
    work = needed(graph, grads, programs)
    for direction, limit in limits(graph, grads, work).items():
        yield f"{kernel.name}, {direction}: the formula needs"
        for axes, kinds in work[direction].items():
            yield f"  at each point of {axes} {' + '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        moved = f"{limit.intensity:.3g} instructions a byte in fp32, where all axes have {EXTENT} elements"
        yield f"  {moved}{', besides products of matrices' if _multiplies(work[direction]) else ''}"
        for name, device in DEVICES.items():
            taken = f"instructions take {limit.share(device):.2g} of the time of the bytes: {limit.binds(device)} bind"
            yield f"  {name} issues {device.intensity:.3g} while it moves one: {taken}"


def _multiplies(work: "Work") -> bool:
    return any("product" in kinds for kinds in work.values())


def _buffers(spec: model.Spec, kernel: model.Kernel, flags: Flags) -> Iterator[RenderableType]:
    from kgen.schedule.buffers import plan

    for program in _programs(spec, kernel, flags):
        buffers = plan(program)
        yield program.graph.name
        table = Table()
        for heading in ("tensor", "role", "written by", "read by"):
            table.add_column(heading)
        saved, results = {t.name for t in program.saved}, {t.name for t in program.outputs}
        for launch in program.steps:
            for tensor in launch.written:
                workspace = f"workspace {buffers.workspace(tensor.memory)}"
                role = "saved" if tensor.memory in saved else "result" if tensor.memory in results else workspace
                readers = [k.name for k in program.steps if tensor.memory in {t.memory for t in k.inputs}]
                table.add_row(escape(_tensor(tensor)), role, launch.name, _listed(readers))
        yield table


def _product(product: Product) -> str:
    """A product of stored factors; the notes say why no kernel computes these on the way, and how they lie."""
    lines = [
        f"{product.name}: matrix product, {_products(product.multiplications)}",
        f"  left {_operand(product.left)}; right {_operand(product.right)}",
        f"  {'adds to' if product.added else 'writes'} {_operand(product.target)}",
        *(f"  {note}" for note in product.notes),
    ]
    return "\n".join(lines)


def _attend(step: Attend) -> str:
    """A step of attention whose scores are never stored."""
    lines = [
        f"{step.name}: attention, {_products(sum(p.multiplications for p in step.products))}",
        f"  reads {'; '.join(_listed(map(_tensor, group)) for group in (*step.groups, step.rows) if group)}",
        f"  writes {_listed(map(_tensor, step.written))}",
        *(f"  {note}" for note in step.notes),
    ]
    return "\n".join(lines)


def _operand(operand: Operand) -> str:
    part = "" if operand.first is None else f", components {operand.first} to {operand.last}"
    return f"{_tensor(operand.tensor)}{part}{', transposed' if operand.transposed else ''}"


def _work(launch: "Kernel") -> tuple[str, ...]:
    """What a launch computes and moves; of a matrix product, what it multiplies, and the steps that come next here."""
    if not launch.contraction:
        from kgen.schedule.work import work

        found = work(launch)
        moved = f"{found.read} fields read and {found.written} written per element, {found.bytes} bytes in fp32"
        tried = [f"factored {'; '.join(map(str, launch.factorings))}"] if launch.factorings else []
        return f"per element {launch.cost}; multiplied out {launch.naive}", *tried, moved, str(found)
    c, others = launch.contraction, _listed(step.name for step in launch.otherwise)
    multiplied = f"{_products(c.multiplications)} by {' '.join(c.axes)}"
    return f"{multiplied}; for a factor's element {launch.cost}", f"without tensor cores {others} instead"


def _products(count: int) -> str:
    return f"{counted(count, 'product')} of fields"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "-"


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name}[{', '.join(map(str, tensor.dims))}]"


STAGES: Mapping[str, Stage] = {
    "paths": _paths,
    "graph": _graph,
    "backward": _backward,
    "kernels": _kernels,
    "buffers": _buffers,
}
