"""The stages between the traced graph and the text: derivatives, factoring, scheduling, buffers; and their goldens.

Graphs are evaluated in fp64 by `evaluate`, so nothing here depends on what is emitted.
"""

import io
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bodies import BODIES, FUSED, MV, NORM, OPTIONS, SGP, SIGNATURES
from evaluate import evaluate
from handmade import one
from rich.console import Console
from torch import Tensor

from kgen.graph import tensor as memory
from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.cost import cost
from kgen.graph.graph import Graph, Output, verify
from kgen.graph.isolation import isolate
from kgen.graph.node import Node
from kgen.graph.simplify import simplify
from kgen.schedule.attend import Attend
from kgen.schedule.buffers import plan
from kgen.schedule.device import DEVICE
from kgen.schedule.intermediates import substituted
from kgen.schedule.products import Contraction, Operand, Product
from kgen.schedule.program import Kernel, Program, Step
from kgen.schedule.schedule import schedule
from kgen.spec.load import load
from kgen.spec.model import Spec
from kgen.tools.show import render
from kgen.trace.trace import trace

ROOT = Path(__file__).parents[2]
SIZES = {"b": 3, "n": 5, "m": 2, "k": 4, "v": 3, "c": 2, "d": 3, "t": 3}


def traced(name: str, signature: tuple[int, int, int]) -> Graph:
    body, inputs = BODIES[name]
    spec = one(signature, inputs, body, NORM if "eps" in body else {})
    return trace(spec, spec.kernels[0], {})


def tensors_of(graph: Graph) -> dict[str, Tensor]:
    """Random values for the graph's inputs; the same for an input of the same name."""
    values = {}
    for tensor in graph.inputs:
        random = torch.Generator().manual_seed(zlib.crc32(tensor.name.encode()))
        shape = [d if isinstance(d, int) else SIZES[d] for d in tensor.dims]
        values[tensor.name] = torch.randn(shape, generator=random, dtype=torch.float64)
    return values


