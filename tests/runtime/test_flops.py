"""torch's flop counter over the operators, against the floating-point operations that Triton's interpreter executes.

Sizes fill the tiles, so that no padding is executed. What the interpreter executes beyond the fields of the kernels is
left out: signs, what is computed once a program, and the addition of the programs' partial sums.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from modules import DEVICE, Case, draw, module, shipped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kgen.emit.kernel.printer import FUNCTIONS
from kgen.spec.private_names import variant_name
from kgen.tools.problem import kernel_files, runtime

SIZES = {"b": 16, "n": 64, "m": 64}
ELEMENTWISE = (
    "fadd",
    "fsub",
    "fmul",
    "fdiv",
    "exp",
    "exp2",
    "log",
    "sqrt",
    "rsqrt",
    "erf",
    "sin",
    "cos",
    "fabs",
    "fma",
)
ORDERS = ("", "_backward", "_double_backward")
pytestmark = pytest.mark.skipif(DEVICE.type != "cpu", reason="counts in the interpreter")


def operations(name: str, arguments: tuple[Any, ...], result: np.ndarray[Any, Any]) -> int:
    """How many operations a call of the interpreter stands for; a quotient is a reciprocal and a product."""
    first = arguments[0].data
    sign, quotient = name == "fsub" and not np.any(first), name == "fdiv" and np.any(first != 1)
    floating = np.issubdtype(result.dtype, np.floating)
    return 0 if sign or result.size == 1 or not floating else result.size * (2 if quotient else 1)


@contextmanager
def executed(of: ModuleType) -> Iterator[Counter[str]]:
    """The operations that are executed in the context."""
    from triton.runtime import interpreter

    counts: Counter[str] = Counter()
    builder, reduction = interpreter.InterpreterBuilder, interpreter.ReduceOps

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any) -> Any:
            result = function(self, *arguments)
            same = (name, *(a.data.tobytes() for a in arguments if hasattr(a, "data")))
            if not inside and same not in seen:  # a short product is written wherever it is read
                counts[name] += operations(name, arguments, result.data)
                seen.add(same)
            return result

        return call

    def as_one(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of fields is one operation, however it is computed."""

        def call(*arguments: Any) -> Any:
            inside.append(name)
            result = function(*arguments)
            inside.pop()
            counts[name] += 0 if inside else result.handle.data.size
            return result

        return call

    def total(self: Any, argument: Any) -> Any:
        counts["sum"] += argument.handle.data.size
        return add(self, argument)

    def product(a: Tensor, b: Tensor, *rest: Any, **options: Any) -> Any:
        counts["matmul"] += 2 * a.numel() * b.shape[-1]
        assert known
        result: Tensor = known(a, b, *rest, **options)
        return result

    def dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        counts["dot"] += 2 * a.data.size * b.data.shape[-1]
        return multiply(self, a, b, *rest)

    def added(partial: Tensor, result: Tensor | None) -> Tensor | None:
        return None if result is None else result.copy_(partial.sum(0).view(result.shape))

    inside: list[str] = []
    seen: set[tuple[object, ...]] = set()  # by a program
    begin = builder.set_grid_idx

    def program(self: Any, *index: Any) -> None:
        seen.clear()
        begin(self, *index)

    add, multiply, known = reduction.sum, builder.create_dot, runtime(of, "matmul").product
    with pytest.MonkeyPatch.context() as patch:
        for name in ELEMENTWISE:
            patch.setattr(builder, f"create_{name}", counted(name, getattr(builder, f"create_{name}")))
        for file in kernel_files(of):
            for name in {name for name in FUNCTIONS.values() if hasattr(file, name)}:
                patch.setattr(file, name, as_one(name, getattr(file, name)))
        patch.setattr(builder, "create_dot", dot)
        patch.setattr(builder, "set_grid_idx", program)
        patch.setattr(runtime(of, "matmul"), "shape", lambda *_: (16, 16, 16, {"num_warps": 1}))
        patch.setattr(reduction, "sum", total)
        patch.setattr(runtime(of, "matmul"), "product", product)
        patch.setattr(runtime(of, "launch"), "total", added)
        patch.setattr(runtime(of, "launch"), "totals", lambda *results: [added(*each) for each in results])
        yield counts


