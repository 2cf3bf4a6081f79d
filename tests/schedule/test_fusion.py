"""Matrix products whose factors a kernel computes on the way: which these are, and that they are right at all sizes."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from handmade import one
from modules import DEVICE, compiled, shape
from torch import Tensor

from kgen.emit.kernel.printer import LOCALS
from kgen.schedule.buffers import plan
from kgen.schedule.products import Product
from kgen.schedule.program import Kernel, Step
from kgen.schedule.schedule import schedule
from kgen.tools.problem import launch_table, runtime
from kgen.trace.trace import trace

INPUTS = {"x": ["v", "k"], "y": ["v", "c"], "z": ["v", "k"], "w": ["v"], "s": ["k", "d"], "u": ["d"]}
LIBRARY: dict[str, str] = {
    "dot(x, y, over=v)": "nothing to fuse",
    "dot(exp(x), y, over=v)": "functions are computed once",
    "dot(x * z, y, over=v)": "made of 2",
    "dot(x + 1, y + 1, over=v)": "neither factor is zero",
    "dot(x * w, y * w, over=v)": "both factors read one field",
    "dot(x, s * u, over=k)": "which are small",
}
OURS = {
    "dot(x * w, y, over=v)": "partial",  # the contracted axis is outer: programs share it
    "dot(w * x + 3, y, over=v)": "partial",
    "dot(x * w, s, over=k)": "whole",
    "dot(x * w, s * u, over=k)": "whole",
    "dot(x * w, exp(s), over=k)": "whole",  # exp(s) is stored first
}


def steps(body: str) -> tuple[Step, ...]:
    used = {name: axes for name, axes in INPUTS.items() if name in body.replace("exp", "").replace("over=", "")}
    spec = one((2, 0, 0), used, f"return {body}", {})
    return schedule(trace(spec, spec.kernels[0], {}), [])[0].steps


@pytest.mark.parametrize(("body", "why"), LIBRARY.items())
def test_factors_are_stored(body: str, why: str) -> None:
    """By kernels that say what they are for, and the product says why."""
    *kernels, product = steps(body)
    assert isinstance(product, Product) and why in " ".join(product.notes)
    assert all(isinstance(k, Kernel) and k.kind == "map" for k in kernels)


@pytest.mark.parametrize(("body", "sums"), OURS.items())
def test_factors_are_computed(body: str, sums: str) -> None:
    *stored, kernel = steps(body)
    assert isinstance(kernel, Kernel) and kernel.kind == "contract"
    assert (len(kernel.folds), len(kernel.stores)) == ((1, 0) if sums == "partial" else (0, 1))
    assert len(stored) == ("exp" in body) and "of its factors from" in kernel.notes[0]


@pytest.mark.parametrize(
    ("body", "added"),
    [
        ("exp(w) * u + dot(x, s, over=k)", True),
        ("u - exp(w) + dot(exp(x), s, over=k)", True),
        ("u - dot(exp(x), s, over=k)", False),  # 1 times the product, no less
        ("exp(w) + 2 * dot(x, s, over=k)", False),
        ("exp(dot(x, s, over=k)) + dot(x, s, over=k)", False),  # which reads the product
        ("exp(w) * (u + dot(x, s, over=k))", False),
        ("u + dot(x, s, over=k) + dot(exp(x), s, over=k)", False),  # two products
    ],
)
def test_products_are_added(body: str, added: bool) -> None:
    """To results that are one product and something else, which is there before."""
    found = steps(body)
    products = [s for s in found if isinstance(s, Product)]
    assert [p.added for p in products if p.result.name == "out"] == [True] * added
    assert not added or any(t.name == "out" for step in found[:-1] for t in step.written)


def test_results_ride() -> None:
    """What is computed of the sums alone is stored with them, and the sums are not stored where nobody reads them."""
    (kernel,) = steps("tanh(dot(x * w, s, over=k)) * u")
    assert isinstance(kernel, Kernel) and [o.tensor.name for o in kernel.stores] == ["out"]
    several = steps("sum(tanh(dot(x * w, s, over=k)) * u, over=d)")  # a reduction does not ride
    assert [isinstance(k, Kernel) and k.kind for k in several] == ["contract", "row"]


def test_rows_are_scaled_after() -> None:
    """What does not vary along the contracted axis scales the sums; the factor is multiplied as it lies."""
    (kernel,) = steps("dot(x * w, s, over=k)")
    assert isinstance(kernel, Kernel) and kernel.contraction
    assert [n.kind for n in kernel.contraction.factors] == ["Input", "Input"]
    (field,) = kernel.stores[0].fields
    assert field.kind == "Mul" and {n.kind for n in field.args} == {"Input", "Dot"}


def test_what_the_library_reads_is_there() -> None:
    """A factor that another product has stored is kept for the steps that the library's product is one of."""
    used = {name: ["v", "k"] for name in ("x", "y")} | {"w": ["v"], "s": ["k", "c"], "t": ["k", "c"]}
    spec = one((2, 0, 0), used, "return dot(w * w * x, s, over=k) + dot(w * y, t, over=k)", {})
    found = 0
    for program in schedule(trace(spec, spec.kernels[0], {}), list(used)):
        lives = {life.tensor.name: life for life in plan(program).lifetimes}
        for i, kernel in enumerate(program.steps):
            others = kernel.otherwise if isinstance(kernel, Kernel) else ()
            for name in {t.memory for step in others for t in step.inputs} & lives.keys():
                maker = program.steps[lives[name].first]
                assert lives[name].last >= i and program.reached(kernel) <= program.reached(maker)
                found += isinstance(kernel, Kernel) and name not in {t.memory for t in kernel.inputs}
    assert found, "nothing that a contract kernel computes has been stored for another product"


