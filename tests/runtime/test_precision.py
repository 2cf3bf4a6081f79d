"""Kernels whose spec fixes how their matrix products multiply fp32: in one pass of tf32, in three, or in full.

Kernels run on a GPU, where each precision has its error, or in Triton's interpreter, which multiplies fp32 in full;
what a compiled kernel multiplies with stands in its PTX.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import prepared
import pytest
import torch
from modules import DEVICE, ROOT, compiled, shape
from modules import text_of as package_text
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from kgen.emit.package import emit
from kgen.errors import KgenError
from kgen.schedule.products import Product
from kgen.schedule.schedule import schedule
from kgen.spec.load import load
from kgen.spec.model import PRECISIONS
from kgen.tools.comparison import launches
from kgen.tools.problem import runtime
from kgen.tools.show import render
from kgen.trace.trace import trace

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*"),  # of torch's compilers, and of lanes that a mask discards
]

GEOMETRIC = """\
kgen: 1
name: geometric
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
"""
PLAIN, BATCHED = (f"kgen: 1\nname: {name}\nkernels:\n" for name in ("plain", "batched"))
BODIES = {
    "product": """\
    inputs: {x: multivector, y: multivector, w: "weights(x, y)[n, m]"}
    body: return fcgp(x, y, w)
""",
    "linear": """\
    inputs: {x: multivector, w: "weights(x)[n, m]", bias: "multivector[m]"}
    body: return mv_linear(x, w, bias)
""",
    "diffused": """\
    inputs: {x: [v, c], basis: [v, k], mass: [v], s: [k, c]}
    body: |
      inside = dot(basis * mass, x, over=v)
      return dot(basis, s * inside, over=k), inside
""",
    "meshes": """\
    inputs: {x: [..., v, c], basis: [..., v, k], mass: [..., v], s: [k, c]}
    body: |
      inside = dot(basis * mass, x, over=v)
      return dot(basis * mass, s * inside, over=k)
""",
}
ERROR = {"tf32": 2.0**-6, "tf32x3": 1e-5, "ieee": 1e-5}  # relative, of gradients of gradients, too
KERNELS = {"product": "geometric", "linear": "geometric", "diffused": "plain", "meshes": "batched"}
SIZES = [(1, 1, 1), (5, 3, 7), (37, 18, 5), (5, 0, 3), (0, 4, 3), (4, 3, 0)]


def text(head: str, *kernels: str) -> str:
    """A spec with kernels in each precision and, without a suffix, as torch's setting says."""
    found = [head]
    for kernel in kernels:
        found.append(f"  {kernel}:\n{BODIES[kernel]}")
        found += [f"  {kernel}_{p}:\n    precision: {p}\n{BODIES[kernel]}" for p in PRECISIONS]
    return "".join(found)


@pytest.fixture(scope="module")
def made(compiled_folder: Path) -> dict[str, ModuleType]:
    specs = text(GEOMETRIC, "product", "linear"), text(PLAIN, "diffused"), text(BATCHED, "meshes")
    return {load("specs/unshipped.yaml", spec).name: compiled(spec, compiled_folder) for spec in specs}


def drawn(of: ModuleType, kernel: str, sizes: tuple[int, int, int], dtype: torch.dtype) -> list[Tensor]:
    """Leaves: so many rows or vertices, features in or eigenvectors, features out or channels."""
    random, extents = torch.Generator().manual_seed(0), dict(zip("bnm", sizes)) | dict(zip("vkc", sizes))
    dims = of.KERNELS[kernel]["inputs"].values()
    found = [torch.randn(shape(d, extents, (2,)), generator=random, dtype=torch.float64) for d in dims]
    return [x.to(DEVICE, dtype).requires_grad_() for x in found]


def orders(function: Callable[..., Any], inputs: list[Tensor]) -> list[Tensor]:
    """Results, gradients, and the gradients of these."""
    value = function(*inputs)
    results = value if isinstance(value, tuple) else (value,)
    seeds = [torch.linspace(-1, 1, r.numel(), dtype=torch.float64, device=DEVICE).view(r.shape).to(r) for r in results]
    first = torch.autograd.grad(results, inputs, seeds, create_graph=True)
    curved = [x.square().sum() for x in first if x.requires_grad]
    return [*results, *first, *torch.autograd.grad(curved, inputs, materialize_grads=True)]


def off(found: Tensor, exact: Tensor) -> float:
    difference, norm = (found.double() - exact).detach().norm(), exact.detach().norm()
    return float(difference / norm) if norm else float(difference)


