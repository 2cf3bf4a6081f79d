"""Compiled, exported and packaged: the operators of the generated modules in torch's compilers.

In the interpreter, which no compiler can look into, operators are opaque to them; on a GPU Inductor sees the kernels.
On the CPU without Triton what is compiled is the reference, and what is exported holds the operators.
"""

import contextlib
import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx.experimental.proxy_tensor import make_fx
from variants import (
    CHOSEN,
    DEVICE,
    FUSED,
    INTERPRETED,
    LAUNCHES,
    PLAIN,
    ROOT,
    ROWS,
    Tensors,
    Variant,
    close,
    each,
    energy,
    gradients,
    launching,
)

from kgen.tools.problem import runtime

FEW = CHOSEN if DEVICE.type == "cuda" else [FUSED, PLAIN][not LAUNCHES :]
COMPILED = (
    [None, True] if LAUNCHES else [None]
)  # Inductor takes seconds for a reference, and milliseconds for an operator
BACKENDS = ["aot_eager", "inductor"] if LAUNCHES else ["aot_eager"]
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
    pytest.mark.filterwarnings("ignore:.*"),  # of torch's compilers about themselves
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def executing(variant: Variant) -> contextlib.AbstractContextManager[Any]:
    """Kernels are launched; on a GPU compiled code launches copies of them, which nothing counts."""
    return launching(variant.of) if DEVICE.type == "cpu" else contextlib.nullcontext()


# torch.compile


@each(FEW)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_one_graph_for_all_batches(variant: Variant, backend: str) -> None:
    """Forward and backward, no graph break; one compilation serves every batch size from 2 up, in memory or not."""
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(variant, fullgraph=True, backend=counter)
    for size in (2, 3, 64):
        inputs = variant.inputs(size)
        for x, axes in zip(inputs, variant.batched()):
            for axis in axes:
                torch._dynamo.mark_dynamic(x, axis)
        with executing(variant):
            found = gradients(compiled, inputs)
        close(found, gradients(variant.reference, inputs))
    assert counter.frame_count == 1


def test_a_second_size_makes_it_dynamic() -> None:
    """Where nothing is marked, torch compiles for the first size, then once for all others."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(FUSED, fullgraph=True, backend=counter)
    for size in (2, 3, 7, 64):
        close(compiled(*FUSED.values(size)), FUSED.reference(*FUSED.values(size)))
    assert counter.frame_count == 2


@pytest.mark.skipif(torch.__version__ < "2.13", reason="this torch says that it exports whenever it compiles")
@each([FUSED])
def test_compiled_calls_the_operator(variant: Variant) -> None:
    """Where kernels run, the graph that a backend gets holds the operator; else plain torch operations."""
    targets: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        targets.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(variant, fullgraph=True, backend=backend)(*variant.values())
    assert any(runtime(variant.of, "registration").namespace() in target for target in targets) == runtime(
        variant.of, "device"
    ).runs_on_triton(DEVICE)


# numbers that are read at run time


NUMBERS: dict[str, Callable[[Tensor, float], float]] = {
    "given": lambda x, s: s,
    "derived": lambda x, s: 2 * s,
    "rounded": lambda x, s: round(3 * s, 1),
    "integer": lambda x, s: int(10 * s),
    "truth": lambda x, s: s > 0.25,
    "size": lambda x, s: x.shape[1],
    "of a size": lambda x, s: 1 / x.shape[1],
    "of a float and a size": lambda x, s: s / x.shape[1],
    "item": lambda x, s: x.detach()[0, 0, 0].abs().item(),
}


def with_number(function: Callable[..., Tensor], number: Callable[[Tensor, float], float]) -> Callable[..., Tensor]:
    """The function of a float that the tensors see, too, so that this stays an input of what is compiled."""
    return lambda s, x, y, weight: function(s * x, y, weight, eps=number(x, s))


@pytest.mark.parametrize("dynamic", [None, *(pytest.param(d, marks=pytest.mark.slow) for d in COMPILED[1:])])
@pytest.mark.parametrize("number", NUMBERS if LAUNCHES else ["derived"])
def test_numbers_are_never_stale(number: str, dynamic: bool | None) -> None:
    """Whatever a number is computed from, compiled code has its value at each call, forward and backward."""
    functions = FUSED.of.fused_gelu_sgp_norm, FUSED.of.fused_gelu_sgp_norm_reference
    found, expected = (with_number(f, NUMBERS[number]) for f in functions)
    compiled = torch.compile(found, backend="inductor", dynamic=dynamic)
    for i, s in enumerate((0.1, 0.2, 0.3, 0.4)):
        inputs = FUSED.inputs(2 + i)
        with executing(FUSED) if number != "item" else contextlib.nullcontext():
            close(gradients(functools.partial(compiled, s), inputs), gradients(functools.partial(expected, s), inputs))


def test_numbers_beyond_the_limit_of_compilations() -> None:
    """Where torch stops compiling for new values, it runs the function as it is."""
    functions = FUSED.of.fused_gelu_sgp_norm, FUSED.of.fused_gelu_sgp_norm_reference
    found, expected = (with_number(f, NUMBERS["derived"]) for f in functions)
    compiled = torch.compile(found, backend="inductor")
    with torch._dynamo.config.patch(recompile_limit=2):
        for s in (0.1, 0.2, 0.3, 0.4, 0.5):
            close(compiled(s, *FUSED.values()), expected(s, *FUSED.values()))


class WithNumber(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eps = 0.1

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = FUSED.of.fused_gelu_sgp_norm(self.eps * x, y, weight, eps=2 * self.eps)
        return result


@pytest.mark.parametrize("dynamic", COMPILED)
def test_numbers_of_a_module(dynamic: bool | None) -> None:
    """A module's attribute may change between calls."""
    layer = WithNumber()
    compiled = torch.compile(layer, backend="inductor", dynamic=dynamic)
    for layer.eps in (0.1, 0.2, 0.3, 0.4):
        x, y, weight = FUSED.values()
        expected = FUSED.of.fused_gelu_sgp_norm_reference(layer.eps * x, y, weight, eps=2 * layer.eps)
        close(compiled(x, y, weight), expected)


