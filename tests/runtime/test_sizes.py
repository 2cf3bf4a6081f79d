"""Sizes that a compiler does not know: launchers decide on none of them, at any order of differentiation.

The launchers are traced as on a GPU, and the kernels of the traced graph run in Triton's interpreter, with the grids
and numbers that the graph computes. So these tests need Triton and no GPU; `test_compile.py` compiles the same on one.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from kgen.tools.problem import draw, runtime

pytest.importorskip("triton")
from modules import DEVICE, ROOT, compiled
from traced import as_on_a_gpu, traced
from variants import INTERPRETED, ROWS, Tensors, close, energy, gradients, joined

pytestmark = [
    pytest.mark.skipif(not INTERPRETED, reason="the traced kernels run in Triton's interpreter"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
    pytest.mark.filterwarnings("ignore:.*"),  # of torch's compilers about themselves
]
LONG = ("geometric_product", "sgp", "fused_gelu_sgp_norm")  # cheap enough for rows that are longer than a tile
NAMES = ("b", "v", "n", "m", "c", "k", "e")
# a function of each kind: one map, row norms in both forms, folds, stored products, contractions, leading axes, walks
FUNCTIONS = [
    ("vga2d", "geometric_product"),
    ("vga2d", "sgp"),
    ("vga2d", "fused_gelu_sgp_norm"),
    ("vga2d", "fused_gelu_fcgp_norm"),
    ("vga2d", "mv_linear"),
    ("vga2d", "layer"),
    ("vga3d", "rotor_action_shared"),
    ("diffusion", "spatial_diffusion"),
    ("diffusion", "batched_spatial_diffusion"),
    ("diffusion", "spatial_gradients"),
    ("message", "message"),
    ("message", "gated_message"),
]


# of these the second orders are not traced: others have all their forms
ONCE = ("geometric_product", "sgp", "layer", "batched_spatial_diffusion", "gated_message")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def loaded() -> Callable[[Path], tuple[ModuleType, ModuleType]]:
    known: dict[Path, tuple[ModuleType, ModuleType]] = {}

    def load(path: Path) -> tuple[ModuleType, ModuleType]:
        if path not in known:
            known[path] = as_on_a_gpu(path)
        return known[path]

    return load


def unknown(of: ModuleType, kernel: str, size: int, axes: frozenset[str], dtype: torch.dtype) -> Tensors:
    """Random leaves of which no compiler may know these axes."""
    description = of.KERNELS[kernel]
    sizes = {name: size + i if name in axes else 4 + i for i, name in enumerate(NAMES)}
    if size == 0:
        sizes |= dict.fromkeys(axes, 0)
    rows = 2 if size > 512 else size
    leaves: Tensors = draw(description, sizes | {"b": rows, "v": rows}, dtype, DEVICE).leaves
    for x, dims in zip(leaves, description["inputs"].values()):
        for axis, name in enumerate(dims):
            if name in axes:
                torch._dynamo.decorators.mark_unbacked(x, axis)
    return leaves


def first(function: Callable[..., Any], compiler: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """The gradients, by a compiled forward and the backward that belongs to it."""
    found = compiler(function)
    return lambda *inputs: gradients(lambda *x: joined(found(*x)), inputs)


def second(function: Callable[..., Any], compiler: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """The gradients of a number made of the gradients, compiled as a whole."""

    def both(*inputs: Tensor) -> Tensors:
        wanted = [x for x in inputs if x.requires_grad]
        value = energy(lambda *x: joined(function(*x)))(*inputs)
        grads = torch.autograd.grad(value, wanted, create_graph=True)
        return torch.autograd.grad([x.square().sum() for x in grads], wanted)

    return compiler(both)


def whole() -> contextlib.AbstractContextManager[Any]:
    """Dynamo may trace autograd, where it can."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        pytest.skip("this torch cannot trace autograd")
    context: contextlib.AbstractContextManager[Any] = torch._dynamo.config.patch(trace_autograd_ops=True)
    return context


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """torch's setting, by which contract kernels are chosen for fp32; on a CPU it changes no number."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def agrees(
    modules: tuple[ModuleType, ModuleType],
    kernel: str,
    order: Callable[..., Callable[..., Tensors]],
    axes: frozenset[str],
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-9,
) -> list[str]:
    """Compiles once for all sizes, and equals the reference at each; returns the kernels that were launched."""
    of, kernels = modules
    with traced(kernels) as (backend, launched, graphs), whole() if order is second else contextlib.nullcontext():
        found = order(getattr(of, kernel), functools.partial(torch.compile, backend=backend, fullgraph=True))
        expected = order(getattr(of, f"{kernel}_reference"), lambda function: function)
        sizes = (6, 1, 33, 0) if axes == ROWS else (6, 1, 600, 0) if kernel in LONG else (6, 1, 0)
        once = 0
        for size in sizes:
            inputs = unknown(of, kernel, size, axes, dtype)
            for x, y in zip(found(*inputs), expected(*inputs), strict=True):
                scale = 1 + (float(y.abs().amax()) if y.numel() else 0)
                close(x / scale, y / scale, tolerance)
            once = once or len(graphs)
            assert not size or len(graphs) == once, f"compiled anew for {size}"  # for empty tensors torch does
    return launched


ALL = frozenset({*ROWS, "n", "m", "c", "k", "e"})
CASES = [(first, frozenset(ROWS)), (first, ALL), (second, ALL)]
CHOSEN = [
    pytest.param(*function, *case, id=f"{'.'.join(function)}-{name}")
    for function in FUNCTIONS
    for case, name in zip(CASES, ("rows", "all", "second"))
    if (case[0] is first or function[1] not in ONCE)
    and (case[1] == ALL or function[0] != "message")  # edges without nodes point nowhere
]


@pytest.mark.parametrize(("module", "kernel", "order", "axes"), CHOSEN)
def test_nothing_is_decided_on_an_unknown_size(
    loaded: Any, module: str, kernel: str, order: Any, axes: frozenset[str]
) -> None:
    """One graph without guards for all sizes, and right for none; the grids that it computes cover all elements."""
    contracts = module == "diffusion"
    dtype, tolerance = (torch.float32, 1e-4) if contracts else (torch.float64, 1e-9)
    with tf32() if contracts else contextlib.nullcontext():
        launched = agrees(loaded(ROOT / "generated" / module), kernel, order, axes, dtype, tolerance)
    assert launched


PRECISE = """
kgen: 1
name: precise
doc: Products of matrices by kernels of the module's own.
kernels:
  linear:
    doc: A linear map.
    precision: tf32x3
    inputs: {x: [b, n], weight: [n, m]}
    outputs: {out: [b, m]}
    body: return dot(x, weight, over=n)