def run(graph: Graph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The graph's results; it may read its inputs along other axes, too."""
    given = {t.name for t in graph.inputs}
    others = [t for t in graph.builder.tensors.values() if t.dtype is None and t.source in given - {t.name}]
    known = tensors | {t.name: tensors[t.source] for t in others}
    inputs = (*graph.inputs, *(t for t in others if t.name not in given))
    return evaluate(replace(graph, inputs=inputs), known, {n: NORM[n] for n in graph.numbers}, SIZES)


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(
            found[name], value, rtol=1e-10, atol=1e-10
        ), f"{name} is off by {(found[name] - value).abs().max()}"


def everywhere(test: Any) -> Any:
    test = pytest.mark.parametrize("name", BODIES)(test)
    return pytest.mark.parametrize("signature", SIGNATURES, ids=str)(test)


# autodiff


def autograd(graph: Graph, tensors: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """torch's gradients of the evaluated graph for the cotangents among the tensors."""
    leaves = {name: tensors[name].clone().requires_grad_(name in names) for name in (t.name for t in graph.inputs)}
    outputs = run(graph, leaves)
    live = [name for name in outputs if outputs[name].requires_grad]
    seeds = [tensors[f"grad_{name}"] for name in live]
    grads = torch.autograd.grad(
        [outputs[name] for name in live], [leaves[name] for name in names], seeds, materialize_grads=True
    )
    return {f"grad_{name}": grad for name, grad in zip(names, grads)}


@everywhere
def test_gradients(name: str, signature: tuple[int, int, int]) -> None:
    graph = traced(name, signature)
    names = tuple(t.name for t in graph.inputs)
    backward = differentiate(graph, names)
    verify(backward)
    tensors = tensors_of(backward)
    close(run(backward, tensors), autograd(graph, tensors, names))


@pytest.mark.parametrize("name", [name for name in BODIES if name not in ("kinks", "centred")])
def test_gradients_of_gradients(name: str) -> None:
    """Differentiating the backward is the same stage once more."""
    graph = traced(name, (2, 0, 0))
    names = tuple(t.name for t in graph.inputs)
    backward = differentiate(graph, names)
    names = tuple(t.name for t in backward.inputs)
    twice = differentiate(replace(backward, outputs=_renamed(backward.outputs)), names)
    verify(twice)
    tensors = tensors_of(twice)
    close(run(twice, tensors), autograd(replace(backward, outputs=_renamed(backward.outputs)), tensors, names))


def _renamed(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """The backward's outputs by names that no input has, cotangents included."""
    return tuple(replace(o, tensor=replace(o.tensor, name=f"slope_{o.tensor.name}")) for o in outputs)


@pytest.mark.parametrize("wanted", ["x", "y", "weight"])
def test_gradients_of_some_inputs(wanted: str) -> None:
    graph = traced("norm", (2, 0, 0))
    backward = differentiate(graph, (wanted,))
    assert [o.tensor.name for o in backward.outputs] == [f"grad_{wanted}"]
    tensors = tensors_of(backward)
    close(run(backward, tensors), autograd(graph, tensors, (wanted,)))


# simplify


@everywhere
def test_simplify_keeps_values(name: str, signature: tuple[int, int, int]) -> None:
    """Forward and backward: the same values, by no more operations than before."""
    graph = traced(name, signature)
    for each in (graph, differentiate(graph, [t.name for t in graph.inputs])):
        fields = simplify(each.builder, each.roots)
        assert cost(fields).total <= cost(each.roots).total
        smaller = replace(each, outputs=_with(each.outputs, fields))
        verify(smaller)
        tensors = tensors_of(each)
        close(run(smaller, tensors), run(each, tensors))


@everywhere
def test_isolation_keeps_values(name: str, signature: tuple[int, int, int]) -> None:
    """kingdon's factoring, forward and backward."""
    graph = traced(name, signature)
    for each in (graph, differentiate(graph, [t.name for t in graph.inputs])):
        if fields := isolate(each.builder, each.roots):
            other = replace(each, outputs=_with(each.outputs, fields))
            verify(other)
            tensors = tensors_of(each)
            close(run(other, tensors), run(each, tensors))


def _with(outputs: Sequence[Output], fields: Sequence[Node]) -> tuple[Output, ...]:
    rest = iter(fields)
    return tuple(replace(o, fields=tuple(next(rest) for _ in o.fields)) for o in outputs)


def weighted_product(signature: tuple[int, int, int]) -> Graph:
    spec = one(signature, SGP, "return sgp(x, y, weight)")
    return trace(spec, spec.kernels[0], {})


def counted(signature: tuple[int, int, int]) -> tuple[int, int]:
    """Multiplications and additions of the weighted product after factoring."""
    graph = weighted_product(signature)
    total = cost(simplify(graph.builder, graph.roots))
    return total.multiplications, total.additions


@pytest.mark.parametrize(
    ("signature", "multiplications", "additions"),
    [((2, 0, 0), 26, 12), ((3, 0, 0), 92, 56)],
    ids=str,
)
def test_operations_of_the_weighted_product(
    signature: tuple[int, int, int], multiplications: int, additions: int
) -> None:
    assert counted(signature) == (multiplications, additions)


@pytest.mark.parametrize(
    ("signature", "multiplications", "additions"),
    [((3, 0, 1), 262, 176), ((1, 3, 0), 340, 240), ((4, 1, 0), 1272, 992)],
    ids=str,
)
def test_operations_of_larger_weighted_products(
    signature: tuple[int, int, int], multiplications: int, additions: int
) -> None:
    found = counted(signature)
    assert found[0] <= multiplications
    assert sum(found) <= multiplications + additions


@pytest.mark.parametrize(
    ("signature", "multiplications", "additions"),
    [((2, 0, 0), 68, 28), ((3, 0, 0), 224, 132), ((3, 0, 1), 624, 416), ((1, 3, 0), 790, 559)],
    ids=str,
)
def test_operations_of_all_gradients(signature: tuple[int, int, int], multiplications: int, additions: int) -> None:
    """What the scheduled backward computes for each element, in one kernel."""
    _, backward = schedule(weighted_product(signature), ("x", "y", "weight"), order=1)
    (kernel,) = backward.kernels
    assert kernel.cost.multiplications <= multiplications
    assert kernel.cost.additions <= additions


# schedule and buffers


def launch(graph: Graph, kernel: Kernel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What one kernel stores and folds, from the tensors that it reads."""
    stores = [*kernel.stores]
    if kernel.contraction:
        results = [*stores, *(Output(fold.tensor, fold.fields) for fold in kernel.folds)]
        stores = substituted(graph.builder, results, sums(graph.builder, kernel.contraction))
    for fold in kernel.folds if not kernel.contraction else ():
        assert fold.reduction in ("sum", "max")
        reduce = graph.builder.sum if fold.reduction == "sum" else graph.builder.max
        gone = [axis for axis in (*kernel.loop, *kernel.inner) if axis not in fold.tensor.axes]
        fields = (reduce(f, [a for a in gone if a in kernel.loop or a in f.axes]) for f in fold.fields)
        stores.append(Output(fold.tensor, tuple(fields)))
    plain = [replace(o, tensor=replace(o.tensor, dtype=None)) for o in stores]
    inputs = tuple(replace(t, dtype=None) for t in kernel.inputs)
    return run(replace(graph, inputs=inputs, outputs=tuple(plain)), {t.name: tensors[t.memory] for t in inputs})


def sums(b: Builder, c: Contraction) -> dict[Node, Node]:
    """The sums of a contraction, made of the factors that its kernel reads and computes."""
    table = {}
    for left, dots in zip(c.grid.left, c.grid.dots):
        for i, dot in enumerate(dots):
            terms = [(1, b.mul(a, line[i])) for a, line in zip(left, c.grid.right)]
            table[dot] = b.sum(b.linear(terms), c.shape.contracted)
    return {dot: made for dot, made in table.items() if dot.kind == "Dot"}


def multiply(product: Product, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What one matrix product makes."""
    known = {t.name: tensors[t.memory] for t in product.inputs}
    sizes = SIZES | {d: n for t in product.inputs for d, n in zip(t.dims, known[t.name].shape) if isinstance(d, str)}

    def extent(axes: Sequence[str], fields: int = 1) -> int:
        return math.prod((fields, *(sizes[axis] for axis in axes)))

    shape, (rows, contracted, columns) = product.shape, product.counts
    batch, along = extent(shape.batch, product.batch), extent(shape.contracted, contracted)

    def matrix(operand: Operand) -> Tensor:
        x = known[operand.tensor.name][operand.first : operand.last]
        return x.reshape(batch, along, -1).mT if operand.transposed else x.reshape(batch, -1, along)

    extents = [d if isinstance(d, int) else sizes[d] for d in product.result.dims]
    made = matrix(product.left) @ matrix(flipped(product.right)).mT
    assert made[0].shape == (extent(shape.rows, rows), extent(shape.columns, columns))
    whole = tensors.get(product.result.name, torch.full(extents, torch.nan, dtype=torch.float64))
    part = whole[product.target.first : product.target.last]
    assert part.isnan().all() != product.added, f"{product.name} adds to what is not there, or writes what is"
    part.copy_(made.reshape(part.shape) + (part if product.added else 0))
    return {product.result.name: whole}


def flipped(operand: Operand) -> Operand:
    """The right factor of a product, rows and columns exchanged."""
    return replace(operand, transposed=not operand.transposed)


def execute(program: Program, tensors: dict[str, Tensor], steps: Sequence[Step]) -> dict[str, Tensor]:
    """The program's steps in order; each reads what is there and writes what is not."""
    known = {t.name: tensors[t.name] for t in program.inputs}
    for step in steps:
        missing = {t.memory for t in step.inputs} - known.keys()
        assert not missing, f"{step.name} reads {missing} before anything wrote it"
        assert not isinstance(step, Attend)
        results = multiply(step, known) if isinstance(step, Product) else launch(program.graph, step, known)
        for name, value in results.items():
            product = isinstance(step, Product)  # which has looked itself
            assert product or name not in known, f"{step.name} writes {name}, which is there"
            known[name] = value
    return known


def choices(program: Program) -> list[list[Step]]:
    """The steps for wide results; those for 16-bit results, where some read inputs in place of the results; and those
    without tensor cores, where the library multiplies.
    """
    replaced = dict(program.alternatives)
    wide = [k for k in program.steps if k.name not in replaced.values()]
    found = [wide, [k for k in program.steps if k.name not in replaced]] if replaced else [wide]
    library = [s for k in wide for s in (isinstance(k, Kernel) and k.otherwise or (k,))]
    return [*found, library] if program.contractions else found


@everywhere
def test_schedule_keeps_values(name: str, signature: tuple[int, int, int]) -> None:
    """Kernel by kernel, the forward and its derivatives come to the graph's values, gradients and second gradients."""
    graph = traced(name, signature)
    names = [t.name for t in graph.inputs]
    programs = schedule(graph, names)
    derivatives = [graph]
    for _ in programs[1:]:
        seeds = [f"grad_{o.tensor.name}" for o in derivatives[-1].outputs]
        derivatives.append(differentiate(derivatives[-1], names))
        names += seeds
    tensors = known = tensors_of(derivatives[-1])
    assert len(programs) == 3
    for program, derivative in zip(programs, derivatives):
        for steps in choices(program):
            results = execute(program, known, steps)
            close({t.name: results[t.name] for t in program.outputs}, run(derivative, tensors))
        if program is programs[0]:
            known = tensors | {t.name: results[t.name] for t in (*program.saved, *program.outputs)}


def test_schedule_of_constants() -> None:
    """Results that no input reaches, beside maxima that nothing is left of: one step, and gradients that are zero."""
    spec = one((2, 0, 0), MV, "return max(x.e, over=n) * (y.e - y.e) + 3")
    graph = trace(spec, spec.kernels[0], {})
    forward, backward, _ = schedule(graph, ["x", "y"])
    tensors = tensors_of(backward.graph)
    found = execute(forward, tensors, forward.steps)["out"]
    results = execute(backward, tensors, backward.steps)
    assert bool((found == 3).all()) and not any(results[t.name].any() for t in backward.outputs)


@pytest.mark.parametrize("name", ["products", "sgp", "functions"])
def test_the_forward_is_the_same_whatever_is_derived_from_it(name: str) -> None:
    """Term by term, where it saves nothing: a change of a rule of differentiation changes no line of it."""
    texts = []
    for order in (0, 1, 2):
        graph = traced(name, (3, 0, 0))
        forward = schedule(graph, [t.name for t in graph.inputs], order)[0]
        assert not forward.saved
        texts.append([str(replace(graph, outputs=kernel.stores)) for kernel in forward.kernels])
    assert texts[0] == texts[1] == texts[2]


@everywhere
def test_schedule_grammar(name: str, signature: tuple[int, int, int]) -> None:
    graph = traced(name, signature)
    programs = schedule(graph, [t.name for t in graph.inputs])
    saved = {t.name for t in programs[0].saved}
    read = {t.name for step in programs[1].steps for t in step.inputs}
    assert saved <= read, "a saved tensor that the backward does not read"
    for program in programs:
        written = [t.name for step in program.steps for t in step.written]
        assert {t.name for t in program.outputs} <= set(written)
        for kernel in program.kernels:
            assert kernel.kind in ("map", "row", "fold", "contract")
            assert bool(kernel.contraction) == (kernel.kind == "contract")
            assert bool(kernel.folds) == (kernel.kind == "fold") or kernel.contraction and not kernel.stores
            assert kernel.live <= DEVICE.most_live or len(kernel.stores) + len(kernel.folds) == 1
            sums = kernel.contraction.fields if kernel.contraction else ()
            assert kernel.contraction or kernel.cost == cost(kernel.roots)
            assert all(n.kind != "Dot" or n in sums for n in kernel.nodes), "what only a matrix product computes"
            used = {n.tensor for n in kernel.nodes if n.kind == "Input"} - set(graph.numbers)
            assert used == {t.name for t in kernel.inputs}
            assert {a for n in kernel.nodes for a in n.axes} <= set(kernel.axes)


@everywhere
def test_buffers(name: str, signature: tuple[int, int, int]) -> None:
    """Two tensors in one workspace are of one shape, and are never alive at the same time."""
    graph = traced(name, signature)
    for program in schedule(graph, [t.name for t in graph.inputs]):
        lifetimes = plan(program).lifetimes
        kept = {t.name for t in (*program.inputs, *program.outputs, *program.saved)}
        assert not kept & {life.tensor.name for life in lifetimes}
        for i, life in enumerate(lifetimes):
            assert life.first <= life.last < len(program.steps)
            for other in lifetimes[:i]:
                if other.workspace == life.workspace:
                    assert other.last < life.first and other.tensor.dims == life.tensor.dims


def test_buffers_are_shared() -> None:
    """A chain of row sums, each needed before the next: the third takes the place of the first."""
    first, second, third, fourth = (memory.Tensor(name, ("b",)) for name in ("a", "c", "d", "out"))
    kernels = [_kernel([], first), _kernel([first], second), _kernel([second], third), _kernel([third], fourth)]
    graph = traced("sgp", (2, 0, 0))
    found = plan(Program(graph, (), (fourth,), (), (), tuple(kernels)))
    assert [life.workspace for life in found.lifetimes] == ["a", "c", "a"]


def _kernel(reads: list[memory.Tensor], writes: memory.Tensor) -> Kernel:
    builder = Builder()
    nothing = cost([])
    output = Output(writes, (builder.one,))
    return Kernel("k", "map", ("b",), (), (), tuple(reads), (), (output,), (), (), nothing, nothing, 0, False, ())


# goldens


def text_of(spec: Spec, stage: str, kernel: str) -> str:
    """What `kgen show` prints, at a fixed width."""
    file = io.StringIO()
    console = Console(file=file, width=120, highlight=False)
    for part in render(spec, stage, kernel, {}):
        if isinstance(part, str):
            file.write(part if part.endswith("\n") else f"{part}\n")
        else:
            console.print(part)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


@pytest.mark.parametrize("kernel", ["sgp", "fused_gelu_sgp_norm", "fused_gelu_fcgp_norm", "layer"])
@pytest.mark.parametrize("stage", ["kernels", "buffers"])
def test_golden(stage: str, kernel: str, golden: Callable[[str, str], None]) -> None:
    spec = load(str(ROOT / "specs" / "vga2d.yaml"))
    golden(f"{stage}/vga2d_{kernel}.txt", text_of(spec, stage, kernel))


@pytest.mark.parametrize(
    ("kernel", "body", "options"),
    [("sgp", "return sgp(x, y, weight)", {}), ("fused_gelu_sgp_norm", FUSED, OPTIONS)],
    ids=["sgp", "fused_gelu_sgp_norm"],
)
def test_golden_backward(
    kernel: str, body: str, options: dict[str, bool | float], golden: Callable[[str, str], None]
) -> None:
    spec = one((2, 0, 0), SGP, body, options)
    golden(f"backward/vga2d_{kernel}.txt", str(differentiate(trace(spec, spec.kernels[0], {}), tuple(SGP))))