# sizes that are known only when compiled code runs


@each(FEW)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_unbacked_rows(variant: Variant, backend: str) -> None:
    """Nothing is decided on them, forward and backward: one compilation serves any number of rows, one among them."""
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(variant, fullgraph=True, backend=counter)
    for size in (2, 1, 5, 64):
        inputs = variant.inputs(size)
        for x, axes in zip(inputs, variant.batched()):
            for axis in axes:
                torch._dynamo.decorators.mark_unbacked(x, axis)
        close(gradients(compiled, inputs), gradients(variant.reference, inputs))
    assert counter.frame_count == 1


def first_rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of as many rows as a tensor says."""

    check: Any = torch._check

    def some(x: Tensor, y: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        rows: Any = count.item()
        check(rows >= 0)
        check(rows <= x.shape[1])
        return function(x[:, :rows], y[:, :rows], weight)

    return some


def parted(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of parts of the rows, as long as a tensor says."""

    def parts(x: Tensor, y: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        lengths = counts.tolist()
        pairs = zip(torch.split(x, lengths, 1), torch.split(y, lengths, 1))
        return torch.cat([function(a, b, weight) for a, b in pairs], 1)

    return parts


def saying(function: Callable[..., Tensor], rows: int | list[int]) -> Callable[..., Tensor]:
    return lambda *inputs: function(*inputs, torch.tensor(rows))


@each([FUSED, PLAIN])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("of", "rows"), [(first_rows, [3, 0, 7]), (parted, [[3, 5], [8, 0], [1, 7]])])
def test_rows_that_tensors_say(variant: Variant, backend: str, of: Any, rows: list[Any]) -> None:
    """Slices and parts that depend on data, empty ones among them, forward and backward."""
    inputs = variant.inputs(8)
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(of(variant), fullgraph=True, backend=backend)
        for row in rows:
            close(gradients(saying(compiled, row), inputs), gradients(saying(of(variant.reference), row), inputs))