"""


@pytest.mark.parametrize(("order", "axes"), CASES, ids=["rows", "all", "second"])
def test_products_in_a_precision(loaded: Any, compiled_folder: Path, axes: frozenset[str], order: Any) -> None:
    path = Path(str(compiled(PRECISE, compiled_folder).__file__)).parent
    launched = agrees(loaded(path), "linear", order, axes, torch.float32, 1e-4)
    assert "_jit_matmul" in launched


def test_a_known_size_keeps_its_launch(loaded: Any) -> None:
    """Features that a compiler knows, or may guard on, choose the tile: whole rows in registers, no sweep."""
    of, kernels = loaded(ROOT / "generated" / "vga2d")
    for marked in ((), (0, 1)):
        with traced(kernels) as (backend, launched, _):
            function: Any = torch.compile(of.fused_gelu_sgp_norm, backend=backend, fullgraph=True)
            x, y, weight = draw(of.KERNELS["fused_gelu_sgp_norm"], {"b": 3, "n": 8}, torch.float64, DEVICE).leaves
            dynamic: Any = torch._dynamo.maybe_mark_dynamic
            for axis in marked:
                dynamic(x, 1 + axis)
                dynamic(y, 1 + axis)
            function(x.detach(), y.detach(), weight.detach())
        assert launched == ["_fused_gelu_sgp_norm_with_normalize_kernel"]


def test_parts_of_known_rows(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a compiler knows are shared out as in eager mode, and a kernel of the graph adds the parts."""
    of, kernels = loaded(ROOT / "generated" / "vga2d")
    monkeypatch.setattr(runtime(of, "matmul"), "multiprocessors", lambda _: 1000)
    inputs = draw(of.KERNELS["mv_linear"], {"b": 2048, "n": 3, "m": 2}, torch.float64, DEVICE).leaves
    with traced(kernels) as (backend, launched, _):
        found = first(of.mv_linear, functools.partial(torch.compile, backend=backend, fullgraph=True))(*inputs)
    close(found, first(of.mv_linear_reference, lambda function: function)(*inputs), 1e-9)
    assert launched.count("_jit_parts") == 1