@pytest.fixture
def by_kernels(made: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels multiply fp32 though torch's setting is the same precision, as they do in the interpreter."""
    for of in made.values():
        monkeypatch.setattr(runtime(of, "matmul"), "_is_set", lambda *_: False)


@pytest.fixture
def multiplied(made: dict[str, ModuleType], by_kernels: None, monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes that the library multiplies."""
    seen: list[torch.dtype] = []
    products = {name: getattr(torch, name) for name in ("mm", "bmm")}

    def product(name: str, a: Tensor, b: Tensor, **options: Any) -> Tensor:
        seen.append(a.dtype)
        result: Tensor = products[name](a, b, **options)
        return result

    for name in products:
        monkeypatch.setattr(torch, name, partial(product, name))
    return seen


# numbers


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("kernel", "cores"), [*itertools.product(KERNELS, [True]), ("diffused", False), ("meshes", False)]
)
def test_values(
    made: dict[str, ModuleType],
    kernel: str,
    precision: str,
    sizes: tuple[int, int, int],
    cores: bool,
    multiplied: list[torch.dtype],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the second order those of the reference in fp64, of contract kernels or stored factors, never the library."""
    of, name = made[KERNELS[kernel]], f"{kernel}_{precision}"
    if DEVICE.type == "cpu" and KERNELS[kernel] != "geometric":
        monkeypatch.setattr(runtime(of, "device"), "on_tensor_cores", lambda *_: cores)
    elif not cores:
        pytest.skip("the device decides")
    inputs = drawn(of, name, sizes, torch.float32)
    with launches(of) as launched:
        found = orders(getattr(of, name), inputs)
    assert not multiplied
    assert 0 in sizes or "_jit_matmul" in launched or (cores and "diffused" != kernel != "product")
    exact = [x.detach().double().requires_grad_() for x in inputs]
    for x, y in zip(found, orders(getattr(of, f"{name}_reference"), exact), strict=True):
        assert x.dtype == torch.float32 and x.shape == y.shape
        assert off(x, y) <= ERROR[precision]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("precision", ["", *PRECISIONS])
def test_what_the_library_multiplies(
    made: dict[str, ModuleType], precision: str, dtype: torch.dtype, multiplied: list[torch.dtype]
) -> None:
    """bf16 and fp64; fp32, in which fp16 is multiplied, where the spec does not say how."""
    of, name = made["geometric"], f"product_{precision}".rstrip("_")
    inputs = drawn(of, name, (4, 3, 5), dtype)
    with launches(of) as launched:
        value = getattr(of, name)(*inputs)
        value.backward(torch.ones_like(value))
    ours = bool(precision) and dtype in (torch.float16, torch.float32)
    assert launched.count("_jit_matmul") == (9 if ours else 0)
    assert multiplied == ([] if ours else [torch.float32 if dtype == torch.float16 else dtype] * 9)
    expected = getattr(of, f"{name}_reference")(*(x.detach().double() for x in inputs))
    assert off(value, expected) <= max(8 * torch.finfo(dtype).eps, ERROR.get(precision, 0) if ours else 0, 1e-6)


MATRICES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "one": ((1, 1), (1, 1)),
    "tiles": ((140, 35), (35, 18)),
    "wide": ((3, 20), (20, 140)),
    "tall": ((300, 3), (3, 2)),
    "long": ((3, 1000), (1000, 5)),
    "batch": ((3, 17, 20), (3, 20, 33)),
    "nothing": ((5, 0), (0, 4)),
    "nothing in a batch": ((2, 5, 0), (2, 0, 4)),
    "no rows": ((0, 4), (4, 3)),
    "no batch": ((0, 2, 4), (0, 4, 3)),
}


def turned(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


def gapped(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1)[..., ::2]


def within(x: Tensor) -> Tensor:
    """A part of a tensor, which starts at no multiple of 16 bytes and has infinities around it."""
    whole = x.new_full([n + 3 for n in x.shape], torch.inf)
    part = whole[tuple(slice(1, n + 1) for n in x.shape)]
    return part.copy_(x)


@pytest.mark.parametrize("parted", [False, True])
@pytest.mark.parametrize("strided", [torch.clone, turned, gapped, within])
@pytest.mark.parametrize("matrices", MATRICES)
def test_matrices(
    made: dict[str, ModuleType], matrices: str, strided: Callable[[Tensor], Tensor], parted: bool
) -> None:
    """Products of matrices with any strides, in memory of their own or given, of which nothing else is written."""
    of, random = made["geometric"], torch.Generator().manual_seed(0)
    a, b = (strided(torch.randn(s, generator=random).to(DEVICE)) for s in MATRICES[matrices])
    exact = a.double() @ b.double()
    for left, right in ((a, b), (a, b.clone()), (a.clone(), b)):
        assert off(runtime(of, "matmul").in_precision("ieee", left, right, parted=parted), exact) <= 1e-6
    several = torch.full((3, *exact.shape), torch.nan, device=DEVICE)
    assert (
        runtime(of, "matmul").in_precision("ieee", a, b, several[1], parted=parted).data_ptr() == several[1].data_ptr()
    )
    assert off(several[1], exact) <= 1e-6 and several[::2].isnan().all()
    half = torch.empty(exact.shape, dtype=torch.float16, device=DEVICE)
    assert off(runtime(of, "matmul").in_precision("ieee", a, b, half, parted=parted), exact) <= 2.0**-10
    if not parted:
        columns = torch.full((*exact.shape[:-1], 2 * exact.shape[-1]), torch.nan, device=DEVICE)
        assert (
            off(runtime(of, "matmul").in_precision("ieee", a, b, columns[..., ::2]), exact) <= 1e-6
            and columns[..., 1::2].isnan().all()
        )


@pytest.mark.parametrize("setting", ["highest", "high"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_library_multiplies_in_its_own_precision(
    made: dict[str, ModuleType], precision: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch's setting is that of the spec; but not of what is traced."""
    of, before = made["plain"], torch.get_float32_matmul_precision()
    monkeypatch.setattr(runtime(of, "matmul"), "INTERPRETED", False)
    launched: list[str] = []
    monkeypatch.setattr(runtime(of, "matmul"), "_launch_product", lambda *given: launched.append(given[-1]))
    a, b = torch.randn(2, 3, 3, device=DEVICE)
    try:
        torch.set_float32_matmul_precision(setting)
        made_by_library = runtime(of, "matmul").in_precision(precision, a, b)
        runtime(of, "matmul").in_precision(precision, a.as_subclass(Traced), b)
    finally:
        torch.set_float32_matmul_precision(before)
    same = precision == {"highest": "ieee", "high": "tf32"}[setting]
    assert launched == [precision] * (1 if same else 2)
    assert not same or torch.allclose(made_by_library, a @ b, rtol=1e-2, atol=1e-2)


class Traced(Tensor):
    """No plain tensor."""


@pytest.mark.usefixtures("by_kernels")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_setting_changes_a_bit(made: dict[str, ModuleType], precision: str) -> None:
    """Neither torch's, nor autocast; nor does another call."""
    before = torch.get_float32_matmul_precision()
    found = []
    try:
        for setting, casting in itertools.product(("highest", "high"), (False, True)):
            torch.set_float32_matmul_precision(setting)
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=casting):
                every = [(made[name], f"{kernel}_{precision}") for kernel, name in KERNELS.items()]
                found.append(
                    [x for of, k in every for x in orders(getattr(of, k), drawn(of, k, (9, 5, 3), torch.float32))]
                )
    finally:
        torch.set_float32_matmul_precision(before)
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda" or torch.version.hip is not None, reason="has no tf32")
def test_errors_on_tensor_cores(made: dict[str, ModuleType]) -> None:
    """One pass of tf32 rounds visibly, three and full fp32 do not."""
    for kernel, name in KERNELS.items():
        errors = {}
        for precision in PRECISIONS:
            inputs = drawn(made[name], f"{kernel}_{precision}", (300, 64, 64), torch.float32)
            exact = orders(
                getattr(made[name], f"{kernel}_reference"), [x.detach().double().requires_grad_() for x in inputs]
            )
            found = orders(getattr(made[name], f"{kernel}_{precision}"), inputs)
            errors[precision] = max(off(x, y) for x, y in zip(found, exact, strict=True))
        assert 1e-4 < errors["tf32"] < 1e-2 and errors["tf32x3"] < 1e-5 and errors["ieee"] < 1e-5, (kernel, errors)


# torch's compilers


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled(made: dict[str, ModuleType], kernel: str, backend: str) -> None:
    """Forward and backward are one graph for any number of rows, and multiply as they do without a compiler."""
    torch._dynamo.reset()
    of, name = made[KERNELS[kernel]], f"{kernel}_tf32x3"
    counter = CompileCounterWithBackend(backend)
    function = torch.compile(getattr(of, name), fullgraph=True, backend=counter)
    for rows in (3, 4, 37):
        inputs = drawn(of, name, (rows, 6, 5), torch.float32)
        for x, dims in zip(inputs, of.KERNELS[name]["inputs"].values()):
            for axis in {"b", "v"} & {*dims}:
                torch._dynamo.mark_dynamic(x, dims.index(axis))
        exact = [x.detach().double().requires_grad_() for x in inputs]
        for x, y in zip(first(function, inputs), first(getattr(of, f"{name}_reference"), exact), strict=True):
            assert off(x, y) <= ERROR["tf32x3"]
    assert counter.frame_count == 1
    torch._dynamo.reset()


def first(function: Callable[..., Any], inputs: list[Tensor]) -> list[Tensor]:
    """Results and gradients."""
    value = function(*inputs)
    results = value if isinstance(value, tuple) else (value,)
    return [*results, *torch.autograd.grad(results, inputs, [torch.ones_like(r) for r in results])]


# what is emitted


def test_devices(made: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no tensor cores, and on AMD's devices, fp32 is multiplied in full, with stored factors."""
    of, here = made["plain"], torch.device("cpu")
    monkeypatch.setattr(runtime(of, "device"), "INTERPRETED", False)
    for cores, hip in itertools.product((True, False), (None, "6.0")):
        monkeypatch.setattr(runtime(of, "device"), "has_tensor_cores", lambda _, cores=cores: cores)
        monkeypatch.setattr(torch.version, "hip", hip)
        for precision in PRECISIONS:
            told = precision if cores and not hip else "ieee"
            assert runtime(of, "device").input_precision(precision, here) == told
            assert runtime(of, "device").on_tensor_cores(torch.float32, here, precision) == (told != "ieee")
            assert runtime(of, "device").on_tensor_cores(torch.bfloat16, here, precision) == cores
            assert not runtime(of, "device").on_tensor_cores(torch.float64, here, precision)


PTX = """\
import json, re, sys
from pathlib import Path
import triton
from triton.compiler import ASTSource
from kgen.tools.aot.launches import record
from kgen.tools.aot.resources import gpu_target
from kgen.tools.problem import load_module

found = {}
for launch in record(load_module(Path(sys.argv[1])), sys.argv[2], "float32"):
    if launch.kernel in sys.argv[3:]:
        aligned = {(position,): [["tt.divisibility", 16]] for position in launch.divisible}
        source = ASTSource(launch.function, dict(launch.signature), dict(launch.constexprs), aligned)
        compiled = triton.compile(source, target=gpu_target(sys.argv[2]), options=dict(launch.options))
        text = compiled.asm.get("ptx") or compiled.asm["amdgcn"]
        patterns = (r"wgmma[.]mma_async\\S*tf32", r"fma[.]rn[.]f32", r"xf32")
        found[launch.kernel] = [launch.dtype, *(len(re.findall(p, text)) for p in patterns)]
print(json.dumps(found))
"""


def compiling(script: str, of: ModuleType, *arguments: str) -> Any:
    """What a script prints last, about a module whose kernels are not interpreted."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    ran = prepared.python(["-c", script, str(Path(str(of.__file__)).parent), *arguments], ROOT, environment)
    assert not ran.returncode, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def instructions(of: ModuleType, target: str, *kernels: str) -> dict[str, tuple[str, int, int, int]]:
    """The dtype at which a kernel is compiled ahead of time, and how often it multiplies in tf32, in fp32, in xf32."""
    found: dict[str, tuple[str, int, int, int]] = compiling(PTX, of, target, *kernels)
    assert found.keys() == {*kernels}
    return found


@pytest.fixture(scope="module")
def short(compiled_folder: Path) -> ModuleType:
    """Without second derivatives, and without kernels that no launch ahead of time comes to."""
    spec = text(PLAIN, "diffused").replace("    body:", "    grads: [x]\n    order: 1\n    body:")
    return compiled(spec, compiled_folder)


def test_instructions(short: ModuleType) -> None:
    """On sm_90 tf32 takes a pass of the tensor cores, tf32x3 three, ieee none."""
    kernels = ("_matmul_{}", "diffused_{}_matmul")
    found = instructions(short, "sm_90", *(kernel.format(p) for kernel in kernels for p in PRECISIONS))
    for kernel in kernels:
        one, three, full = (found[kernel.format(p)] for p in PRECISIONS)
        assert one[0] == three[0] == "float32" and 0 < 3 * one[1] == three[1]
        assert full[1] == 0
    assert found["_matmul_ieee"][2] == 128 * 128 * 16 // 256 and found["_matmul_tf32"][2] == 0
    assert found["diffused_ieee_matmul"][0] == "bfloat16"  # which stored factors replace in fp32


def test_instructions_of_amd(short: ModuleType) -> None:
    """Everything compiles, and multiplies fp32 in full."""
    found = instructions(short, "gfx942", *(f"_matmul_{p}" for p in PRECISIONS), "diffused_tf32_backward_matmul")
    assert all(row[1] == row[3] == 0 for row in found.values()) and found["_matmul_tf32"][0] == "float32"


TRACED = """\
import json, sys
from pathlib import Path
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from kgen.tools.problem import load_module, runtime

of = load_module(Path(sys.argv[1]))


def products(a, b, c):
    product = runtime(of, "matmul").in_precision
    return product("tf32", a.mT, b, parted=True), product("ieee", a, c, a.new_empty((a.shape[0], 32)))


traced = make_fx(products, tracing_mode="symbolic")(torch.ones(300, 96), torch.ones(300, 32), torch.ones(96, 32))
calls = [n.kwargs["kwargs"] for n in traced.graph.nodes if "triton_kernel_wrapper" in str(n.target)]
names = ("rows", "along", "PRECISION")
calls = [[isinstance(c[k], torch.fx.Node) or c[k] for k in names] for c in calls if "PRECISION" in c]
print(json.dumps([calls, len(traced.shape_env.guards)]))
"""


def test_traced_sizes_are_symbols(short: ModuleType) -> None:
    """A compiler sees the kernel and its precision; of the sizes only the columns are fixed, as in all kernels."""
    calls, fixed = compiling(TRACED, short)
    assert calls == [[True, True, "tf32"], [True, True, "ieee"]] and fixed == 1


def test_nothing_is_emitted_unasked() -> None:
    """Modules without a precision are as if there was none."""
    for head, kernel in ((GEOMETRIC, "product"), (PLAIN, "meshes")):
        files = emit(load("specs/unshipped.yaml", f"{head}  {kernel}:\n{BODIES[kernel]}"))
        own = "".join(text for path, text in files.items() if "/_runtime/" not in path)
        assert "PRECISION" not in own and "in_precision" not in own and "_jit_matmul" not in own


def test_it_is_said(made: dict[str, ModuleType]) -> None:
    """In the stages of a spec, above contract kernels, in docstrings, and in KERNELS."""
    said = "in three passes of tf32, whatever torch's setting is"
    for kernel, name in KERNELS.items():
        spec = load("specs/unshipped.yaml", text(GEOMETRIC if name == "geometric" else PLAIN, kernel))
        shown = [str(part) for part in render(spec, "kernels", f"{kernel}_tf32x3", {})]
        products = [part for part in shown if ": matrix product, " in part or ": contract kernel" in part]
        assert products and all(f"multiplies fp32 {said}" in part for part in products)
        of = made[name]
        assert f"multiplied {said}" in getattr(of, f"{kernel}_tf32x3").__doc__
        assert "torch's setting" not in getattr(of, kernel).__doc__ and "precision" not in of.KERNELS[kernel]
        assert of.KERNELS[f"{kernel}_tf32x3"]["precision"] == "tf32x3"
    assert f"# multiplies fp32 {said}" in package_text(Path(str(made["plain"].__file__)).parent)


def test_long_axes_are_parted() -> None:
    """Programs share the batch, which weights' gradients contract, and nothing else."""
    spec = load("specs/unshipped.yaml", text(GEOMETRIC, "linear"))
    forward, backward, _ = schedule(trace(spec, spec.kernel("linear_ieee"), {}), ["x", "w"])
    rows = [(p.shape.contracted, p.parted) for p in (*forward.products, *backward.products)]
    assert {*rows} == {(("n",), False), (("m",), False), (("b",), True)}
    assert all(isinstance(p, Product) and p.precision == "ieee" for p in backward.products)


@pytest.mark.parametrize("body", ["x * y", "x * y if scaled else y", "sum(x * y, over=n)"])
def test_a_precision_of_nothing(body: str) -> None:
    """Is refused, at the kernel."""
    head = f"{PLAIN}  f:\n    inputs: {{x: [b, n], y: [b, n]}}\n    options: {{scaled: true}}\n    precision: ieee\n"
    with pytest.raises(KgenError, match="`f` has a precision, but no matrix product") as caught:
        emit(load("specs/unshipped.yaml", f"{head}    body: return {body}\n"))
    assert caught.value.mark and caught.value.mark.line == 4


def test_a_precision_of_one_variant() -> None:
    """Is enough."""
    inputs = "inputs: {x: [b, n], y: [n, m], z: [b, m]}\n    options: {added: true}"
    body = "body: return dot(x, y, over=n) + z if added else z"
    spec = load("specs/unshipped.yaml", f"{PLAIN}  f:\n    {inputs}\n    precision: ieee\n    {body}\n")
    assert any('matmul.in_precision("ieee", ' in text for text in emit(spec).values())