@each([FUSED])
def test_unbacked_rows_that_do_not_fit(variant: Variant) -> None:
    """What could not be compared when it was compiled is compared when it runs."""

    def function(x: Tensor, y: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        some, others = counts.tolist()
        return variant(x.expand(-1, some, -1), y.expand(-1, others, -1), weight)

    x, y, weight = variant.values(1)
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        with_three = compiled(x, y, weight, torch.tensor([3, 3]))
        close(with_three, variant.reference(x.expand(-1, 3, -1), y.expand(-1, 3, -1), weight))
        with pytest.raises((ValueError, RuntimeError, AssertionError)):
            compiled(x, y, weight, torch.tensor([3, 4]))


class FirstRows(torch.nn.Module):
    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.some = first_rows(variant)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        return self.some(x, y, weight, count)


@each([FUSED, PLAIN])
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_export_of_rows_that_a_tensor_says(variant: Variant, strict: bool) -> None:
    example = (*variant.values(8), torch.tensor(3))
    program = torch.export.export(FirstRows(variant), example, strict=strict)
    for rows in (3, 1, 0, 8):
        inputs = variant.inputs(8)
        with launching(variant.of):
            found = gradients(saying(program.module(), rows), inputs)
        close(found, gradients(saying(first_rows(variant.reference), rows), inputs))


# export


class Layer(torch.nn.Module):
    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.variant(*inputs)


def exported(variant: Variant, strict: bool) -> torch.export.ExportedProgram:
    """The variant with any number of rows from 2 up."""
    dims = {axis: torch.export.Dim(axis.replace("...", "leading"), min=2) for axis in ROWS}
    shapes = tuple({i: dims[axis] for i, axis in axes.items()} for axes in variant.batched())
    return torch.export.export(Layer(variant), variant.values(3), dynamic_shapes=(shapes,), strict=strict)


@each(CHOSEN)
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_export_round_trip(variant: Variant, strict: bool, tmp_path: Path) -> None:
    torch.export.save(exported(variant, strict), tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2")
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called[0].startswith(
        runtime(variant.of, "registration").namespace()
    ), "the program does not hold the operator"
    inputs = variant.inputs(9)
    with launching(variant.of):
        found = gradients(program.module(), inputs)
    close(found, gradients(variant.reference, inputs))


LOADING = """
import sys, torch

if sys.argv[1] == "True":
    from generated import vga2d
loaded = torch._inductor.aoti_load_package("layer.pt2")
for inputs, expected in torch.load("rows.pt"):
    torch.testing.assert_close(loaded(*inputs), expected, rtol=1e-10, atol=1e-10)
"""


# On a machine with GPUs torch 2.11's loader crashes whatever the device, in a process that sees none of them, too.
@pytest.mark.skipif(torch.__version__ < "2.12", reason="the loader of torch before 2.12 can crash the process")
@pytest.mark.skipif(not LAUNCHES, reason="a package holds the operator, which is packed where kernels run")
@pytest.mark.slow
@each([FUSED])
def test_package(variant: Variant, tmp_path: Path) -> None:
    """AOTInductor's package works in a process of its own, which needs the module only to interpret its kernels."""
    torch._inductor.aoti_compile_and_package(exported(variant, False), package_path=str(tmp_path / "layer.pt2"))
    rows = [variant.values(size) for size in (2, 9)]
    torch.save([(inputs, variant.reference(*inputs)) for inputs in rows], tmp_path / "rows.pt")
    command, settings = [sys.executable, "-c", LOADING, str(INTERPRETED)], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# a loss of forces: the gradient of an energy with respect to positions, inside a loss


def forces_loss(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """How far forces and energy are from their targets, in a model of two layers that share a weight."""

    def loss(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        hidden = function(x, y, weight)
        value = function(hidden, x, weight).square().sum()
        (force,) = torch.autograd.grad(value, x, create_graph=True)
        return (force - torch.sin(y)).square().sum() + value.square()

    return loss


def step(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A step of training: the weight's gradient of that loss."""

    def gradient(*inputs: Tensor) -> Tensor:
        return torch.autograd.grad(forces_loss(function)(*inputs), inputs[2])[0]

    return gradient


def train(function: Callable[..., Tensor], inputs: Tensors) -> list[Tensor]:
    """The loss after some steps of descent, each a double backward, and the weight."""
    optimiser = torch.optim.SGD([inputs[2]], lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        loss = forces_loss(function)(*inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return [loss, inputs[2]]


@each([FUSED, PLAIN])
def test_training_on_forces(variant: Variant) -> None:
    with launching(variant.of):
        found = train(variant, variant.inputs())
    close(found, train(variant.reference, variant.inputs()), 1e-6)
    assert not torch.equal(found[1], variant.inputs()[2])


@each([FUSED])
def test_traced_step(variant: Variant) -> None:
    """A whole step, traced with its two backwards by make_fx, is a graph that compiles, for any number of rows."""
    graph = make_fx(step(variant), tracing_mode="symbolic")(*variant.inputs())
    called = {str(node.target).partition(".")[2] for node in graph.graph.nodes if node.op == "call_function"}
    assert "fused_gelu_sgp_norm_with_normalize_double_backward.default" in called
    compiled = torch.compile(graph, fullgraph=True, backend="inductor" if LAUNCHES else "aot_eager")
    for size in (2, 5):
        with executing(variant):
            found = compiled(*variant.values(size))
        close(found, step(variant.reference)(*variant.inputs(size)))


@each([FUSED])
@pytest.mark.skipif(not hasattr(torch._dynamo.config, "trace_autograd_ops"), reason="this torch cannot trace autograd")
def test_compiled_step(variant: Variant) -> None:
    """Where Dynamo may trace autograd, it compiles a step as it is written."""
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        compiled = torch.compile(step(variant), fullgraph=True, backend="aot_eager")
        with executing(variant):
            found = compiled(*variant.inputs())
    close(found, step(variant.reference)(*variant.inputs()))


def double_backward_through_compiled(variant: Variant) -> tuple[Tensor, Tensor]:
    return step(torch.compile(variant, backend="aot_eager"))(*variant.inputs()), step(variant.reference)(
        *variant.inputs()
    )


def compiled_transform(variant: Variant) -> tuple[Tensor, Tensor]:
    of_kernels, of_reference = (torch.func.grad(energy(f)) for f in (variant, variant.reference))
    compiled = torch.compile(of_kernels, fullgraph=True, backend="aot_eager")
    return compiled(*variant.values()), of_reference(*variant.values())


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (double_backward_through_compiled, "does not currently support double backward|in-place operation"),
        (compiled_transform, "must override the setup_context|Dynamo"),
    ],
)
def test_refused_or_right(attempt: Callable[[Variant], tuple[Tensor, Tensor]], message: str) -> None:
    """What torch does not do yet it refuses, with a message of its own; nothing gives wrong numbers."""
    refused = ""
    try:
        found, expected = attempt(FUSED)
    except RuntimeError as error:
        refused = str(error)
    if refused:
        assert re.search(message, refused), refused
    else:
        close(found, expected)