# values


SPEC = """\
kgen: 1
name: fused
kernels:
  projected:
    inputs: {x: [v, c], basis: [v, k], mass: [v]}
    body: return dot(basis * mass, x, over=v)
  affine:
    inputs: {x: [v, k], s: [k, c], w: [v], shift: [v]}
    body: return tanh(dot(w * x + shift, s, over=k)) * w, dot(w * x, s, over=k)
  batched:
    inputs: {x: [..., v, c], basis: [..., v, k], mass: [..., v], s: [k, c]}
    body: |
      inside = dot(basis * mass, x, over=v)
      return dot(basis * mass, s * inside, over=k)
"""
EXTENTS = [(1, 1, 1), (3, 5, 2), (0, 4, 3), (4, 0, 3), (70, 33, 19), (150, 3, 70)]
KERNELS = ("projected", "affine", "batched")


@pytest.fixture(scope="module")
def of(compiled_folder: Path) -> ModuleType:
    return compiled(SPEC, compiled_folder)


def drawn(of: ModuleType, kernel: str, extents: tuple[int, int, int], dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    sizes = dict(zip("vkc", extents)) | {"b": 2}
    found = []
    for dims in of.KERNELS[kernel]["inputs"].values():
        x = torch.randn(shape(dims, sizes), generator=random, dtype=torch.float64)
        found.append(x.to(DEVICE, dtype).requires_grad_())
    return found


def along(values: Tensor | tuple[Tensor, ...], inputs: list[Tensor]) -> list[Tensor]:
    """Results and gradients."""
    results = values if isinstance(values, tuple) else (values,)
    return [*results, *torch.autograd.grad(results, inputs, [torch.ones_like(r) for r in results])]


@pytest.mark.parametrize("cores", [True, False])
@pytest.mark.parametrize(
    ("kernel", "extents", "dtype"),
    [
        *itertools.product(KERNELS, EXTENTS, [torch.float64]),
        *itertools.product(KERNELS, [(70, 33, 19)], [torch.float32, torch.bfloat16, torch.float16]),
    ],
    ids=str,
)
def test_values(
    of: ModuleType,
    kernel: str,
    extents: tuple[int, int, int],
    dtype: torch.dtype,
    cores: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Results and all gradients are those of the reference in fp64, of tiles that are not full and of none, with and
    without tensor cores.
    """
    if DEVICE.type == "cpu":
        monkeypatch.setattr(runtime(of, "device"), "on_tensor_cores", lambda *_: cores)
    elif cores != runtime(of, "device").on_tensor_cores(dtype, DEVICE):
        pytest.skip("the device decides")
    inputs = drawn(of, kernel, extents, dtype)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    found = along(getattr(of, kernel)(*inputs), inputs)
    expected = along(getattr(of, f"{kernel}_reference")(*exact), exact)
    tolerance = 64 * torch.finfo(torch.bfloat16 if dtype == torch.bfloat16 else dtype).eps
    for x, y in zip(found, expected, strict=True):
        assert x.shape == y.shape and x.dtype == dtype
        assert float((x.double() - y).detach().norm()) <= tolerance * (1 + float(y.detach().norm()))


def test_nothing_comes_from_beyond(of: ModuleType) -> None:
    """Infinities that stand in memory after a row, and after the tensor, are not multiplied with its zeros."""
    x, s, w, shift = (t.detach() for t in drawn(of, "affine", (5, 3, 4), torch.float64))
    wide = torch.full((6, 3), torch.inf, dtype=torch.float64, device=DEVICE)
    wide[:5] = x
    for found, expected in zip(of.affine(wide[:5], s, w, shift), of.affine(x, s, w, shift)):
        assert torch.equal(found, expected) and found.isfinite().all()


def test_products_are_added_to_sums_in_fp16(of: ModuleType) -> None:
    """A second derivative is partly a fold and partly a product, which is in fp32 until then."""
    inputs = drawn(of, "affine", (9, 5, 3), torch.float16)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    for x, y in zip(second(of.affine, inputs), second(of.affine_reference, exact), strict=True):
        assert x.dtype == torch.float16 and float((x.double() - y).norm()) <= 2**-9 * float(y.norm())


def second(function: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of the gradients' squares."""
    results = function(*inputs)
    cotangents = [torch.ones_like(r).requires_grad_() for r in results]
    grads = torch.autograd.grad(results, inputs, cotangents, create_graph=True)
    return torch.autograd.grad([g.double().square().sum() for g in grads], inputs)


ALONE = """\
kgen: 1
name: alone
kernels:
  moments:
    inputs: {x: [v, c], basis: [v, k], mass: [v]}
    grads: []
    body: return dot(basis * mass, x, over=v)
"""


def test_partial_sums_without_folds(compiled_folder: Path) -> None:
    """The only partial sums are those of a product."""
    module = compiled(ALONE, compiled_folder)
    inputs = [x.detach() for x in drawn(module, "moments", (70, 5, 3), torch.float64)]
    torch.testing.assert_close(module.moments(*inputs), module.moments_reference(*inputs))


BESIDE = """\
  {made}:
    inputs: {{x: [v]}}
    body: return sin(x)
"""


@pytest.mark.parametrize("made", ["moments_library_factors", "moments_factors_2", "turn", "matmul", "matmul_tf32"])
def test_names_of_steps(made: str, compiled_folder: Path) -> None:
    """A kernel may have the name of another's step, or what is left of the name of what all modules share."""
    text = ALONE.replace("return dot(basis * mass, x, over=v)", "return tanh(dot(basis * mass, x, over=v))")
    module = compiled(text + BESIDE.format(made=made), compiled_folder)
    for name in ("moments", made):
        inputs = [x.detach() for x in drawn(module, name, (70, 5, 3), torch.float64)]
        torch.testing.assert_close(getattr(module, name)(*inputs), getattr(module, f"{name}_reference")(*inputs))


@pytest.mark.parametrize("axes", list(zip(*[iter(sorted(LOCALS))] * 3)), ids="-".join)
def test_axes_have_names_of_variables(axes: tuple[str, str, str], compiled_folder: Path) -> None:
    """Kernels call the offset along an axis as the axis is called, if that is free."""
    v, c, k = axes
    text = ALONE.replace("[v, c]", f"[{v}, {c}]").replace("[v, k]", f"[{v}, {k}]").replace("[v]", f"[{v}]")
    module = compiled(text.replace("over=v", f"over={v}"), compiled_folder)
    inputs = [torch.rand(shape, dtype=torch.float64, device=DEVICE) for shape in ((70, 5), (70, 3), (70,))]
    torch.testing.assert_close(module.moments(*inputs), module.moments_reference(*inputs))


def test_on_tensor_cores(of: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16, and fp32 where torch may round it, as torch is told."""
    monkeypatch.setattr(runtime(of, "device"), "INTERPRETED", False)
    before = torch.get_float32_matmul_precision()
    try:
        for setting, allowed in (("highest", False), ("high", True)):
            torch.set_float32_matmul_precision(setting)
            found = [
                runtime(of, "device").on_tensor_cores(dtype, torch.device("cpu"))
                for dtype in (torch.bfloat16, torch.float32, torch.float64)
            ]
            assert found == [True, allowed, False]
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("columns", [1, 16, 17, 64, 65, 1024])
def test_tiles_fit_shared_memory(of: ModuleType, columns: int) -> None:
    """Three pairs of tiles, loaded ahead, of narrow results, too: an A100 has 163 KiB for a program."""
    for name, launch in launch_table(of).items():
        if launch.depth:
            for dtype in (torch.bfloat16, torch.float32):
                rows, block, depth, _ = runtime(of, "matmul").shape(launch, columns, dtype)
                assert 3 * (rows + block) * depth * dtype.itemsize <= 163 * 1024, name


def test_twice_the_same(of: ModuleType) -> None:
    """Shares of the contracted axis are added in one order."""
    inputs = [x.detach() for x in drawn(of, "projected", (3000, 7, 5), torch.float32)]
    first, second = of.projected(*inputs), of.projected(*inputs)
    assert torch.equal(first, second)