def steps(function: Callable[..., Tensor], leaves: list[Tensor], options: dict[str, bool]) -> Iterator[None]:
    """The function, its gradients, and their gradients: yields after each."""
    out = function(*leaves, **options)
    yield
    inputs = [*leaves, torch.randn_like(out).requires_grad_()]
    grads = torch.autograd.grad(out, leaves, inputs[-1], create_graph=True)
    yield
    torch.autograd.grad(grads, inputs, [torch.randn_like(grad) for grad in grads])
    yield


def variant(case: Case) -> str:
    """The name of the case's operator."""
    return variant_name(case.kernel, dict(case.flags))


def prepared(case: Case) -> tuple[ModuleType, Callable[..., Tensor], list[Tensor]]:
    of = module(case.module)
    leaves = [x.requires_grad_() for x in draw(of, case.kernel, SIZES).values()]
    return of, getattr(of, case.kernel), leaves


def cases() -> list[Case]:
    """Those of all orders that take seconds: gated products of 8 blades, weighted ones of 16 take a minute."""
    small = [c for c in shipped("vga2d") if "layer" not in c.kernel]
    small += [c for c in shipped("vga3d") if "layer" not in c.kernel and "gelu" not in c.kernel]
    return [*small, *(c for c in shipped("pga3d") if "gelu" not in c.kernel and "sgp" not in c.kernel)]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_counts_are_those_of_the_interpreter(case: Case) -> None:
    """Within what printing and looping make of the fields: a scaled product that is written in a product is multiplied
    by one number, joined sums are padded, a loop over a long row sums twice, what is constant along a row may be
    multiplied once a row.
    """
    of, function, leaves = prepared(case)
    expected = []
    with executed(of) as counts:
        for _ in steps(function, leaves, dict(case.flags)):
            expected.append(counts.total())
            counts.clear()
    with FlopCounterMode(display=False) as counter:
        list(steps(function, leaves, dict(case.flags)))
    counted = {str(op).rpartition(".")[2]: count for op, count in counter.get_flop_counts()["Global"].items()}
    assert set(counted) == {variant(case) + suffix for suffix in ORDERS}
    found = [counted[variant(case) + suffix] for suffix in ORDERS]
    assert found == pytest.approx(expected, rel=0.05)


def test_counts_follow_the_sizes() -> None:
    of = module("vga2d")
    found = []
    for b, n in ((4, 3), (8, 3), (4, 6), (0, 3)):
        x, y = torch.randn(2, 4, b, n, device=DEVICE)
        with FlopCounterMode(display=False) as counter:
            of.geometric_product(x, y)
        found.append(counter.get_total_flops())
    assert found == [28 * 12, 28 * 24, 28 * 24, 0]  # 16 products and 12 additions at each point


def test_leading_axes_count_together() -> None:
    of = module("pga3d")
    x, y = torch.randn(2, 2, 3, 5, 16, device=DEVICE)
    with FlopCounterMode(display=False) as counter:
        of.geometric_product(x, y)
        of.geometric_product(x[0], y[0])
    whole = counter.get_total_flops()
    assert whole % 45 == 0
    assert whole / 45 == 192 + 176  # of the 256 products of blades, 64 vanish


def test_a_loss_on_forces_counts() -> None:
    """Whichever cotangents are missing, each order counts once: the first value, its gradient, and that of it."""
    of = module("vga2d")
    leaves = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in ((4, 3, 5), (4, 3, 5), (5, 10))]

    def counted(missing: bool) -> int:
        with FlopCounterMode(display=False) as counter:
            grads = torch.autograd.grad(of.sgp(*leaves).square().sum(), leaves, create_graph=True)
            used = grads[:1] if missing else grads
            torch.autograd.grad(torch.stack([x.square().sum() for x in used]).sum(), leaves)
        return int(counter.get_total_flops())

    with FlopCounterMode(display=False) as counter:
        of.sgp(*leaves).sum().backward()
    first = counter.get_total_flops()
    assert counted(True) == counted(False) > 2 * first
